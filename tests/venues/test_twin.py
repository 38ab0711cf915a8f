"""The in-memory twin passes the venue suite, and a twin with any known bug does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from onefold.domain.errors import VenueError, VenueRefused, VenueUncertain
from onefold.domain.venue import (
    Abilities,
    OrderReport,
    PaymentReport,
    PositionReport,
    Report,
    Ticket,
    TradeReport,
)
from onefold.rehearsal.exchange import Exchange
from onefold.rehearsal.faults import Faults
from rehearsal.worlds import bar, perpetual

from . import rig as rig_module
from .case import all_cases
from .conformance import Case, cases, conforms, run
from .faulty import ABILITIES, Faulty
from .rig import Rig

Look = Callable[[], None]


def rig_of(kind: type[Faulty] = Faulty) -> AbstractAsyncContextManager[Rig]:
    """Return a rig around a twin of that class."""

    @asynccontextmanager
    async def made() -> AsyncIterator[Rig]:
        exchange = Exchange([perpetual()], Decimal(100_000), "USDT")
        exchange.on_bar(bar(0))
        faults = Faults()
        twin = kind(exchange, faults)
        await twin.open()

        async def play(one: Any) -> None:
            exchange.on_bar(one)

        try:
            yield Rig(
                venue=twin,
                exchange=exchange,
                faults=faults,
                symbol="BTCUSDT",
                play=play,
                disconnect=twin.disconnect,
                stranger=lambda: kind(exchange, faults, known=False),
            )
        finally:
            await twin.close()

    return made()


@conforms("in-memory twin", ABILITIES)
def test_the_twin_conforms(case: Case) -> None:
    run(case, rig_of())


def test_the_twin_can_do_everything() -> None:
    assert cases(ABILITIES) == all_cases()


def test_a_venue_is_spared_what_it_cannot_do() -> None:
    poor = Abilities(frozenset({"market"}), frozenset({"gtc"}), reduce_only=False)
    names = {str(one) for one in cases(poor)}
    assert "market_order_fills" in names
    assert not names & {"limit_order_fills", "stop_order_fills", "gtd_order_expires", "cancel"}
    assert cases(Abilities(confirms=False)) == []


# -- known bugs ------------------------------------------------------------------------------------


class Resends(Faulty):
    """It sends again what may have arrived."""

    async def submit(self, ticket: Ticket, look: Look) -> OrderReport:
        try:
            return await super().submit(ticket, look)
        except VenueUncertain:
            again = msgspec.structs.replace(ticket, client_id=ticket.client_id + "-2")
            return await super().submit(again, lambda: None)


class TakesErrorForNo(Faulty):
    """It takes an error for a refusal."""

    async def submit(self, ticket: Ticket, look: Look) -> OrderReport:
        try:
            return await super().submit(ticket, look)
        except VenueUncertain as error:
            raise VenueRefused(str(error)) from None


class LooksTooEarly(Faulty):
    """It does not look before it sends."""

    async def submit(self, ticket: Ticket, look: Look) -> OrderReport:
        report = await super().submit(ticket, lambda: None)
        look()
        return report


class TakesErrorForNone(Faulty):
    """It takes no answer for an answer."""

    async def working(self) -> list[OrderReport]:
        try:
            return await super().working()
        except VenueUncertain:
            return []


class FindsNothing(Faulty):
    """It raises where the answer is that there is none."""

    async def find(self, client_id: str, symbol: str) -> OrderReport | None:
        report = await super().find(client_id, symbol)
        if report is None:
            raise VenueUncertain("unknown")
        return report


class ReconnectsSilently(Faulty):
    """It connects again and tells nobody of the hole."""

    async def reports(self) -> AsyncIterator[Report]:
        while True:
            with suppress(VenueUncertain):
                async for report in super().reports():
                    yield report


class RoundsFees(Faulty):
    """It passes fees through floats of cents."""

    async def trades(self, since_ts: int) -> list[TradeReport]:
        return [
            msgspec.structs.replace(t, fee=Decimal(f"{float(t.fee):.2f}"))
            for t in await super().trades(since_ts)
        ]


class NamesTradesAnew(Faulty):
    """It gives each report of a trade an id of its own."""

    count = 0

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            self.count += 1
            if isinstance(report, TradeReport):
                yield msgspec.structs.replace(report, trade_id=f"t{self.count}")
            else:
                yield report


class ForgetsTimes(Faulty):
    """It ignores since when trades are asked for."""

    async def trades(self, since_ts: int) -> list[TradeReport]:
        return await super().trades(0)


class NamesPaymentsAnew(Faulty):
    """It gives a payment another id each time that it is asked."""

    count = 0

    async def payments(self, since_ts: int) -> list[PaymentReport]:
        self.count += 1
        return [
            msgspec.structs.replace(p, payment_id=f"{self.count}-{p.payment_id}")
            for p in await super().payments(since_ts)
        ]


class SwallowsCancelRefusals(Faulty):
    """It says that it cancelled what was not there."""

    async def cancel(self, client_id: str, symbol: str) -> None:
        with suppress(VenueRefused):
            await super().cancel(client_id, symbol)


class LosesSigns(Faulty):
    """It forgets what it holds of everything but the first symbol."""

    async def positions(self) -> list[PositionReport]:
        return [PositionReport(p.symbol, abs(p.qty) + 1) for p in await super().positions()]


class DropsReduceOnly(Faulty):
    """It sends reduce-only orders as plain ones."""

    async def submit(self, ticket: Ticket, look: Look) -> OrderReport:
        return await super().submit(msgspec.structs.replace(ticket, reduce_only=False), look)


class KeepsOwnTime(Faulty):
    """It asks its own clock."""

    async def time_ns(self) -> int:
        return self.exchange.now_ns


class OpensForAnyone(Faulty):
    """It does not try its keys when it opens."""

    async def open(self) -> None:
        pass


class NeverDisarms(Faulty):
    """It arms the switch whatever it is told."""

    async def arm(self, timeout_s: float) -> None:
        await super().arm(timeout_s or 0.2)


BUGS: dict[type[Faulty], str] = {
    Resends: "accepted_then_silent",
    TakesErrorForNo: "accepted_then_error",
    LooksTooEarly: "a_last_look_holds_an_order_back",
    TakesErrorForNone: "a_venue_that_never_answers_is_uncertain",
    FindsNothing: "an_unknown_order_is_none",
    ReconnectsSilently: "reports_end_when_the_connection_is_lost",
    RoundsFees: "market_order_fills",
    NamesTradesAnew: "a_trade_told_twice_is_one",
    ForgetsTimes: "trades_since",
    NamesPaymentsAnew: "payments_since",
    SwallowsCancelRefusals: "cancel_of_nothing_is_refused",
    LosesSigns: "positions",
    DropsReduceOnly: "reduce_only_never_opens",
    KeepsOwnTime: "clock",
    OpensForAnyone: "wrong_keys_do_not_open",
    NeverDisarms: "dead_mans_switch",
}


@pytest.mark.parametrize(("bug", "name"), BUGS.items(), ids=lambda x: getattr(x, "__name__", x))
def test_a_known_bug_is_caught(
    bug: type[Faulty], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig_module, "PATIENCE_S", 1.0)
    (one,) = [one for one in all_cases() if str(one) == name]
    with pytest.raises((AssertionError, TimeoutError, VenueError, pytest.fail.Exception)):
        run(one, rig_of(bug))
