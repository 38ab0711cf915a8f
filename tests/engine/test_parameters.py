"""G2, I8: a session takes what governance changes, and closes when that cannot be trusted."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from onefold.app.live import _mandates
from onefold.domain.errors import ConfigError
from onefold.domain.records import Command, Decision, Mandate, Order
from onefold.engine.control import Request
from onefold.engine.explain import explain
from onefold.engine.parameters import Governance, ParameterFile
from onefold.engine.replay import replay
from onefold.governance.parameters import LINE_MAX, Parameters
from onefold.governance.versions import CONF_MIN, Entry, Hold, Key, Runs, Stage, Version

from .live_rig import Rig
from .test_live import bar, long_plan

ABC = Key(CONF_MIN, "s0", "ABC")
RAN = Runs("live", {"s0": "h1"})


def entry(n: int = 1) -> Entry:
    return Entry(n, "a person", "a reason")


def conf_min(value: float, n: int = 1, key: Key = ABC) -> Any:
    return lambda p: p.changed([(key, value)], lambda _: 0.0, entry(n))


def hold(action: Any, n: int = 1) -> Any:
    return lambda p: p.held(Hold(action, "review", "s0"), entry(n))


def in_force(rig: Rig) -> float:
    return float(rig.live.session.state.sleeves["conf_min"][0])


def is_closed(rig: Rig) -> bool:
    return bool(rig.live.session.state.account["reduce_only"][0])


async def reconciled(rig: Rig) -> None:
    await rig.until(lambda: bool(rig.live.session.state.account["reconciled"][0]))


def test_a_session_takes_what_is_there_and_what_comes(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(hold("suppress"))
        async with rig.running() as live:
            await reconciled(rig)
            for n in range(3):
                await rig.play(bar(n))
            assert not rig.records(Order), "it was suppressed before the first bar"
            blocked = rig.records(Decision)
            assert blocked
            assert {tuple(d.blocked) for d in blocked} == {("suppression",)}  # type: ignore[attr-defined]
            rig.parameters.extend(hold("release", 2))
            await rig.until(lambda: live.status()["mandate"] == 2)
            await rig.settled()
            for n in range(3, 6):
                await rig.play(bar(n))
            assert len(rig.records(Order)) == 1
            rig.parameters.extend(conf_min(0.7, 3))
            await rig.until(lambda: in_force(rig) == 0.7)

    asyncio.run(work())
    assert replay(tmp_path / "journal", long_plan()).run.state.sleeves["conf_min"][0] == 0.7


def test_a_restart_takes_what_was_missed_once(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(conf_min(0.6))
        async with rig.running():
            await rig.until(lambda: in_force(rig) == 0.6)
        rig.parameters.extend(conf_min(0.7, 2))
        async with rig.running():
            await rig.until(lambda: in_force(rig) == 0.7)
        async with rig.running():
            assert in_force(rig) == 0.7
        taken: list[Mandate] = rig.records(Mandate)  # type: ignore[assignment]
        assert [(m.version, m.value) for m in taken] == [(1, 0.6), (2, 0.7)]
        assert taken[0].cause == "version 1 by a person: a reason"

    asyncio.run(work())


@pytest.mark.parametrize("harm", ["altered", "older", "gone", "another history"])
def test_parameters_that_cannot_be_trusted_close_the_account(tmp_path: Path, harm: str) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(conf_min(0.6))
        rig.parameters.extend(conf_min(0.7, 2))
        path = rig.parameters.path
        good = path.read_bytes()
        async with rig.running() as live:
            await rig.until(lambda: in_force(rig) == 0.7)
            await reconciled(rig)
            if harm == "altered":
                path.write_bytes(good.replace(b"0.7", b"0.1"))
            elif harm == "another history":
                path.unlink()
                rig.parameters.extend(hold("suppress"))
                rig.parameters.extend(conf_min(0.7, 2))
            elif harm == "older":
                path.write_bytes(good.splitlines(keepends=True)[0])
            else:
                path.unlink()
            await rig.until(lambda: is_closed(rig))
            assert in_force(rig) == 0.7, "what was in force stays in force"
            for n in range(3):
                await rig.play(bar(n))
            assert not rig.records(Order)
            ask(rig, "r1")
            await rig.until(lambda: bool(rig.control.refusal(request("r1"))))
            assert "parameters" in rig.control.refusal(request("r1"))
            path.write_bytes(good)
            await rig.until(lambda: not live.status()["doubt"])
            assert is_closed(rig), "a person has to resume"
            ask(rig, "r2")
            await rig.until(lambda: not is_closed(rig))
        told = [c for c in rig.records(Command) if c.command == "reduce_only"]  # type: ignore[attr-defined]
        assert len(told) == 1
        assert told[0].reason.startswith("parameters: ")  # type: ignore[attr-defined]

    asyncio.run(work())


def request(name: str) -> Request:
    return Request(name, "resume", 1, reason="looked", operator="me")


def ask(rig: Rig, name: str) -> None:
    rig.control.ask(request(name))


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(conf_min(0.6))
        rig.parameters.extend(conf_min(0.7, 2))
        whole = rig.parameters.path.read_bytes()
        rig.parameters.path.write_bytes(whole[:-20])
        async with rig.running() as live:
            await rig.until(lambda: in_force(rig) == 0.6)
            assert not live.status()["doubt"]
            # The next writer puts the piece aside.
            rig.parameters.extend(conf_min(0.8, 2))
            await rig.until(lambda: in_force(rig) == 0.8)
        assert rig.parameters.path.with_name("parameters.jsonl.torn").exists()

    asyncio.run(work())


def test_a_change_of_what_the_session_does_not_have_is_left_out(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(conf_min(0.6, 1, Key(CONF_MIN, "other", "ABC")))
        rig.parameters.extend(conf_min(0.7, 2))
        async with rig.running():
            await rig.until(lambda: in_force(rig) == 0.7)
        assert len(rig.records(Mandate)) == 1

    asyncio.run(work())


def test_writers_take_turns(tmp_path: Path) -> None:
    file = ParameterFile(tmp_path / "deep" / "a.jsonl")

    def write(value: float) -> None:
        key = Key(CONF_MIN, "s0", f"S{value:g}")
        for n in range(5):
            file.extend(conf_min(0.5 + n / 100, 1, key))

    threads = [threading.Thread(target=write, args=(float(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = file.read()
    assert len(found.versions) == 30
    assert found.number == 30


def test_nothing_is_added_when_the_version_cannot_be_made(tmp_path: Path) -> None:
    file = ParameterFile(tmp_path / "a.jsonl")

    def refuse(_: Parameters) -> Version:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        file.extend(refuse)
    assert not file.path.exists()
    assert file.read() == Parameters()
    assert not Governance(file).news(0, "", 0)


def test_an_explanation_names_the_mandates_in_force(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(conf_min(0.6))
        rig.parameters.extend(hold("suppress", 2))
        async with rig.running() as live:
            await reconciled(rig)
            await rig.until(lambda: live.status()["mandate"] == 2)
            for n in range(3):
                await rig.play(bar(n))

    asyncio.run(work())
    told = explain(tmp_path / "journal", long_plan(), 1)
    assert [(m.mandate, m.value) for m in told.mandates] == [("conf_min", 0.6), ("suppress", 1.0)]
    assert told.mandates[1].cause == "version 2 by a person: a reason"
    assert told.conclusion.endswith("blocked by suppression")


def test_an_heir_keeps_what_was_in_force_when_the_file_is_older(tmp_path: Path) -> None:
    """A suppression is not lost by a change of the configuration and a file from a backup."""
    held = Mandate(1, 2, "suppress", 1.0, "s0", parameters="the second")
    file = ParameterFile(tmp_path / "governance" / "main.jsonl")
    file.extend(conf_min(0.6))
    account = SimpleNamespace(parameters=file)
    known = [msgspec.structs.replace(held, version=1, parameters=file.read().hash_of(1)), held]

    def told(*, is_wider: bool = False) -> list[Mandate]:
        return _mandates(account, known, 5, RAN, is_wider=is_wider)  # type: ignore[arg-type]

    assert told() == known
    file.extend(hold("suppress", 2))
    assert told() == known, "another history"
    known[1] = msgspec.structs.replace(held, parameters=file.read().hash_of(2))
    file.extend(conf_min(0.7, 3))
    assert [m.version for m in told(is_wider=True)] == [1, 2, 3]
    good = file.path.read_bytes()
    for wrong in (b"{}\n", b"", b"no line"):
        file.path.write_bytes(wrong)
        assert told() == known
        with pytest.raises(ConfigError, match="strategies or instruments are other than they were"):
            told(is_wider=True)
    file.path.write_bytes(good)


def test_an_heir_is_told_what_was_promoted_as_it_runs(tmp_path: Path) -> None:
    file = ParameterFile(tmp_path / "governance" / "main.jsonl")
    account = SimpleNamespace(parameters=file)
    file.extend(staged("suppress", "paper", 1))
    file.extend(staged("release", "live", 2))
    known = file.read().mandates(runs=RAN)
    assert [m.value for m in known] == [1.0, 0.0]
    changed = Runs("live", {"s0": "h2"})
    told = _mandates(account, known, 5, changed, is_wider=True)  # type: ignore[arg-type]
    assert [m.value for m in told] == [1.0], "a promotion of what does not run lets nothing go"


def staged(action: Any, stage: Stage, n: int, of: str = "h1") -> Any:
    made_by = Entry(n, "a person", "a reason", f"{of}/bundle")
    return lambda p: p.held(Hold(action, "stage", "s0"), made_by, stage=stage)


def test_a_live_session_takes_a_promotion_to_live_of_what_it_runs(tmp_path: Path) -> None:
    """G6: neither a promotion to paper nor one of a changed strategy lets it trade again."""

    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(staged("suppress", "shadow", 1))
        async with rig.running() as live:
            live.obey(Governance(rig.parameters, RAN))
            await reconciled(rig)
            n = 0
            for made in (
                staged("release", "paper", 2),
                staged("release", "live", 3, of="h2"),
                hold("suppress", 4),
                hold("release", 5),
            ):
                last = rig.parameters.extend(made).changes[-1].number
                await rig.until(lambda last=last: live.status()["mandate"] == last)  # type: ignore[misc]
                await rig.settled()
                await rig.play(*(bar(n + i) for i in range(3)))
                n += 3
            assert not rig.records(Order)
            last = rig.parameters.extend(staged("release", "live", 6)).changes[-1].number
            await rig.until(lambda: live.status()["mandate"] == last)
            await rig.settled()
            await rig.play(*(bar(n + i) for i in range(3)))
            assert rig.records(Order)

    asyncio.run(work())
    state = replay(tmp_path / "journal", long_plan()).run.state
    assert not state.sleeves["suppressed"].any()


def test_what_was_not_proved_at_the_start_is_before_the_doubt_ends(tmp_path: Path) -> None:
    """I8: a file that could not be read at the start must not let in who was never promoted."""
    asked: list[str] = []
    lacking = ["strategy 's0' has not been promoted"]

    def prove(parameters: Parameters) -> None:
        asked.append(parameters.head)
        if lacking:
            raise ConfigError(lacking[0])

    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(conf_min(0.6))
        good = rig.parameters.path.read_bytes()
        rig.parameters.path.write_bytes(good + b"x\n")
        async with rig.running() as live:
            live.obey(Governance(rig.parameters, RAN, prove))
            await rig.until(lambda: is_closed(rig))
            assert not asked, "nothing can be proved by what cannot be read"
            rig.parameters.path.write_bytes(good)
            await rig.until(lambda: "has not been promoted" in live.status()["doubt"])
            ask(rig, "r1")
            await rig.until(lambda: bool(rig.control.refusal(request("r1"))))
            assert lacking[0] in rig.control.refusal(request("r1"))
            for n in range(3):
                await rig.play(bar(n))
            assert not rig.records(Order)
            lacking.clear()
            await rig.until(lambda: not live.status()["doubt"])
            ask(rig, "r2")
            await rig.until(lambda: not is_closed(rig))
            seen = len(asked)
            rig.parameters.extend(conf_min(0.7, 2))
            await rig.until(lambda: in_force(rig) == 0.7)
            assert len(asked) == seen, "what it was at its start does not change"

    asyncio.run(work())


def test_a_line_that_is_nested_deeply_closes_the_account_and_ends_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        rig = Rig(tmp_path, long_plan())
        rig.parameters.extend(conf_min(0.6))
        good = rig.parameters.path.read_bytes()
        async with rig.running() as live:
            await rig.until(lambda: in_force(rig) == 0.6)
            await reconciled(rig)
            rig.parameters.path.write_bytes(good + NESTED)
            await rig.until(lambda: is_closed(rig))
            assert "line 2: this is no version" in live.status()["doubt"]
            rig.parameters.path.write_bytes(good)
            await rig.until(lambda: not live.status()["doubt"])
            assert live.failure is None

    asyncio.run(work())


@pytest.mark.parametrize("wrong", [b"", b"no line", b"\0" * 100])
def test_a_file_that_has_lost_what_it_had_is_not_the_configuration(
    tmp_path: Path, wrong: bytes
) -> None:
    """I8: nothing to read is a doubt, and never the defaults."""
    file = ParameterFile(tmp_path / "a.jsonl")
    file.path.write_bytes(wrong)
    governance = Governance(file, RAN)
    assert governance.news(0, "", 0) == []
    assert "it has no whole line" in governance.doubt
    with pytest.raises(ConfigError, match="no whole line"):
        file.extend(conf_min(0.6))
    assert file.path.read_bytes() == wrong


def test_a_file_that_cannot_be_read_is_gone_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ParameterFile(tmp_path / "a.jsonl")
    file.path.write_bytes(b"{}\n")
    governance = Governance(file, RAN)
    reads = []
    read = ParameterFile.read

    def counted(one: ParameterFile) -> Parameters:
        reads.append(one)
        return read(one)

    monkeypatch.setattr(ParameterFile, "read", counted)
    for _ in range(3):
        assert governance.news(0, "", 0) == []
        assert "this is no version" in governance.doubt
    assert len(reads) == 1
    file.path.unlink()
    assert governance.news(0, "", 0) == []
    assert not governance.doubt
    monkeypatch.setattr("onefold.engine.parameters.FILE_MAX", 1)
    file.path.write_bytes(b"{}\n")
    governance.news(0, "", 0)
    assert "it has 3 bytes, which no history has" in governance.doubt


NESTED = b'{"version":2,"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"


def test_whatever_is_wrong_with_the_file_is_a_doubt(tmp_path: Path) -> None:
    file = ParameterFile(tmp_path / "a.jsonl")
    file.extend(conf_min(0.6))

    def prove(_: Parameters) -> None:
        raise KeyError("nobody has foreseen this")

    governance = Governance(file, RAN, prove)
    assert governance.news(0, "", 0) == []
    assert "a.jsonl: it cannot be read: KeyError" in governance.doubt


def test_a_version_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    file = ParameterFile(tmp_path / "a.jsonl")
    long = Entry(1, "a person", "x" * LINE_MAX)
    with pytest.raises(ConfigError, match="cannot change so much"):
        file.extend(lambda p: p.changed([(ABC, 0.6)], lambda _: 0.0, long))
    assert not file.path.exists()
