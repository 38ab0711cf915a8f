"""What came out of a run, and its fingerprint, by which runs are compared bit for bit."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from onefold.domain.errors import InvariantBroken
from onefold.domain.layouts import DECISION, FILL, ORDER, TRACE
from onefold.fold.build import Roster
from onefold.fold.memory import Rows
from onefold.fold.state import Out, State

_LAYOUTS = {"decisions": DECISION, "trace": TRACE, "orders": ORDER, "fills": FILL}
STREAMS = tuple(_LAYOUTS)
FAULTS = {
    1: "cash + positions x marks is not equity any more",
    2: "an exit found no free order slot",
}


class Outcome(NamedTuple):
    """Everything the fold wrote in a run, in order; `trace` is empty when it was not kept."""

    decisions: Rows
    trace: Rows
    orders: Rows
    fills: Rows


def _bytes(rows: Rows) -> bytes:
    """Return the bytes of rows with one form of NaN: its sign and payload mean nothing."""
    rows = rows.copy()
    for name in rows.dtype.names:
        column = rows[name]
        if column.dtype.kind == "f":
            column[np.isnan(column)] = np.nan
    return rows.tobytes()


def fingerprint(outcome: Outcome, state: State) -> str:
    """Return a hash of everything the fold wrote and of its end state.

    It is equal for two runs exactly when every decision, every gate's value and threshold, every
    order and fill, and the end state are. Only the mode of the run is left out.
    """
    account = state.account.copy()
    account["mode"] = 0
    hash_ = hashlib.blake2b(digest_size=16)
    memory = (state.strategies, state.instruments, state.sleeves, state.currencies, state.orders)
    for rows in (*outcome, account, *memory):
        hash_.update(len(rows).to_bytes(8, "little"))
        hash_.update(_bytes(rows))
    return hash_.hexdigest()


class Collector:
    """Empties the fold's buffers into a growing outcome."""

    def __init__(self, *, trace: bool = True) -> None:
        self._keeps = [name for name in STREAMS if trace or name != "trace"]
        self._parts: dict[str, list[bytes]] = {name: [] for name in STREAMS}

    def drain(self, out: Out) -> None:
        """Take what stands in the buffers, and clear them."""
        for name in self._keeps:
            used = int(out.root["decisions_used" if name == "trace" else f"{name}_used"][0])
            if used:
                # As bytes: numpy copies structured rows field by field.
                self._parts[name].append(getattr(out, name)[:used].tobytes())
        out.clear()

    def joined(self, name: str) -> Rows:
        """Return one of the `STREAMS` as far as it was taken."""
        return np.frombuffer(bytearray().join(self._parts[name]), _LAYOUTS[name])

    def outcome(self) -> Outcome:
        """Return everything that was taken."""
        return Outcome(*map(self.joined, STREAMS))


def check_books(state: State, names: Roster, ts: int) -> None:
    """Raise `InvariantBroken` when the fold has found a fault."""
    account = state.account[0]
    if account["fault"] == 0:
        return
    reason = FAULTS.get(int(account["fault"]), "an unknown fault")
    raise InvariantBroken(
        f"at {np.datetime64(ts, 'ns')}Z: {reason} (equity {account['equity']}, largest drift "
        f"{account['drift_max']:.3g}, strategies {', '.join(names.strategies)})"
    )
