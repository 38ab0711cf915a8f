"""The tables: what people ask of journals, so that nobody has to replay one for an answer.

Every row belongs to a `run`: the journals of an account in one mode that were handed over from one
to the next, numbered by the first of them. Numbers of orders, decisions and trades are unique
within a run. Times are nanoseconds UTC in eight bytes, which both databases keep exactly.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False)


def _whole(name: str, *, optional: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=optional)


def _real(name: str, *, optional: bool = False) -> Column[float]:
    return Column(name, Double, nullable=optional)


def _owner() -> list[Column[str] | Column[int]]:
    return [Column("run", Integer, nullable=False), _text("account")]


journals = Table(
    "journals",
    metadata,
    Column("number", Integer, nullable=False, autoincrement=False),
    Column("run", Integer, nullable=False),
    _text("account"),
    _text("journal"),
    _text("mode"),
    _whole("started"),
    _whole("seq"),
    _text("hash"),
    _text("trouble"),
    Column("carry", LargeBinary, nullable=False),
    PrimaryKeyConstraint("number"),
    Index(None, "account", "journal", unique=True),
)
"""The cursors; `carry` is what the journal after needs to go on with trades and orders."""

trades = Table(
    "trades",
    metadata,
    *_owner(),
    _whole("id"),
    _text("strategy"),
    _text("symbol"),
    _text("side"),
    _whole("entry_time"),
    _real("entry_price", optional=True),
    _whole("entry_size"),
    _whole("exit_time", optional=True),
    _real("exit_price", optional=True),
    _whole("exit_size"),
    _real("pnl"),
    _real("pnl_percent", optional=True),
    Column("exit_reason", String),
    _real("ml_score", optional=True),
    _real("ibs_entry", optional=True),
    _real("ibs_exit", optional=True),
    _real("fees"),
    _real("gross"),
    _whole("open_size"),
    _real("open_price", optional=True),
    _whole("created_at"),
    PrimaryKeyConstraint("run", "id"),
    Index(None, "run", "entry_time", "id"),
    Index(None, "run", "exit_time", "id"),
    Index(None, "run", "strategy", "entry_time", "id"),
    Index(None, "run", "symbol", "entry_time", "id"),
)

orders = Table(
    "orders",
    metadata,
    *_owner(),
    _whole("id"),
    _whole("ts"),
    _text("strategy"),
    _text("symbol"),
    _text("purpose"),
    Column("side", SmallInteger, nullable=False),
    _whole("lots"),
    _text("kind"),
    _real("price", optional=True),
    _text("state"),
    _whole("filled"),
    _real("average", optional=True),
    _real("fees"),
    _text("reason"),
    _whole("updated"),
    PrimaryKeyConstraint("run", "id"),
    Index(None, "run", "ts", "id"),
    Index(None, "run", "strategy", "ts", "id"),
    Index(None, "run", "symbol", "ts", "id"),
    Index(None, "run", "state", "ts", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    *_owner(),
    _whole("id"),
    _whole("ts"),
    _text("strategy"),
    _text("symbol"),
    _text("purpose"),
    Column("side", SmallInteger, nullable=False),
    _whole("lots"),
    _real("price", optional=True),
    _real("confidence"),
    _real("score", optional=True),
    _real("equity"),
    _whole("position"),
    _whole("order"),
    _text("gate"),
    _text("blocked"),
    Column("measured", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run", "id"),
    Index(None, "run", "ts", "id"),
    Index(None, "run", "strategy", "ts", "id"),
    Index(None, "run", "symbol", "ts", "id"),
    Index(None, "run", "gate", "ts", "id"),
)
"""`gate` is the reason, empty where there is none; `blocked` all that said no, as `,one,two,`."""

equity = Table(
    "equity",
    metadata,
    *_owner(),
    _whole("minute"),
    _whole("ts"),
    _real("equity"),
    _real("drawdown"),
    PrimaryKeyConstraint("run", "minute"),
)
"""The equity after the last bar of each minute, and the deepest drawdown in that minute."""

bars = Table(
    "bars",
    metadata,
    *_owner(),
    _text("symbol"),
    _whole("ts"),
    _real("open"),
    _real("high"),
    _real("low"),
    _real("close"),
    _real("volume", optional=True),
    PrimaryKeyConstraint("run", "symbol", "ts"),
)

positions = Table(
    "positions",
    metadata,
    *_owner(),
    _text("strategy"),
    _text("symbol"),
    _whole("lots"),
    _whole("entry_time"),
    _real("entry_price"),
    _real("mark", optional=True),
    _real("value", optional=True),
    _real("pnl", optional=True),
    PrimaryKeyConstraint("run", "strategy", "symbol"),
)

OF_A_RUN = (trades, orders, decisions, equity, bars, positions)
"""The tables whose rows belong to a run."""
