"""The first tables: cursors, trades, orders, decisions, equity, bars and positions.

A step stays as it was written: what comes later is a step of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

RUN = ("run", sa.Integer, False)
ACCOUNT = ("account", sa.String, False)
TABLES: dict[str, tuple[tuple[tuple[str, type, bool], ...], tuple[str, ...], tuple[str, ...]]] = {
    "bars": (
        (
            RUN,
            ACCOUNT,
            ("symbol", sa.String, False),
            ("ts", sa.BigInteger, False),
            ("open", sa.Double, False),
            ("high", sa.Double, False),
            ("low", sa.Double, False),
            ("close", sa.Double, False),
            ("volume", sa.Double, True),
        ),
        (
            "run",
            "symbol",
            "ts",
        ),
        (),
    ),
    "decisions": (
        (
            RUN,
            ACCOUNT,
            ("id", sa.BigInteger, False),
            ("ts", sa.BigInteger, False),
            ("strategy", sa.String, False),
            ("symbol", sa.String, False),
            ("purpose", sa.String, False),
            ("side", sa.SmallInteger, False),
            ("lots", sa.BigInteger, False),
            ("price", sa.Double, True),
            ("confidence", sa.Double, False),
            ("score", sa.Double, True),
            ("equity", sa.Double, False),
            ("position", sa.BigInteger, False),
            ("order", sa.BigInteger, False),
            ("gate", sa.String, False),
            ("blocked", sa.String, False),
            ("measured", sa.LargeBinary, False),
        ),
        (
            "run",
            "id",
        ),
        (
            "run,gate,ts,id",
            "run,strategy,ts,id",
            "run,symbol,ts,id",
            "run,ts,id",
        ),
    ),
    "equity": (
        (
            RUN,
            ACCOUNT,
            ("minute", sa.BigInteger, False),
            ("ts", sa.BigInteger, False),
            ("equity", sa.Double, False),
            ("drawdown", sa.Double, False),
        ),
        (
            "run",
            "minute",
        ),
        (),
    ),
    "journals": (
        (
            ("number", sa.Integer, False),
            RUN,
            ACCOUNT,
            ("journal", sa.String, False),
            ("mode", sa.String, False),
            ("started", sa.BigInteger, False),
            ("seq", sa.BigInteger, False),
            ("hash", sa.String, False),
            ("trouble", sa.String, False),
            ("carry", sa.LargeBinary, False),
        ),
        ("number",),
        (),
    ),
    "orders": (
        (
            RUN,
            ACCOUNT,
            ("id", sa.BigInteger, False),
            ("ts", sa.BigInteger, False),
            ("strategy", sa.String, False),
            ("symbol", sa.String, False),
            ("purpose", sa.String, False),
            ("side", sa.SmallInteger, False),
            ("lots", sa.BigInteger, False),
            ("kind", sa.String, False),
            ("price", sa.Double, True),
            ("state", sa.String, False),
            ("filled", sa.BigInteger, False),
            ("average", sa.Double, True),
            ("fees", sa.Double, False),
            ("reason", sa.String, False),
            ("updated", sa.BigInteger, False),
        ),
        (
            "run",
            "id",
        ),
        (
            "run,state,ts,id",
            "run,strategy,ts,id",
            "run,symbol,ts,id",
            "run,ts,id",
        ),
    ),
    "positions": (
        (
            RUN,
            ACCOUNT,
            ("strategy", sa.String, False),
            ("symbol", sa.String, False),
            ("lots", sa.BigInteger, False),
            ("entry_time", sa.BigInteger, False),
            ("entry_price", sa.Double, False),
            ("mark", sa.Double, True),
            ("value", sa.Double, True),
            ("pnl", sa.Double, True),
        ),
        (
            "run",
            "strategy",
            "symbol",
        ),
        (),
    ),
    "trades": (
        (
            RUN,
            ACCOUNT,
            ("id", sa.BigInteger, False),
            ("strategy", sa.String, False),
            ("symbol", sa.String, False),
            ("side", sa.String, False),
            ("entry_time", sa.BigInteger, False),
            ("entry_price", sa.Double, True),
            ("entry_size", sa.BigInteger, False),
            ("exit_time", sa.BigInteger, True),
            ("exit_price", sa.Double, True),
            ("exit_size", sa.BigInteger, False),
            ("pnl", sa.Double, False),
            ("pnl_percent", sa.Double, True),
            ("exit_reason", sa.String, True),
            ("ml_score", sa.Double, True),
            ("ibs_entry", sa.Double, True),
            ("ibs_exit", sa.Double, True),
            ("fees", sa.Double, False),
            ("gross", sa.Double, False),
            ("open_size", sa.BigInteger, False),
            ("open_price", sa.Double, True),
            ("created_at", sa.BigInteger, False),
        ),
        (
            "run",
            "id",
        ),
        (
            "run,entry_time,id",
            "run,exit_time,id",
            "run,strategy,entry_time,id",
            "run,symbol,entry_time,id",
        ),
    ),
}
"""By the table's name: columns (name, type, whether it may be null), primary key, indexes."""


def upgrade() -> None:
    """Create the tables."""
    for table, (columns, key, indexes) in TABLES.items():
        op.create_table(
            table,
            *(sa.Column(n, t(), nullable=null, autoincrement=False) for n, t, null in columns),
            sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        )
        for index in indexes:
            names = index.split(",")
            op.create_index(f"ix_{table}_{'_'.join(names)}", table, names)
    op.create_index("ix_journals_account_journal", "journals", ["account", "journal"], unique=True)
