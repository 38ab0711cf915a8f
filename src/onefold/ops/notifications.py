"""Tell people what happens, by Discord, Slack, Telegram, e-mail and more, without being in the way.

A channel may be slow, down, or ask to be left alone, and a market may do a thousand things at once.
So each channel has a bounded queue and a thread of its own: whoever tells something is never kept
waiting, an emergency goes first, what does not fit into a minute is told in one message with
counts, and what cannot be delivered is tried again for a while and counted after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from onefold.domain.errors import ConfigError, did_you_mean
from onefold.domain.records import Record
from onefold.engine.session import Session
from onefold.ops import notices
from onefold.ops.channels import ChannelSettings, NotificationSettings
from onefold.ops.notices import Level, Notice, Notices
from onefold.ops.services import Service

WINDOW_S = 60.0
RETRY_S, RETRY_MAX_S = 1.0, 60.0
BODY_MAX = 1_600
"""Characters of a message: the smallest service takes 2,000 with the title."""

_WORDS = {Level.WARNING: "warning: ", Level.EMERGENCY: "EMERGENCY: "}

log = logging.getLogger(__name__)


class Named(Protocol):
    """What is asked of an account."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def mode(self) -> str:
        """Return its mode."""


class Reporting(Protocol):
    """What is asked of a live session."""

    def status(self) -> Mapping[str, Any]:
        """Return what its heartbeat says."""


class Pile:
    """Notices that are told in sum: how many of each kind, and the latest of each."""

    def __init__(self, notices_: Iterable[Notice] = ()) -> None:
        self.counts: dict[str, int] = {}
        self.latest: dict[str, Notice] = {}
        for notice in notices_:
            self.add(notice)

    def __len__(self) -> int:
        """Return how many notices there are."""
        return sum(self.counts.values())

    def add(self, notice: Notice) -> None:
        """Count a notice."""
        self.counts[notice.kind] = self.counts.get(notice.kind, 0) + 1
        self.latest[notice.kind] = notice

    def merge(self, later: Pile) -> None:
        """Count all of a later pile."""
        for kind, count in later.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        self.latest |= later.latest

    def message(self) -> tuple[str, str, Level]:
        """Return title, text and level of the message that tells all of it."""
        title = f"{len(self)} notices in one message"
        lines = [
            f"{count} x {kind}, the latest: {_title(self.latest[kind])}"
            for kind, count in sorted(self.counts.items(), key=lambda c: -self.latest[c[0]].level)
        ]
        level = max(notice.level for notice in self.latest.values())
        return f"{_WORDS.get(level, '')}{title}", "\n".join(lines)[:BODY_MAX], level


def _title(notice: Notice) -> str:
    return f"{notice.account}: {notice.title}"


def message_of(notice: Notice) -> tuple[str, str, Level]:
    """Return title, text and level of the message that tells one notice."""
    text = "\n".join(filter(None, (notice.text, notices.moment(notice.ts))))
    return f"{_WORDS.get(notice.level, '')}{_title(notice)}", text[:BODY_MAX], notice.level


class _Waiting(NamedTuple):
    """A notice in a queue, and when it came there by the monotonic clock."""

    notice: Notice
    since: float


class _Lane:
    """A queue with messages of its own a minute: one for emergencies, one for all else."""

    def __init__(self, per_minute: int) -> None:
        self.queue: deque[_Waiting] = deque()
        self._per_minute = per_minute
        self._sent: deque[float] = deque()

    def free(self, now: float) -> int:
        """Return how many messages may go out now."""
        while self._sent and self._sent[0] <= now - WINDOW_S:
            self._sent.popleft()
        return self._per_minute - len(self._sent)

    def free_in(self, now: float) -> float:
        """Return the seconds until one may."""
        return 0.0 if self.free(now) > 0 else self._sent[0] + WINDOW_S - now

    def went(self, now: float) -> None:
        """Count a message."""
        self._sent.append(now)


class _Message(NamedTuple):
    """What the next message tells: a notice, or several and a pile in sum."""

    lane: _Lane
    parts: list[_Waiting]
    pile: Pile

    def written(self) -> tuple[str, str, Level]:
        """Return title, text and level."""
        if len(self.parts) == 1 and not self.pile:
            return message_of(self.parts[0].notice)
        whole = Pile()
        whole.merge(self.pile)
        whole.merge(Pile(one.notice for one in self.parts))
        return whole.message()


class Channel:
    """A queue and the thread that empties it into a service.

    `alert` is told in a line when the service cannot be reached, and when it can again.
    """

    def __init__(
        self,
        name: str,
        settings: ChannelSettings,
        common: NotificationSettings,
        service: Service,
        alert: Callable[[str], None],
    ) -> None:
        self.name, self._settings = name, settings
        self._common, self._service, self._alert = common, service, alert
        self._changed = threading.Condition()
        self._urgent, self._others = _Lane(common.per_minute), _Lane(common.per_minute)
        self._pile = Pile()
        self._retry_at, self._delay = 0.0, 0.0
        self._closes_at = math.inf
        self._delivered = self._failures = self._in_flight = 0
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"notify {name}", daemon=True)
        self._thread.start()

    def tell(self, notice: Notice) -> None:
        """Put a notice into the queue; of a full one the oldest are counted, emergencies last."""
        if not self._wants(notice):
            return
        lane = self._urgent if notice.level is Level.EMERGENCY else self._others
        with self._changed:
            lane.queue.append(_Waiting(notice, time.monotonic()))
            self._bound()
            self._changed.notify()

    def _wants(self, notice: Notice) -> bool:
        wanted = self._settings
        return (
            notice.level >= Level[wanted.level.upper()]
            and (not wanted.kinds or notice.kind in wanted.kinds)
            and (not wanted.accounts or notice.account in wanted.accounts)
        )

    def status(self) -> dict[str, Any]:
        """Return how the channel stands."""
        with self._changed:
            return {
                "delivered": self._delivered,
                "failures": self._failures,
                "waiting": len(self._urgent.queue) + len(self._others.queue) + self._in_flight,
                "counted": len(self._pile),
                "trouble": self._trouble,
            }

    def closing(self, deadline: float) -> None:
        """Send what is left at once, until a time of the monotonic clock."""
        with self._changed:
            self._closes_at = deadline
            self._retry_at = 0.0
            self._changed.notify()

    def joined(self) -> int:
        """Wait for the thread until the deadline; return how many notices were not delivered."""
        self._thread.join(max(0.0, self._closes_at - time.monotonic()))
        status = self.status()
        return int(status["waiting"] + status["counted"])

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                message = self._next()
                self._in_flight = 0 if message is None else len(message.parts) + len(message.pile)
            if message is None:
                return
            trouble = self._service.send(*message.written())
            with self._changed:
                line = self._settle(message, trouble)
            if line:
                with contextlib.suppress(Exception):
                    self._alert(line)

    def _next(self) -> _Message | None:
        """Wait for the next message that may be sent; None at the end."""
        while True:
            now = time.monotonic()
            if now >= self._closes_at:
                return None
            if now >= self._retry_at and (found := self._chosen(now)) is not None:
                return found
            if self._closes_at < math.inf and not self._waiting():
                return None
            until = min((lane.free_in(now) for lane in self._waiting()), default=math.inf)
            wait = min(max(until, self._retry_at - now), self._closes_at - now)
            self._changed.wait(None if wait == math.inf else max(wait, 0.01))

    def _waiting(self) -> list[_Lane]:
        """Return the lanes in which something waits."""
        others = self._others.queue or self._pile
        both = ((self._urgent, self._urgent.queue), (self._others, others))
        return [lane for lane, waiting in both if waiting]

    def _chosen(self, now: float) -> _Message | None:
        """Take out what goes next: one notice, or in the last free place all that waits."""
        for lane in self._waiting():
            free = 1 if self._closes_at < math.inf else lane.free(now)
            pile = self._pile if lane is self._others else Pile()
            messages = len(lane.queue) + bool(pile)
            if free <= 0:
                continue
            if pile and (messages <= free or free == 1):
                self._pile = Pile()
            if free == 1 and messages > 1:
                parts = list(lane.queue)
                lane.queue.clear()
                return _Message(lane, parts, pile)
            if pile and messages <= free:
                return _Message(lane, [], pile)
            return _Message(lane, [lane.queue.popleft()], Pile())
        return None

    def _settle(self, message: _Message, trouble: str) -> str:
        """Note what came of a message; return what is to be said of the channel itself."""
        now = time.monotonic()
        self._in_flight = 0
        was, self._trouble = self._trouble, trouble
        if not trouble:
            self._delivered += 1
            self._delay = self._retry_at = 0.0
            message.lane.went(now)
            return f"channel {self.name} takes messages again" if was else ""
        self._failures += 1
        self._delay = min(max(RETRY_S, 2 * self._delay), RETRY_MAX_S)
        self._retry_at = now + self._delay
        message.lane.queue.extendleft(reversed(message.parts))
        later, self._pile = self._pile, message.pile
        others = self._others.queue
        while others and now - others[0].since > self._common.retry_s:
            self._pile.add(others.popleft().notice)
        self._pile.merge(later)
        self._bound()
        return "" if was else f"channel {self.name} takes no messages, tried again: {trouble}"

    def _bound(self) -> None:
        """Count the oldest where too many wait; emergencies where nothing else does."""
        urgent, others = self._urgent.queue, self._others.queue
        while len(urgent) + len(others) > self._common.queue:
            self._pile.add((others or urgent).popleft().notice)


class Notifications:
    """All channels of a process. Nothing of it blocks, and nothing raises but the constructor.

    Raises `ConfigError` for an address that apprise does not understand, `MissingExtra` without
    apprise. `alert` is told in a line of channels that cannot be reached; by default the log is.
    """

    def __init__(
        self, settings: NotificationSettings, alert: Callable[[str], None] = log.warning
    ) -> None:
        self._settings = settings
        made = [(n, one, Service(n, one)) for n, one in settings.channels.items()]
        self._channels = [
            Channel(name, one, settings, service, alert) for name, one, service in made
        ]
        self._alert = alert
        self._waits: set[str] = set()

    def tell(self, notice: Notice) -> None:
        """Tell everybody who wants to know; return at once."""
        for channel in self._channels:
            with contextlib.suppress(Exception):
                channel.tell(notice)

    def status(self) -> dict[str, dict[str, Any]]:
        """Return how every channel stands, by name."""
        return {channel.name: channel.status() for channel in self._channels}

    def close(self) -> None:
        """Send what is left, for `drain_s` at most."""
        deadline = time.monotonic() + self._settings.drain_s
        for channel in self._channels:
            channel.closing(deadline)
        for channel in self._channels:
            left = channel.joined()
            if left:
                with contextlib.suppress(Exception):
                    self._alert(f"channel {channel.name}: {left} notices were not delivered")

    # -- what becomes of accounts; the methods of `app.live.Watcher` ------------------------------

    def observe(self, account: Named, session: Session) -> Callable[[Record], None]:
        """Return what hears every new record of a session that has recovered, before its fold."""
        if not self._channels:
            return lambda _: None
        return Observer(self.tell, Notices(account.name, session))

    def opened(self, account: Named, live: Reporting) -> None:
        """Tell that an account trades."""
        self._waits.discard(account.name)
        self._about(lambda ts: notices.started(account.name, account.mode, live.status(), ts))

    def told(self, account: Named, text: str) -> None:
        """Tell what the engine says, and its records do not."""
        self._about(lambda ts: notices.said(account.name, text, ts))

    def waits(self, account: Named, error: BaseException) -> None:
        """Tell once that a feed or a venue cannot be reached."""
        if account.name not in self._waits:
            self._waits.add(account.name)
            self._about(lambda ts: notices.waiting(account.name, error, ts))

    def failed(self, account: Named, error: BaseException) -> None:
        """Tell what ended an account badly."""
        self._about(lambda ts: notices.failed(account.name, error, ts))

    def stopped(self, account: Named, live: Reporting) -> None:
        """Tell that an account has come to a good end."""
        self._about(lambda ts: notices.stopped(account.name, live.status(), ts))

    def _about(self, made: Callable[[int], Notice | None]) -> None:
        with contextlib.suppress(Exception):
            notice = made(time.time_ns())
            if notice is not None:
                self.tell(notice)


class Observer:
    """Hears a session's records, and looks again when the loop is done with them.

    Records must come `at_once`, each before it is folded: rates, rolls and the end of a day are
    read from books that do not know of it yet. It takes microseconds and never raises.

    What a fold leads to by itself, such as a loss limit that was hit, is told without waiting for
    the next record, which may come a day later.
    """

    at_once = True

    def __init__(self, tell: Callable[[Notice], None], one: Notices) -> None:
        self._tell, self._notices = tell, one
        self._will_look = False

    def __call__(self, record: Record) -> None:
        """Hear a record that is about to be folded."""
        try:
            for notice in self._notices.hear(record):
                self._tell(notice)
        except Exception:
            log.exception("a record was not told of")
        if not self._will_look:
            with contextlib.suppress(RuntimeError):  # outside of a loop nobody looks again
                asyncio.get_running_loop().call_soon(self._look)
                self._will_look = True

    def _look(self) -> None:
        self._will_look = False
        with contextlib.suppress(Exception):
            for notice in self._notices.look():
                self._tell(notice)


def try_out(settings: NotificationSettings, names: Iterable[str]) -> dict[str, str]:
    """Send a message to channels at once; return by name what went wrong, empty where nothing did.

    Raises `ConfigError` for a channel that is not there or whose address cannot be used.
    """
    found = {}
    for name in names or settings.channels:
        if name not in settings.channels:
            hint = did_you_mean(name, settings.channels)
            raise ConfigError(f"notifications.channels: there is no channel {name!r}{hint}")
        service = Service(name, settings.channels[name])
        text = f"This is a test of channel {name}; there is nothing to do."
        found[name] = service.send("Onefold: test", text, Level.INFO)
    return found
