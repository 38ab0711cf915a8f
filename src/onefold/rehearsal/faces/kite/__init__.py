"""Zerodha's Kite Connect, as its own client knows it."""

from onefold.rehearsal.faces.kite.face import Kite

__all__ = ["Kite"]
