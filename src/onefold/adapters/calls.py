"""Call a source over the network so that it can neither hang us nor be stormed by us.

Every adapter needs the same four things around its client: a deadline, repeats for what is safe to
repeat, a pause when the other side is down or asks for one, and a pace that keeps something back
for cancels. Here they stand once, and with them the one rule that money hangs on: what may have an
effect is sent once, and whatever then comes back that is not a clear answer is uncertain.

Repeats are stamina's. Pause and pace are a few lines of our own, because the packages for them
measure time by the wall clock (a clock set back would keep a breaker open, or a window full, for as
long), cannot say how long to wait, and know no reserve. Times here are those of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, TypeVar

from onefold.domain.errors import MissingExtra, OnefoldError, VenueRefused, VenueUncertain

T = TypeVar("T")

PAUSE_S = 5.0
"""A read waits out pauses of up to this length when it is asked to come back later."""

log = logging.getLogger("onefold.api.calls")

WORDS_MAX = 200
"""How much of a foreign error's text is shown."""


def library(name: str) -> Any:
    """Import a client library when it is needed, so that Onefold starts fast and without it.

    Raises `MissingExtra` when it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this venue or source ({name})", "live") from error


def words(error: BaseException) -> str:
    """Return a foreign error as one short line without addresses, which may carry secrets."""
    text = re.sub(r"(\w+://[^/\s]+)\S*", r"\1", str(error))
    name = type(error).__name__
    return f"{name}: {' '.join(text.split())}"[:WORDS_MAX] if text else name


class Calls:
    """The calls of one source: a deadline for each, repeats for reads, a breaker, a pace.

    `deadline_s` is for one try, `retries` are beyond the first, `per_second` paces all calls and
    `reserve` is the share of it that only urgent ones may use. After `breaker_failures` calls in a
    row without an answer the source is left alone for `breaker_reset_s`; then one call tries. Where
    it asks to be left alone, it is. An urgent call is tried through both: a cancel must work.
    """

    def __init__(
        self,
        name: str,
        *,
        deadline_s: float = 10.0,
        retries: int = 3,
        per_second: float | None = None,
        reserve: float = 0.2,
        breaker_failures: int = 5,
        breaker_reset_s: float = 30.0,
    ) -> None:
        self.name = name
        self._deadline_s = deadline_s
        self._breaker = _Breaker(name, breaker_failures, breaker_reset_s)
        self._ordinary = None if per_second is None else _Lane(per_second * (1 - reserve))
        self._reserved = None if not per_second or not reserve else _Lane(per_second * reserve)
        self._quiet_until = 0.0
        stamina = library("stamina")
        stamina.instrumentation.set_on_retry_hooks([])  # a line without a reason helps nobody
        self._retry = stamina.AsyncRetryingCaller(
            attempts=retries + 1,
            timeout=None,
            wait_initial=0.1,
            wait_max=max(deadline_s / 2, 0.1),
            wait_jitter=0.1,
        )

    async def read(self, make: Callable[[], Awaitable[T]]) -> T:
        """Ask for something, and ask again where no clear answer comes.

        Raises `VenueUncertain` when there is none in the end, `VenueRefused` for a clear no.
        """
        answer: T = await self._retry(self._again, self._read_once, make)
        return answer

    async def act(self, make: Callable[[], Awaitable[T]], *, urgent: bool = False) -> T:
        """Do something that has an effect, once.

        Raises `VenueRefused` when it was not sent or not accepted, `VenueUncertain` when it was
        sent and nobody knows.
        """
        return await self._once(make, urgent=urgent)

    async def _read_once(self, make: Callable[[], Awaitable[T]]) -> T:
        left_s = self._breaker.left_s(_now())
        if left_s > 0:
            # Nothing is known of what was asked for: to a reader that is the same as no answer.
            raise VenueUncertain(f"{self.name} does not answer: next try in {left_s:.0f} s")
        return await self._once(make, urgent=False)

    async def _once(self, make: Callable[[], Awaitable[T]], *, urgent: bool) -> T:
        if not urgent:
            self._admit()
        await self._pace(urgent=urgent)
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await make()
        except VenueRefused as refusal:
            self._heard(refusal.retry_after_s)
            raise
        except VenueUncertain:
            self._breaker.failed(_now())
            raise
        except OnefoldError:
            # A clear answer that is for the user, such as a wrong key.
            self._heard(None)
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody has cancelled us: a library has given up something that it was waiting for.
            self._breaker.failed(_now())
            raise VenueUncertain(f"{self.name}: the call was given up") from error
        except TimeoutError as error:
            self._breaker.failed(_now())
            raise VenueUncertain(
                f"{self.name} gave no answer within {self._deadline_s:g} s"
            ) from error
        except Exception as error:
            # Whatever else goes wrong once a call is on its way, nobody knows what became of it.
            self._breaker.failed(_now())
            raise VenueUncertain(f"{self.name}: {words(error)}") from error
        self._heard(None)
        return answer

    def _admit(self) -> None:
        """Refuse before sending while the source is to be left alone."""
        now = _now()
        if now < self._quiet_until:
            left_s = self._quiet_until - now
            raise VenueRefused(
                f"{self.name} asked to be left alone: not sent, {left_s:.1f} s left", left_s
            )
        left_s = self._breaker.enter(now)
        if left_s > 0:
            raise VenueRefused(f"{self.name} does not answer: not sent", left_s)

    async def _pace(self, *, urgent: bool) -> None:
        if self._ordinary is None:
            return
        now, lane = _now(), self._ordinary
        if urgent and self._reserved and self._reserved.wait_s(now) < lane.wait_s(now):
            lane = self._reserved
        wait_s = lane.wait_s(now)
        if wait_s > self._deadline_s and not urgent:
            raise VenueRefused(f"{self.name}: too many calls are waiting: not sent", wait_s)
        lane.take(now + wait_s)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def _heard(self, retry_after_s: float | None) -> None:
        self._breaker.answered()
        if retry_after_s is not None:
            self._quiet_until = max(self._quiet_until, _now() + retry_after_s)

    def _again(self, error: Exception) -> bool | float:
        """Return whether to repeat a read, or after how many seconds."""
        log.debug("%s: a read is asked again after: %s", self.name, error)
        if isinstance(error, VenueRefused):
            wait_s = error.retry_after_s
            # The engine must hear of a long pause at once; it shows stale data meanwhile.
            patience_s = max(self._deadline_s, PAUSE_S)
            return wait_s if wait_s is not None and wait_s <= patience_s else False
        return isinstance(error, VenueUncertain) and self._breaker.left_s(_now()) <= 0


class _Breaker:
    """Closed until so many failures in a row; then open, and every `reset_s` one call may try."""

    def __init__(self, name: str, failures: int, reset_s: float) -> None:
        self._name = name
        self._failures_max = failures
        self._reset_s = reset_s
        self._failures = 0
        self._open_until = 0.0

    def left_s(self, now: float) -> float:
        """Return for how long nobody may try."""
        return self._open_until - now if self._failures >= self._failures_max else 0.0

    def enter(self, now: float) -> float:
        """Return as `left_s`; the first to come in time becomes the one who tries."""
        left_s = self.left_s(now)
        if left_s <= 0 and self._failures >= self._failures_max:
            self._open_until = now + self._reset_s
        return left_s

    def failed(self, now: float) -> None:
        self._failures += 1
        if self._failures >= self._failures_max:
            self._open_until = now + self._reset_s
        if self._failures == self._failures_max:  # once, and not for each try while it is open
            said = "%s has left %d calls in a row without an answer: it is left alone for %g s"
            extra = {"component": "breaker", "source": self._name}
            log.warning(said, self._name, self._failures, self._reset_s, extra=extra)

    def answered(self) -> None:
        if self._failures >= self._failures_max:
            log.info("%s answers again", self._name)
        self._failures = 0


class _Lane:
    """At most so many calls in any window of time."""

    def __init__(self, per_second: float) -> None:
        count = max(1, int(per_second))
        self._window_s = count / per_second
        self._taken: deque[float] = deque(maxlen=count)

    def wait_s(self, now: float) -> float:
        """Return how long the next call has to wait."""
        if len(self._taken) < (self._taken.maxlen or 0):
            return 0.0
        return max(0.0, self._taken[0] + self._window_s - now)

    def take(self, at: float) -> None:
        self._taken.append(at)


def _now() -> float:
    return asyncio.get_running_loop().time()
