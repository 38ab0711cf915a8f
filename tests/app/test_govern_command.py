"""G1, G2: the governor through the real command, on journals of real sessions, with real git."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from onefold.app.accounts import Account
from onefold.app.governing import governed
from onefold.app.impact import _end_of
from onefold.app.main import run
from onefold.app.ruling import _history
from onefold.app.settings import accounts_of, load_settings
from onefold.app.wiring import Recipe
from onefold.domain.records import SessionStart
from onefold.governance.parameters import Parameters, read_parameters
from onefold.governance.versions import CONF_MIN, Entry, Hold, Key
from onefold.journal import Journal

STRATEGY = '''
from onefold.signals import FLAT, LONG, Strategy, choose, ta


class Coin(Strategy):
    """Buy at every fourth hour, leave two hours later; as sure as the minute of the moon."""

    kind = "coin"

    def extract_features(self):
        return {"rsi": ta.rsi(3)}

    def predict_signal(self, x):
        hour = (x.ts // 3_600_000_000_000) % 4
        return self.signal(choose((hour == 0, LONG), (hour == 2, FLAT)), confidence=0.85)
'''
START_DAYS = 30


def write(folder: Path, days: int, bps: float, **more: Any) -> None:
    one = {"seed": 5, "bars": 24 * days, "interval_s": 3600, "gap_rate": 0, "jump_rate": 0}
    raw = {
        "account": {"name": "main", "cash": 100_000},
        "instruments": {"AAA": {"kind": "crypto", "lot": 0.01, "commission_bps": bps}},
        "data": {"AAA": {"synthetic": {**one, "volatility": 0.2}}},
        "strategies": {
            "coin": {
                "file": "coin.py",
                "gates": {"conf_min": 0.6},
                "sizing": {"kind": "fraction", "fraction": 0.2},
            }
        },
        "governance": {"governor": {"days_min": 10, "trades_min": 20, "cool_down_days": 1}},
        **more,
    }
    (folder / "onefold.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose strategy loses by its costs, and has run in shadow for a month."""
    (tmp_path / "coin.py").write_text(STRATEGY)
    write(tmp_path, START_DAYS, bps=30.0)
    monkeypatch.chdir(tmp_path)
    assert run(["run", "--mode", "shadow", "--json"]) == 0
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def parameters(folder: Path) -> Parameters:
    return read_parameters((folder / "governance/main.jsonl").read_bytes(), "")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607 - whichever git there is
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_loop_of_seeing_applying_and_rolling_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, seen = command(capsys, "govern", "--dry-run")
    assert code == 0
    [proposal] = seen["proposals"]
    assert (proposal["before"], proposal["value"]) == (0.6, 0.65)
    assert not (folder / "governance").exists()
    _, done = command(capsys, "govern", "--apply")
    [version] = done["versions"]
    [change] = version["changes"]
    assert (version["by"], change["value"], change["cause"]) == (
        "governor",
        0.65,
        proposal["cause"],
    )
    # Before the session has taken it, nothing new can be known.
    _, again = command(capsys, "govern", "--apply")
    assert again["versions"] == []
    assert "has not reached the journal yet" in again["left"][0]["reason"]
    write(folder, START_DAYS + 1, bps=30.0)
    command(capsys, "run", "--mode", "shadow")
    _, again = command(capsys, "govern", "--apply")
    assert again["proposals"] == [], "one day is no new evidence"
    write(folder, 2 * START_DAYS, bps=30.0)
    command(capsys, "run", "--mode", "shadow")
    _, next_ = command(capsys, "govern", "--apply")
    assert [p["value"] for p in next_["proposals"]] == [0.7]
    code, _ = command(capsys, "parameters", "rollback", "0", "--reason", "a look by a person")
    assert code == 0
    assert set(parameters(folder).values.values()) == {0.6}
    [journal] = (folder / "journal/main").glob("shadow-*")
    assert command(capsys, "replay", str(journal))[1]["mismatches"] == 0


def test_the_table_tells_what_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["govern"]) == 0
    shown = capsys.readouterr()
    assert "0.6 -> 0.65" in shown.out
    assert "--apply does it" in shown.err
    assert run(["govern", "--dry-run", "--apply"]) == 2


def test_a_commit_holds_the_parameter_file_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
    assert run(["govern", "--commit"]) == 2
    assert "not a git repository" in capsys.readouterr().err
    assert not (folder / "governance").exists()
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "a")
    git(folder, "config", "user.email", "a@b")
    (folder / "other.txt").write_text("not ours")
    git(folder, "add", "other.txt")
    code, done = command(capsys, "govern", "--commit")
    assert code == 0
    assert done["commit"] == git(folder, "rev-parse", "HEAD")
    assert git(folder, "show", "--name-only", "--format=%s").splitlines() == [
        "Govern main: version 1",
        "",
        "governance/main.jsonl",
    ]
    assert "other.txt" in git(folder, "status", "--short"), "what was staged stays so"


def test_lowering_on_a_live_account_waits_for_a_person(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onefold.app import ruling
    from onefold.governance.governor import Proposal, Ruling

    seen: dict[str, bool] = {}

    def excellent(sleeves: Any, _rules: Any, *, now_ts: int, is_live: bool) -> Ruling:
        seen["is_live"] = is_live
        return Ruling([Proposal("coin", "AAA", 0.6, 0.58, "excellent", is_live)], [])

    monkeypatch.setattr(ruling, "govern", excellent)
    venue = {"ccxt": {"exchange": "kraken", "api_key": "k", "api_secret": "s"}}
    live = {"main": {"approved": "me", "venue": venue}}
    write(folder, START_DAYS, bps=30.0, accounts=live)
    _, done = command(capsys, "govern", "--apply")
    assert seen["is_live"]
    [version] = done["versions"]
    assert version["status"] == "proposed"
    assert "waits for approval" in done["became"]["1"]
    assert parameters(folder).values == {}
    code, _ = command(capsys, "parameters", "approve", "1", "--reason", "looked at it")
    assert code == 0
    assert set(parameters(folder).values.values()) == {0.58}


def test_before_a_change_is_what_the_live_session_runs_under(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """G2: to edit the file first must not make a loosening look like none."""
    venue = {"ccxt": {"exchange": "kraken", "api_key": "k", "api_secret": "s"}}
    live = {"main": {"approved": "me", "venue": venue}}
    write(folder, START_DAYS, bps=30.0, accounts=live)
    recipe = governed_account(folder).recipe({"AAA": 3_600_000_000_000})
    begin(folder / "journal/main" / f"live-{recipe.hash}", recipe)
    text = (folder / "onefold.yaml").read_text()
    (folder / "onefold.yaml").write_text(text.replace("conf_min: 0.6", "conf_min: 0.5"))
    _, made = command(capsys, "parameters", "set", "conf_min", "0.55", "--reason", "x")
    assert made["status"] == "proposed"
    assert made["changes"][0]["before"] == 0.6
    _, made = command(capsys, "parameters", "set", "conf_min", "0.65", "--reason", "x")
    assert made.get("status", "applied") == "applied", "less may be traded"
    _, made = command(capsys, "parameters", "rollback", "0", "--reason", "x")
    assert (made["status"], made["changes"][0]["value"]) == ("proposed", 0.6)


def governed_account(folder: Path) -> Account:
    loaded = load_settings(folder / "onefold.yaml")
    return Account(loaded, "main", accounts_of(loaded.settings)["main"], "paper")


def begin(path: Path, recipe: Recipe) -> None:
    """Write the beginning of a live journal."""
    start = SessionStart(1, "live", "1", "1", recipe.hash, recipe.as_recorded(), data_mode="live")
    with Journal.open(path, today=lambda: dt.date(2026, 11, 1)) as journal:
        journal.append(start)
        journal.commit()


def test_a_demoted_strategy_is_judged_anew_when_it_was_promoted_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """G6: what was lost before the last promotion has had its consequence."""
    strict = {"transitions": {"drawdown_max": 0.01, "days_min": 5}}

    def judged(days: int) -> dict[str, str]:
        write(folder, days, bps=30.0, governance=strict)
        assert command(capsys, "run", "--mode", "paper")[0] == 0
        demoted: dict[str, str] = command(capsys, "govern", "--dry-run")[1]["demoted"]
        return demoted

    staged(folder, "release")
    assert judged(1) == {}
    assert "its P&L has fallen" in judged(START_DAYS)["coin"]
    staged(folder, "release")
    assert "its P&L has fallen" in command(capsys, "govern")[1]["demoted"]["coin"], (
        "the session does not know of it yet"
    )
    assert judged(START_DAYS + 1) == {}
    assert "its P&L has fallen" in judged(2 * START_DAYS)["coin"]


def staged(folder: Path, action: Any) -> None:
    """Promote the strategy by hand to paper."""
    hold = Hold(action, "stage", "coin")
    made_by = Entry(time.time_ns(), "me", "x")
    governed(folder / "onefold.yaml", "").extend(lambda p: p.held(hold, made_by, stage="paper"))


def test_what_a_person_proposed_is_theirs_whoever_approves() -> None:
    """G2: it resets the governor's memory, as what they set at once does."""
    key = Key(CONF_MIN, "coin", "AAA")
    chain = Parameters()

    def told(by: str, value: float, **more: Any) -> Parameters:
        made_by = Entry(len(chain.versions) + 1, by, "x")
        return chain.extended(chain.changed([(key, value)], lambda _: 0.6, made_by, **more))

    def approved(by: str) -> Parameters:
        number = chain.waiting[-1].version
        return chain.extended(chain.approved(number, Entry(len(chain.versions) + 1, by, "x")))

    at_once = dict.fromkeys(range(1, 9), 5)  # an heir knows all of them at one time
    chain = told("governor", 0.65)
    chain = told("governor", 0.6, proposed=True)
    chain = approved("me")
    assert _history(chain, key, at_once) == ([(5, 0.6, 0.65), (5, 0.65, 0.6)], 0)
    chain = told("me", 0.55, proposed=True)
    chain = approved("another")
    chain = told("governor", 0.6)
    history, reset = _history(chain, key, at_once)
    assert [value for _, _, value in history] == [0.65, 0.6, 0.55, 0.6]
    assert reset == 3


def test_a_suppression_ends_when_its_own_scope_is_let_go() -> None:
    """G5: to let go what lies over it leaves it in force, and so does what lies in it."""
    chain = Parameters()
    for n, hold in enumerate(
        (
            Hold("suppress", "review", "coin", "AAA"),
            Hold("suppress", "review", "coin"),
            Hold("release", "review", "coin"),
            Hold("suppress", "review", "coin", "AAA"),
            Hold("release", "review", "coin", "AAA"),
        ),
        1,
    ):
        chain = chain.extended(chain.held(hold, Entry(n, "me", "x")))
    told = {c.number: 10 * v.version for v in chain.applied for c in v.changes}
    ends = [_end_of(v, told, chain) for v in chain.applied if v.hold.action == "suppress"]  # type: ignore[union-attr]
    assert ends == [40, 30, 50]
    del told[chain.versions[-1].changes[0].number]
    assert _end_of(chain.versions[3], told, chain) is None, "the journal does not know of it"


def test_reviews_that_have_run_out_are_let_go(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onefold.app import ruling

    command(
        capsys, "review", "suppress", "--strategy", "coin", "--reason", "odd", "--until",
        "2099-01-01",
    )  # fmt: skip
    write(folder, START_DAYS + 1, bps=30.0)
    command(capsys, "run", "--mode", "shadow")
    assert command(capsys, "govern")[1]["expired"] == []
    later = ruling.time.time_ns() + 80 * 365 * 86_400_000_000_000
    monkeypatch.setattr(ruling.time, "time_ns", lambda: later)
    _, done = command(capsys, "govern", "--apply")
    assert [h["strategy"] for h in done["expired"]] == ["coin"]
    assert parameters(folder).holds == ()
