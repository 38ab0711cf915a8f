"""The small closed vocabularies of the records, as integers that Python and numba understand."""

from __future__ import annotations

from enum import IntEnum


class Side(IntEnum):
    """What a strategy wants to hold; HOLD says that it has no wish to change anything."""

    SHORT = -1
    FLAT = 0
    LONG = 1
    HOLD = 2


class OrderKind(IntEnum):
    """How an order is priced."""

    MARKET = 0
    LIMIT = 1
    STOP = 2


class TimeInForce(IntEnum):
    """How long an order may work."""

    GTC = 0
    DAY = 1
    GTD = 2
    IOC = 3


class Purpose(IntEnum):
    """Why a decision was made; ENTRY opens or adds, all the others reduce.

    SPLIT and ROLL are no decisions: they mark rows among the fills by which a split or a roll
    changed a position. Such a row has the lots held after it, and the ratio, or the gap between
    the two contracts, as its price; that of a roll has its cost as the fee. ADOPT marks lots that a
    person has put into the books because the venue holds them.
    """

    ENTRY = 0
    SIGNAL = 1
    STOP = 2
    TAKE = 3
    TRAIL = 4
    TIME = 5
    SESSION = 6
    RISK = 7
    COMMAND = 8
    SPLIT = 9
    ROLL = 10
    ADOPT = 11


BY_FILE = "file "
"""How the reason of a kill begins that a file ordered, which a person has put there."""


class OrderState(IntEnum):
    """Where an order is in its life; FREE marks an unused slot."""

    FREE = 0
    SENT = 1
    WORKING = 2
    UNKNOWN = 3


class Notice(IntEnum):
    """What a venue says of an order apart from its fills."""

    ACCEPTED = 0
    CANCELLED = 1
    REJECTED = 2
    EXPIRED = 3
    UNKNOWN = 4


class Mode(IntEnum):
    """How a run is connected to the world."""

    BACKTEST = 0
    SIMULATE = 1
    SHADOW = 2
    PAPER = 3
    LIVE = 4
    STOPPED = 5


class CommandKind(IntEnum):
    """What an operator may order; the scope is all, a strategy, an instrument or one of both."""

    KILL = 0
    RESUME = 1
    REDUCE_ONLY = 2
    FLATTEN = 3
    RECONCILED = 4
    UNRECONCILED = 5
    RESET = 6


class MandateKind(IntEnum):
    """What governance may change."""

    CONF_MIN = 0
    SUPPRESS = 1
    RISK_BUDGET = 2
    MAX_POSITION = 3
    MAX_OPEN_POSITIONS = 4
    DAILY_LOSS = 5
    DRAWDOWN = 6
    GROSS_EXPOSURE = 7
    NET_EXPOSURE = 8


class ActionKind(IntEnum):
    """What happens to an instrument or a currency besides trading."""

    SPLIT = 0
    DIVIDEND = 1
    FUNDING = 2
    ROLL = 3
    RATE = 4
    PAYMENT = 5


class EventKind(IntEnum):
    """The input alphabet of the fold."""

    BAR = 0
    SIGNAL = 1
    FILL = 2
    NOTICE = 3
    COMMAND = 4
    MANDATE = 5
    ACTION = 6
    CLOCK = 7
    ADOPTION = 8
