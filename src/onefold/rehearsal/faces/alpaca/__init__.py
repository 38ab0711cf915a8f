"""Alpaca as its clients see it: trading and market data, REST and WebSocket."""

from onefold.rehearsal.faces.alpaca.face import Alpaca

__all__ = ["Alpaca"]
