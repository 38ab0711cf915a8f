"""Binance as its clients see it: spot and USD-M futures, REST and WebSocket."""

from onefold.rehearsal.faces.binance.face import Binance

__all__ = ["Binance"]
