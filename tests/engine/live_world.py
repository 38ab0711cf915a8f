"""A live session through a random life on virtual time: faults, crashes, people, and a judge.

The judge looks at every order in the moment in which it leaves, at the books after every minute,
and at everything in the end; what it finds is a breach of one of the invariants I1 to I7.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from onefold.domain.records import Action, Bar, Fill, Order
from onefold.domain.venue import Ticket
from onefold.engine.control import EVERYTHING, Request, Scope
from onefold.engine.desk import DeskRules
from onefold.engine.live import LiveRules
from onefold.engine.replay import replay
from onefold.journal import Journal, verify
from onefold.rehearsal.exchange import Exchange
from onefold.sim.plan import Placement, Plan
from support import FLAT, HOLD, LONG, MINUTE_NS, SHORT, Scripted, account_of, rules_of, share
from venues.storm import Storm

from .live_rig import START, Rig

BASE = START.ts
MINUTE_S = 60.0
NS_PER_S = 1_000_000_000
CASH = Decimal(1_000_000)
TAIL_BYTES = 200_000
LOTS_MAX, POSITION_MAX, ORDERS_MAX = 6, 6, 16


class Trader(Rig):
    """A session with a wall clock, which can die at any moment."""

    def __init__(self, folder: Path, plan: Plan, venue: Storm, now: Any, live: LiveRules) -> None:
        rules = DeskRules(reconcile_s=120.0, unknown_s=60.0)
        super().__init__(folder, plan, exchange=venue.exchange, rules=rules, live=live)
        self.twin, self._wall = venue, now
        self.feed.past = sorted(
            (bar for bars in venue.exchange.bars.values() for bar in bars), key=lambda b: b.ts
        )

    def now(self) -> int:
        return int(self._wall()) + self.skew_ns

    async def begin(self) -> None:
        self._journal = Journal.open(self.journals[-1], today=lambda: dt.date(2026, 11, 20))
        self.live = self._opened(self._journal)
        self._task = asyncio.ensure_future(self.live.run())

    async def crash(self) -> None:
        """Stop everything where it stands; nothing is written any more."""
        desk = self.live.desk
        assert desk is not None
        tasks = [self._task, *self.live._tasks, *desk._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._journal._buffered = []
        self._journal.close()

    async def end(self) -> None:
        """Stop in good order."""
        self.live.stop()
        try:
            await self._task
        finally:
            self._journal.close()

    @property
    def failed(self) -> BaseException | None:
        return self._task.exception() if self._task.done() else None


class World:
    """One random life; `breaches` says what went wrong in it."""

    def __init__(self, seed: int, folder: Path, minutes: int = 40) -> None:
        self.seed, self.folder, self.minutes = seed, folder, minutes
        self.chance = random.Random(seed)
        self.breaches: list[str] = []
        self.crashes = self.kills = 0
        symbols = ["ABC", "DEF", "GHI"][: self.chance.randint(1, 3)]
        instruments = tuple(
            share(s, lot=self.chance.choice([1.0, 0.001]), commission_bps=1.0) for s in symbols
        )
        self.bars = {s: self._bars(s) for s in symbols}
        self.plan = Plan(
            account_of(
                cash=float(CASH),
                limits={"max_order_lots": LOTS_MAX, "max_open_orders": ORDERS_MAX},
            ),
            instruments,
            tuple(self._placements(symbols)),
            (MINUTE_NS,) * len(symbols),
        )
        self.exchange = Exchange(instruments, CASH, "USD")
        share_ = self.chance.choice([0.02, 0.1, 0.3])
        self.venue = Storm(self.exchange, seed, now=self.now, leaving=self.leaving, share=share_)
        self.asked = 0
        self.trader: Trader | None = None

    # -- what there is ----------------------------------------------------------------------------

    def _bars(self, symbol: str) -> list[Bar]:
        price, bars = 100.0, []
        for n in range(self.minutes + 200):
            start = BASE + n * MINUTE_NS
            open_ = price
            price = round(price * (1 + self.chance.gauss(0, 0.002)), 2)
            high = round(max(open_, price) * (1 + abs(self.chance.gauss(0, 0.001))), 2)
            low = round(min(open_, price) * (1 - abs(self.chance.gauss(0, 0.001))), 2)
            bars.append(Bar(symbol, start + MINUTE_NS, start, open_, high, low, price, 1e6))
        return bars

    def _placements(self, symbols: list[str]) -> list[Placement]:
        made = []
        for n in range(self.chance.randint(2, 6)):
            symbol = self.chance.choice(symbols)
            order = self.chance.choice(["market", "market", "limit", "stop"])
            entry: dict[str, Any] = {"order": order}
            if order != "market" and self.chance.random() < 0.5:
                entry |= {"time_in_force": "gtd", "valid_for_s": self.chance.choice([50, 130])}
            exits: dict[str, Any] = {}
            if self.chance.random() < 0.6:
                exits = {"stop": 0.004, "take": 0.004, "resting": self.chance.random() < 0.7}
            rules = rules_of(
                sizing={"kind": "fixed", "lots": self.chance.randint(1, LOTS_MAX)},
                gates={"max_position": POSITION_MAX},
                entry=entry,
                exits=exits,
            )
            made.append(Placement(f"s{n}", self._strategy(symbol), rules, (symbol,)))
        return made

    def _strategy(self, symbol: str) -> Scripted:
        sides, side = [], FLAT
        for _ in self.bars[symbol]:
            if self.chance.random() < 0.5:
                side = self.chance.choice([LONG, LONG, SHORT, FLAT, HOLD])
            sides.append(side)
        away = self.chance.choice([-0.001, 0.0, 0.001])
        prices = [round(bar.close * (1 + away), 2) for bar in self.bars[symbol]]
        return Scripted(side=tuple(sides), price=tuple(prices), start=BASE + MINUTE_NS)

    def now(self) -> int:
        return BASE + round(asyncio.get_running_loop().time() * NS_PER_S)

    # -- the judge --------------------------------------------------------------------------------

    def breach(self, what: str) -> None:
        """Note what must never happen."""
        at = (self.now() - BASE) / NS_PER_S
        self.breaches.append(f"{at:9.3f} s: {what}")

    def leaving(self, ticket: Ticket) -> None:
        """Judge an order that leaves: I1, I5, I7, and I4's size."""
        assert self.trader is not None
        rig, name = self.trader, ticket.client_id
        placed = rig.blotter.known(name)
        if placed is None:
            self.breach(f"I5: {name} leaves, of which the blotter has no record")
            return
        if self.venue.sent[name] > 1:
            self.breach(f"I1: {name} was sent {self.venue.sent[name]} times")
        if f'"kind":"order","id":{placed.order.id},'.encode() not in self._journaled():
            self.breach(f"I5: {name} leaves before its record is written")
        if placed.order.qty > LOTS_MAX:
            self.breach(f"I4: {name} has {placed.order.qty} lots")
        if placed.order.purpose == "entry":
            self._judge_risk(rig, placed.order)

    def _journaled(self) -> bytes:
        """Return the end of the journal as it is on the disk."""
        found = b""
        for path in sorted(self.trader.journals[-1].glob("*.jsonl"))[-2:]:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                found += file.read()
        return found

    def _judge_risk(self, rig: Trader, order: Order) -> None:
        scopes = [s for s in rig.control.switches() if s.covers(order.strategy, order.instrument)]
        if scopes:
            self.breach(f"I7: order {order.id} leaves while {scopes[0].file_name} is on")
        state = rig.live.session.state
        account, names = state.account[0], rig.plan.names
        killed = (
            account["killed"]
            or state.strategies["killed"][names.strategies.index(order.strategy)]
            or state.instruments["killed"][names.symbols.index(order.instrument)]
        )
        if killed:
            self.breach(f"I7: order {order.id} leaves while the fold is killed")
        if not account["reconciled"]:
            self.breach(f"I7: order {order.id} leaves while the account is not reconciled")
        if account["reduce_only"]:
            self.breach(f"I7: order {order.id} leaves while only reductions are allowed")

    def check(self) -> None:
        """Judge a moment: I2 in the books, I4 at the exchange."""
        rig = self.trader
        assert rig is not None
        trades = {str(t.trade_id): t for t in self.exchange.trades()}
        known = rig.blotter._trades
        counted = rig.live.session.state.instruments["qty"].tolist()
        for instrument, qty in zip(self.plan.instruments, counted, strict=True):
            heard = [trades[t] for s, t in known if s == instrument.symbol]
            units = sum((t.side * t.qty for t in heard), Decimal(0))
            if qty * Decimal(str(instrument.lot)) != units and rig.live._queue.empty():
                self.breach(f"I2: {instrument.symbol}: the books have {qty} lots, told are {units}")
        self._check_worst_case(rig)
        sleeves = rig.live.session.state.sleeves["qty"].reshape(len(self.plan.placements), -1)
        for placement, held in zip(self.plan.placements, sleeves.tolist(), strict=True):
            if max(map(abs, held)) > 2 * placement.rules.sizing.lots:  # two exits may cross once
                self.breach(f"I4: {placement.name} holds {held} lots")

    def _check_worst_case(self, rig: Trader) -> None:
        for order in self.exchange.working():
            placed = rig.blotter.known(order.client_id)
            if placed is None or not placed.is_open:
                self.breach(f"I4: {order.client_id} works at the venue and counts for nothing")
        for instrument in self.plan.instruments:
            lot, symbol = Decimal(str(instrument.lot)), instrument.symbol
            held = self.exchange.positions()[symbol]
            strategies = sum(symbol in p.symbols for p in self.plan.placements)
            for side in (1, -1):
                entering = [o for o in self.exchange.working(symbol) if o.side == side]
                worst = held * side + sum(o.left for o in entering if not o.reduce_only)
                if worst > strategies * POSITION_MAX * lot:
                    self.breach(f"I4: {symbol}: {worst} units at worst")

    def judge_the_end(self) -> None:
        """Judge what is left: I1, I2, I3, I5, I6."""
        rig = self.trader
        assert rig is not None
        fills: list[Fill] = rig.records(Fill)  # type: ignore[assignment]
        told = [(f.instrument, f.trade) for f in fills]
        if len(set(told)) != len(told):
            self.breach("I2: a trade is in the journal twice")
        theirs = {(t.symbol, str(t.trade_id)) for t in self.exchange.trades()}
        if set(told) != theirs:
            self.breach(f"I2: {len(theirs - set(told))} trades are not in the journal")
        paid: list[Action] = rig.records(Action)  # type: ignore[assignment]
        if len({p.id for p in paid}) != len(paid):
            self.breach("I2: a payment is in the journal twice")
        cash = CASH + sum((Decimal(repr(p.value)) for p in paid), Decimal(0))
        lots = {i.symbol: Decimal(str(i.lot)) for i in self.plan.instruments}
        for f in fills:
            paid = f.side * f.qty * lots[f.instrument] * Decimal(repr(f.price))
            cash -= paid + Decimal(repr(f.fee))
        if cash != self.exchange.cash():
            self.breach(f"I3: cash is {cash}, at the exchange {self.exchange.cash()}")
        if not rig.books_agree():
            self.breach("I3: the books differ from the exchange's")
        orders = [o.client_id for o in self.exchange.orders()]
        if len(orders) != len(set(orders)):
            self.breach("I1: an intent has two orders at the exchange")
        for journal in rig.journals:
            verify(journal)
        replayed = replay(rig.journals[-1], rig.plan).run.state
        for part in ("account", "instruments", "sleeves", "strategies", "currencies", "orders"):
            if getattr(replayed, part).tobytes() != getattr(rig.live.session.state, part).tobytes():
                self.breach(f"I6: the replay ends with other {part}")

    # -- a life -----------------------------------------------------------------------------------

    async def live(self) -> None:
        """Live through all minutes, then heal, and let the judge look."""
        async with asyncio.timeout((self.minutes + 60) * MINUTE_S):
            await self._live()

    async def _live(self) -> None:
        await self._begin()
        for n in range(self.minutes):
            await self._minute(n, self._happening)
            self.check()
        await self._heal()
        assert self.trader is not None
        await self.trader.end()
        self.judge_the_end()

    async def _begin(self) -> None:
        rules = LiveRules(poll_s=1.0, late_bars=2.0, on_stop=self.chance.choice(["cancel", "keep"]))
        self.trader = Trader(self.folder, self.plan, self.venue, self.now, rules)
        await self.trader.begin()

    async def _restarted(self) -> None:
        """Begin again, as a process that knows nothing but its folder."""
        before = self.trader
        assert before is not None
        rules = LiveRules(poll_s=1.0, late_bars=2.0, on_stop=self.chance.choice(["cancel", "keep"]))
        self.trader = Trader(self.folder, before.plan, self.venue, self.now, rules)
        self.trader.journals, self.trader._handover = before.journals, before._handover
        await self.trader.begin()

    def _reconfigure(self) -> None:
        """Change a limit that stops nothing, as a configuration may change any."""
        assert self.trader is not None
        account = self.trader.plan.account
        limits = account.limits.model_copy(update={"daily_loss": self.chance.choice([0.8, 0.9])})
        heir = replace(self.trader.plan, account=account.model_copy(update={"limits": limits}))
        self.trader.reconfigure(heir)

    async def _minute(self, n: int, happening: Any) -> None:
        """Let a minute pass in which something happens, and its bar close at its end."""
        end = (n + 1) * MINUTE_S
        await happening()
        if n < self.minutes and self.chance.random() < 0.1:
            self.exchange.pay(Decimal(self.chance.randint(-500, 500)) / 100)
        if n < self.minutes and self.chance.random() < 0.4:
            self.exchange.halve_next()
        await asyncio.sleep(max(0.0, end - asyncio.get_running_loop().time()))
        for bars in self.bars.values():
            self.exchange.on_bar(bars[n])
            assert self.trader is not None
            self.trader.feed.past.append(bars[n])
            delay = self.chance.uniform(0.0, 1.0)
            asyncio.get_running_loop().call_later(delay, self.trader.feed.queue.put_nowait, bars[n])
        await asyncio.sleep(self.chance.uniform(0.0, 3.0))

    async def _happening(self) -> None:
        """Let something happen, or nothing."""
        await asyncio.sleep(self.chance.uniform(0.0, 40.0))
        what = self.chance.choices(
            [
                "nothing",
                "crash",
                "restart",
                "reconfigure",
                "down",
                "drop",
                "kill",
                "resume",
                "skew",
                "feed",
            ],
            [6, 1, 1, 0.7, 1, 1, 1, 8, 0.3, 0.5],
        )[0]
        assert self.trader is not None
        if self.trader.failed is not None:
            raise self.trader.failed
        if what in ("crash", "restart", "reconfigure"):
            await self._restart(what)
        elif what == "down":
            self.venue.go_down(self.chance.choice([1.0, 10.0, 90.0, 300.0]))
        elif what == "drop":
            self.venue.disconnect()
        elif what == "kill":
            self._kill()
        elif what == "resume":
            self._resume()
        elif what == "skew":
            self.trader.skew_ns = self.chance.choice([0, 0, 5 * NS_PER_S])
        elif what == "feed":
            self.trader.feed.queue.put_nowait(None)

    async def _restart(self, how: str) -> None:
        assert self.trader is not None
        crashes = how == "crash" or (how == "reconfigure" and self.chance.random() < 0.5)
        self.crashes += crashes
        before = self.trader._journal.head.seq
        await (self.trader.crash() if crashes else self.trader.end())
        await asyncio.sleep(self.chance.choice([0.0, 5.0, 15.0]))
        if how == "reconfigure":
            self._reconfigure()
        await self._restarted()
        if how != "reconfigure" and self.trader._journal.head.seq < before:
            self.breach(f"I5: {before} records were durable, {self.trader._journal.head.seq} are")

    def _kill(self) -> None:
        """Turn a kill switch on: by hand, or by a request."""
        assert self.trader is not None
        self.kills += 1
        placement = self.chance.choice(self.plan.placements)
        scope = self.chance.choice(
            [EVERYTHING, Scope(placement.name, ""), Scope("", placement.symbols[0])]
        )
        if self.chance.random() < 0.5:
            self.trader.control.kill(scope, "by hand")
        else:
            self._ask("kill", scope)

    def _ask(self, command: str, scope: Scope) -> None:
        assert self.trader is not None
        self.asked += 1
        self.trader.control.ask(
            Request(f"r{self.asked}", command, self.now(), *scope, "a reason", "a person")
        )

    def _resume(self) -> None:
        """Resume what is stopped, as a person does who has looked: nothing is on its way."""
        assert self.trader is not None
        if not self.venue.is_quiet:
            return
        state, names = self.trader.live.session.state, self.plan.names
        scopes = (
            [EVERYTHING] if state.account["killed"][0] or state.account["reduce_only"][0] else []
        )
        for symbol, killed in zip(names.symbols, state.instruments["killed"], strict=True):
            scopes += [Scope("", symbol)] if killed else []
        for strategy, killed in zip(names.strategies, state.strategies["killed"], strict=True):
            scopes += [Scope(strategy, "")] if killed else []
        unknown = {p.order.instrument for p in self.trader.blotter.open() if p.state == "unknown"}
        scopes += [Scope("", symbol) for symbol in unknown]
        for scope in sorted({*scopes, *self.trader.control.switches()}):
            self._ask("resume", scope)

    async def _heal(self) -> None:
        """Let nothing go wrong any more, until all is well and known."""
        assert self.trader is not None
        self.venue.share, self.venue.down_until_ns, self.trader.skew_ns = 0.0, 0, 0
        for n in range(self.minutes, self.minutes + 20):
            await self._minute(n, self._visit)
            if n > self.minutes + 5 and self._is_well():
                return
        status = {k: v for k, v in self.trader.live.status().items() if k != "last_bars"}
        self.breach(f"it does not recover: {msgspec.json.encode(status).decode()}")

    async def _visit(self) -> None:
        await asyncio.sleep(30.0)
        assert self.trader is not None
        if self.trader.failed is not None:
            raise self.trader.failed
        self._resume()

    def _is_well(self) -> bool:
        assert self.trader is not None
        live, account = self.trader.live, self.trader.live.session.state.account[0]
        assert live.desk is not None
        unknown = [p for p in self.trader.blotter.open() if p.state == "unknown"]
        return bool(
            account["reconciled"]
            and not account["killed"]
            and not account["reduce_only"]
            and not live.desk.trouble
            and not unknown
            and not self.trader.control.switches()
        )
