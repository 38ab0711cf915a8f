"""OANDA as its clients see it: the v20 REST interface and its two streams."""

from onefold.rehearsal.faces.oanda.face import Oanda

__all__ = ["Oanda"]
