"""Deadline, repeats, breaker and pace of the calls to a source, on the real event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from onefold.adapters.calls import Calls, library, words
from onefold.domain.errors import ConfigError, MissingExtra, VenueRefused, VenueUncertain

HANGS_S = 60.0


class Source:
    """A source that answers as told, one entry a call, the last one for ever."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.calls: list[float] = []

    async def __call__(self) -> object:
        self.calls.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "hang":
            await asyncio.sleep(HANGS_S)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 10))


async def outcome(call: Callable[[], Awaitable[object]]) -> object:
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - what was raised is what is looked at
        return error


# --- reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [VenueUncertain("lost"), OSError("reset"), TimeoutError(), ValueError("half a JSON")],
)
def test_a_read_is_repeated_until_there_is_an_answer(failure: Exception) -> None:
    source = Source(failure, failure, 42)
    assert run(Calls("venue").read(source)) == 42
    assert len(source.calls) == 3


def test_a_read_without_any_answer_is_uncertain_and_names_the_source() -> None:
    source = Source(ConnectionResetError("peer"))
    with pytest.raises(VenueUncertain, match="venue: ConnectionResetError: peer"):
        run(Calls("venue", retries=2).read(source))
    assert len(source.calls) == 3


def test_a_clear_no_is_not_repeated() -> None:
    for no in (VenueRefused("unknown symbol"), ConfigError("wrong key")):
        source = Source(no)
        with pytest.raises(type(no)):
            run(Calls("venue").read(source))
        assert len(source.calls) == 1


def test_a_read_waits_as_long_as_it_is_asked_to() -> None:
    source = Source(VenueRefused("too many", 0.3), 42)
    assert run(Calls("venue").read(source)) == 42
    assert source.calls[1] - source.calls[0] >= 0.29


def test_a_long_pause_is_told_at_once_and_kept() -> None:
    async def work() -> None:
        calls, source = Calls("venue", deadline_s=1.0), Source(VenueRefused("banned", 120.0), 42)
        with pytest.raises(VenueRefused, match="banned"):
            await calls.read(source)
        for call in (calls.read, calls.act):
            with pytest.raises(VenueRefused, match="not sent") as refusal:
                await call(source)
            assert refusal.value.retry_after_s == pytest.approx(120.0, abs=1.0)
        assert len(source.calls) == 1, "nothing is sent while the source wants to be left alone"
        assert await calls.act(source, urgent=True) == 42, "but a cancel is tried"

    run(work())


def test_each_try_has_its_own_deadline() -> None:
    source = Source("hang", "hang", 42)
    assert run(Calls("venue", deadline_s=0.05).read(source)) == 42
    assert len(source.calls) == 3


# --- acts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [VenueUncertain("502"), OSError("reset"), TimeoutError(), KeyError("orderId"), "hang"],
)
def test_an_act_is_sent_once_and_then_uncertain(failure: object) -> None:
    source = Source(failure, 42)
    with pytest.raises(VenueUncertain):
        run(Calls("venue", deadline_s=0.05).act(source))
    assert len(source.calls) == 1


def test_an_act_that_is_refused_stays_refused() -> None:
    source = Source(VenueRefused("too many", 0.01), 42)
    with pytest.raises(VenueRefused, match="too many"):
        run(Calls("venue").act(source))
    assert len(source.calls) == 1, "not even when it says when to come back"


def test_what_a_library_gives_up_does_not_cancel_the_caller() -> None:
    with pytest.raises(VenueUncertain, match="given up"):
        run(Calls("venue").act(Source(asyncio.CancelledError())))
    assert run(Calls("venue").read(Source(asyncio.CancelledError(), 42))) == 42


def test_cancelling_the_caller_is_no_answer_of_the_venue() -> None:
    async def work() -> None:
        task = asyncio.create_task(Calls("venue").act(Source("hang")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(work())


# --- breaker -------------------------------------------------------------------------------------


def test_the_breaker_opens_for_reads_and_orders_but_not_for_cancels() -> None:
    async def work() -> None:
        calls = Calls("venue", retries=0, breaker_failures=2, breaker_reset_s=30)
        source = Source(OSError("down"))
        for _ in range(2):
            await outcome(lambda: calls.read(source))
        with pytest.raises(VenueUncertain, match="does not answer: next try in 30 s"):
            await calls.read(source)
        with pytest.raises(VenueRefused, match="not sent"):
            await calls.act(source)
        assert len(source.calls) == 2
        with pytest.raises(VenueUncertain, match="down"):
            await calls.act(source, urgent=True)
        assert len(source.calls) == 3

    run(work())


def test_an_open_breaker_ends_the_repeats() -> None:
    source = Source(OSError("down"))
    with pytest.raises(VenueUncertain):
        run(Calls("venue", retries=9, breaker_failures=3).read(source))
    assert len(source.calls) == 3


def test_after_a_while_one_call_tries_and_closes_or_opens_it_again() -> None:
    async def work() -> None:
        calls = Calls("venue", retries=0, breaker_failures=1, breaker_reset_s=0.5)
        source = Source(OSError("down"), OSError("still"), 42)
        await outcome(lambda: calls.read(source))
        await asyncio.sleep(0.55)
        several = [outcome(lambda: calls.read(source)) for _ in range(5)]
        assert all(isinstance(x, VenueUncertain) for x in await asyncio.gather(*several))
        assert len(source.calls) == 2, "one tried for all"
        await asyncio.sleep(0.55)
        assert await calls.read(source) == 42
        assert await calls.act(source) == 42

    run(work())


def test_a_refusal_is_an_answer() -> None:
    async def work() -> None:
        calls = Calls("venue", retries=0, breaker_failures=2)
        source = Source(OSError("down"), VenueRefused("no"), OSError("down"), 42)
        assert [type(await outcome(lambda: calls.read(source))) for _ in range(4)] == [
            VenueUncertain,
            VenueRefused,
            VenueUncertain,
            int,
        ]

    run(work())


# --- pace ----------------------------------------------------------------------------------------


def test_no_window_has_more_calls_than_allowed() -> None:
    async def work() -> None:
        calls, source = Calls("venue", per_second=50, reserve=0.2), Source(1)
        await asyncio.gather(*(calls.read(source) for _ in range(100)))
        # 40 of the 50 are for ordinary calls.
        spans = [b - a for a, b in zip(source.calls, source.calls[40:], strict=False)]
        assert min(spans) >= 0.98
        assert source.calls[-1] - source.calls[0] < 3.5, "and it is not slower than allowed"

    run(work())


def test_cancels_have_a_reserve() -> None:
    async def work() -> None:
        calls, source = Calls("venue", per_second=10, reserve=0.2), Source(1)
        waiting = [asyncio.create_task(calls.act(source)) for _ in range(20)]
        await asyncio.sleep(0.01)
        start = asyncio.get_running_loop().time()
        await calls.act(source, urgent=True)
        await calls.act(source, urgent=True)
        assert asyncio.get_running_loop().time() - start < 0.1
        await calls.act(source, urgent=True)
        assert asyncio.get_running_loop().time() - start > 0.8, "the reserve is paced as well"
        for task in waiting:
            task.cancel()

    run(work())


def test_what_would_wait_past_its_deadline_is_not_sent() -> None:
    async def work() -> None:
        calls = Calls("venue", per_second=1, reserve=0, deadline_s=0.5)
        source = Source(1)
        await calls.act(source)
        with pytest.raises(VenueRefused, match="too many calls are waiting: not sent"):
            await calls.act(source)
        assert len(source.calls) == 1

    run(work())


# --- words and libraries -------------------------------------------------------------------------


def test_addresses_do_not_reach_the_words() -> None:
    error = OSError("POST https://venue.example/hook/SECRET?key=SECRET failed\n<html>")
    assert words(error) == "OSError: POST https://venue.example failed <html>"
    assert words(TimeoutError()) == "TimeoutError"
    assert len(words(ValueError("x" * 10_000))) == 200


def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match=r"onefold\[live\]"):
        library("no_such_client_library")


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ("ccxt", "aiohttp", "stamina", "alpaca", "databento", "yfinance", "pandas")
    text = (
        "import sys, onefold, onefold.adapters.calls, onefold.adapters.ccxt\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""
