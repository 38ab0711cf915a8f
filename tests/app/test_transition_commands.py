"""G3, G6, G7: reports, transitions and their evidence by the real commands, on real journals."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from onefold.app.accounts import Account, check_promoted, prove_promoted, runs_of
from onefold.app.bundles import BundleStore, read_bundle
from onefold.app.governing import governed, taken
from onefold.app.live import succeeded
from onefold.app.main import run
from onefold.app.settings import accounts_of, load_settings
from onefold.app.sources import Source
from onefold.app.wiring import Recipe
from onefold.domain.errors import ConfigError
from onefold.domain.records import SessionStart
from onefold.domain.rules import Limits
from onefold.engine.instance import Instance
from onefold.engine.succession import begun, mandates_in
from onefold.governance.parameters import Parameters, read_parameters
from onefold.governance.versions import Entry, Hold, Runs
from onefold.journal import Journal

HOUR_S, DAYS = 3600, 25
CONFIG: dict[str, Any] = {
    "account": {"name": "main", "cash": 100_000},
    "instruments": {"AAA": {"kind": "crypto", "lot": 0.01}},
    "data": {
        "AAA": {
            "synthetic": {
                "seed": 3, "bars": 24 * DAYS, "interval_s": HOUR_S, "gap_rate": 0, "volatility": 0.5
            }
        }
    },
    "strategies": {
        "trend": {
            "kind": "crossover",
            "params": {"fast": 2, "slow": 5},
            "sizing": {"kind": "fraction", "fraction": 0.2},
        },
        "dips": {"kind": "ibs_a", "sizing": {"kind": "fraction", "fraction": 0.1}},
    },
}  # fmt: skip


def write(folder: Path, **more: Any) -> None:
    (folder / "onefold.yaml").write_text(yaml.safe_dump({**CONFIG, **more}, sort_keys=False))


@pytest.fixture(scope="module")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a shadow journal of 25 days."""
    folder = tmp_path_factory.mktemp("shadow")
    write(folder)
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    assert run(["run", "--mode", "shadow", "--json"]) == 0
    patch.undo()
    return folder


@pytest.fixture
def folder(shadow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(shadow, tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    return tmp_path / "a"


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(list(arguments)) == 2
    return capsys.readouterr().err


def easy(folder: Path, **more: Any) -> None:
    """Ask for so little that anything passes."""
    write(
        folder,
        governance={"transitions": {"alpha": 0.5, "trades_min": 10, "drawdown_max": 1}},
        **more,
    )


def test_a_check_says_what_is_missing_and_ends_with_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = command(capsys, "check-transition", "paper")
    assert code == 1
    assert [one["evidence"]["strategy"] for one in found] == ["trend", "dips"]
    for one in found:
        criteria = {c["name"]: c["passes"] for c in one["criteria"]}
        assert criteria["replay mismatches"]
        assert criteria["days"]
        assert not criteria["p-value of no skill"]
        assert len(one["evidence"]["daily"]) in (DAYS, DAYS + 1)
    capsys.readouterr()
    assert run(["check-transition", "paper", "--strategy", "dips"]) == 1
    shown = capsys.readouterr().out
    assert "dips may not go on to paper" in shown
    assert "look 2" in shown, "looking again makes it stricter"
    assert command(capsys, "evidence", "list")[1][0]["passes"] is False


def test_the_daily_profits_of_the_strategies_are_the_accounts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = command(capsys, "check-transition", "paper")
    total = sum(sum(one["evidence"]["daily"]) for one in found)
    _, week = command(capsys, "readiness", "weekly")
    assert total == pytest.approx(week["equity"] - 100_000, abs=1e-6)


def test_a_bundle_proves_itself_and_its_journal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(capsys, "check-transition", "paper", "--strategy", "trend")
    path = next((folder / "governance/evidence/main").glob("trend-paper-0001.json"))
    code, facts = command(capsys, "evidence", "verify", str(path))
    assert code == 0
    assert facts["signature"] == "right"
    assert "with the hash of the bundle" in facts["journal"]
    whole = path.read_text()
    for old, new in (('"trades": ', '"trades": 9'), ('"passes": false', '"passes": true')):
        path.write_text(whole.replace(old, new, 1))
        assert "signature is wrong" in refused(capsys, "evidence", "verify", str(path))
    path.write_text("{}")
    assert "is no bundle" in refused(capsys, "evidence", "verify", str(path))
    path.write_text(whole)
    [journal] = (folder / "journal/main").glob("shadow-*")
    segment = next(journal.glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"close":1', b'"close":2', 1))
    assert run(["evidence", "verify", str(path)]) == 6
    public = folder / "governance/evidence/main/evidence.pub"
    public.write_text("00" * 32)
    assert "another key" in refused(capsys, "evidence", "verify", str(path))


def test_only_what_passes_is_promoted_and_only_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("check-transition", "paper", "--strategy", "trend", "--promote")
    assert "give a --reason" in refused(capsys, *asked)
    assert command(capsys, *asked, "--reason", "x")[0] == 1
    chain = read_parameters((folder / "governance/main.jsonl").read_bytes(), "")
    assert chain.mandates() == [], "it did not pass, and was looked at"
    assert chain.looks("trend", "paper") == 1
    changed = {**CONFIG["strategies"], "trend": {"kind": "crossover", "params": {"fast": 3}}}
    write(folder, strategies=changed)
    assert "evidence is of another strategy" in refused(capsys, "check-transition", "paper")
    write(folder)
    assert "has no paper journal" in refused(capsys, "check-transition", "live")
    assert "did you mean 'paper'" in refused(capsys, "check-transition", "papre")
    assert "say where to" in refused(capsys, "check-transition")


def test_a_promotion_rests_on_its_bundle_and_a_demotion_holds_back(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    easy(folder)
    monkeypatch.setattr("onefold.governance.transitions.p_value", lambda _: 0.001)
    code, [found] = command(
        capsys, "check-transition", "paper", "--strategy", "trend", "--promote", "--reason", "good"
    )
    assert code == 0
    _, listed = command(capsys, "parameters", "list")
    look, version = listed["versions"]
    assert look["look"] == {"strategy": "trend", "stage": "paper", "number": 1}
    assert look["evidence"] == found["hash"]
    assert version["stage"] == "paper"
    assert [(c["mandate"], c["value"]) for c in version["changes"]] == [("suppress", 0.0)]
    assert version["evidence"] == f"{found['inputs']['strategy_hash']}/{found['hash']}"
    _, taken = command(capsys, "demote", "trend", "shadow", "--reason", "it lost")
    assert [(c["mandate"], c["value"]) for c in taken["changes"]] == [("suppress", 1.0)]
    assert "cannot be taken back" in refused(capsys, "demote", "trend", "live", "--reason", "x")
    _, [again] = command(
        capsys, "check-transition", "paper", "--strategy", "trend", "--promote", "--reason", "good"
    )
    assert again["evidence"]["looks"] == 1
    _, listed = command(capsys, "parameters", "list")
    assert listed["values"] == {"suppress trend": 0.0}


def test_live_needs_promoted_strategies_where_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live = {
        "main": {
            "needs_evidence": True,
            "approved": "me",
            "strategies": ["trend"],
            "venue": {"ccxt": {"exchange": "kraken", "api_key": "k", "api_secret": "s"}},
        }
    }
    began = dt.datetime.now(dt.UTC) - dt.timedelta(DAYS + 1)
    bars = {**CONFIG["data"]["AAA"]["synthetic"], "start": began.strftime("%Y-%m-%dT00:00:00Z")}
    easy(tmp_path, accounts=live, data={"AAA": {"synthetic": bars}})
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(tmp_path / "onefold.yaml")
    account = Account(loaded, "main", accounts_of(loaded.settings)["main"], "live")
    recipe = account.recipe({"AAA": HOUR_S * 1_000_000_000})
    with pytest.raises(ConfigError, match="'trend' has not been promoted to live"):
        check_promoted(account, recipe)
    # Bars that are said to have come in time, and luck that does not decide this test.
    monkeypatch.setattr(Source, "data_mode", property(lambda _: "live"))
    monkeypatch.setattr("onefold.governance.transitions.p_value", lambda _: 0.001)
    for mode, stage in (("shadow", "paper"), ("paper", "live")):
        command(capsys, "run", "--mode", mode)
        code, _ = command(capsys, "check-transition", stage, "--promote", "--reason", "good")
        assert code == 0
        if stage == "paper":
            with pytest.raises(ConfigError, match="'trend' has not been promoted to live"):
                check_promoted(account, recipe)
    check_promoted(account, recipe)
    bundle_proves_nothing_else(account, recipe.strategy_hash("trend"))
    command(capsys, "check-transition", "paper", "--promote", "--reason", "a look at paper")
    check_promoted(account, recipe)  # it is in live all the same
    limits_may_be_stricter_only(account, recipe)
    other = recipe.settings.strategies["trend"].model_copy(update={"params": {"fast": 3}})
    settings = recipe.settings.model_copy(update={"strategies": {"trend": other}})
    with pytest.raises(ConfigError, match="has changed since it was promoted"):
        check_promoted(account, recipe._replace(settings=settings))
    [bundle] = (tmp_path / "governance/evidence/main").glob("trend-live-*.json")
    kept = bundle.read_bytes()
    bundle.unlink()
    with pytest.raises(ConfigError, match="which is not in"):
        check_promoted(account, recipe)
    bundle.write_bytes(kept.replace(b'"trades": ', b'"trades": 9'))
    with pytest.raises(ConfigError, match=r"which is not in|signature is wrong"):
        check_promoted(account, recipe)
    command(capsys, "demote", "trend", "paper", "--reason", "it lost")
    check_promoted(account, recipe._replace(settings=settings))  # it may leave what it holds
    code, [found] = command(capsys, "check-transition", "live", "--promote", "--reason", "good")
    assert code == 1, "what it was taken back with does not bring it back"
    assert found["evidence"]["daily"] == []
    file = tmp_path / "governance/main.jsonl"
    whole = file.read_bytes()
    file.write_bytes(b"{}\n" + whole)
    # The session begins in doubt, and enters nothing before what is read then proves it.
    check_promoted(account, recipe)
    file.write_bytes(whole)
    nobody = Runs("live", {**runs_of(recipe, "live").strategies, "dips": "never promoted"})
    with pytest.raises(ConfigError, match="'dips' has not been promoted to live"):
        prove_promoted(account, nobody, account.parameters.read())


def limits_may_be_stricter_only(account: Account, recipe: Recipe) -> None:
    """G6: what was judged under limits is not promoted without them."""
    as_it_was = account.settings
    account.settings = as_it_was.model_copy(update={"limits": Limits(gross_exposure=1)})
    check_promoted(account, recipe)
    account.settings = as_it_was.model_copy(update={"limits": Limits(session_hours=True)})
    with pytest.raises(ConfigError, match="limits: session_hours would let more be traded"):
        check_promoted(account, recipe)
    account.settings = as_it_was


def bundle_proves_nothing_else(account: Account, hash_: str) -> None:
    """G6: that evidence is signed does not make it evidence of something else."""
    store = BundleStore(account.loaded, account.name)
    live, paper = (store.folder / f"trend-{stage}-0001.json" for stage in ("live", "paper"))
    evidence = read_bundle(live).hash
    (store.folder / "trend-live-0002.json").write_text("{")  # half-written: it hides no other
    (store.folder / "trend-live-0003-old.json").write_text("{}")
    store.proven(evidence, "trend", hash_)
    for name in ("trend-live-0002.json", "trend-live-0003-old.json"):
        (store.folder / name).unlink()
    for stage, strategy, of in (
        ("live", "trend", "another"),
        ("live", "dips", hash_),
        ("paper", "trend", hash_),
    ):
        source = live if stage == "live" else paper
        copy = store.folder / f"{strategy}-live-0009.json"
        copy.write_bytes(source.read_bytes())
        with pytest.raises(ConfigError, match="it does not let"):
            store.proven(read_bundle(source).hash, strategy, of)
        copy.unlink()
    shutil.copytree(store.folder, store.folder.with_name("other"))
    with pytest.raises(ConfigError, match="it does not let"):
        BundleStore(account.loaded, "other").proven(evidence, "trend", hash_)
    # Whoever exchanges the public key together with the bundles does not have the private one.
    forger = BundleStore(account.loaded, "elsewhere")
    forger.keep(read_bundle(live))
    known = (store.folder / "evidence.pub").read_text()
    (store.folder / "evidence.pub").write_text((forger.folder / "evidence.pub").read_text())
    kept = live.read_bytes()
    live.write_bytes((forger.folder / live.name).read_bytes())
    with pytest.raises(ConfigError, match="is of another key than"):
        store.proven(read_bundle(live).hash, "trend", hash_)
    live.write_bytes(kept)
    (store.folder / "evidence.pub").write_text(known)


def test_recorded_bars_do_not_go_on_with_a_journal_of_live_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G6: a backtest behind a real start is no evidence for live, whatever it earns."""
    easy(tmp_path)
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(tmp_path / "onefold.yaml")
    account = Account(loaded, "main", accounts_of(loaded.settings)["main"], "paper")
    recipe = account.recipe({"AAA": HOUR_S * 1_000_000_000})
    plan = recipe.plan()
    plain, _ = succeeded(account, recipe, plan, "live")
    assert succeeded(account, recipe, plan, "recorded") == (plain, None), "the first has it"
    start = SessionStart(1, "paper", "1", "1", recipe.hash, recipe.as_recorded(), data_mode="live")
    with Journal.open(plain, today=lambda: dt.date(2026, 11, 1)) as journal:
        journal.append(start)
        journal.commit()
    kept = {path.name: path.read_bytes() for path in plain.glob("*.jsonl")}
    for _ in range(2):  # the second goes on with that of the first
        assert command(capsys, "run", "--mode", "paper")[0] == 0
    found = {path.name: begun(path) for path in (tmp_path / "journal/main").glob("paper-*")}
    assert {name: one and one.start.data_mode for name, one in found.items()} == {
        plain.name: "live",
        f"{plain.name}-recorded": "recorded",
    }
    assert {path.name: path.read_bytes() for path in plain.glob("*.jsonl")} == kept
    assert succeeded(account, recipe, plan, "live") == (plain, None)
    code, checked = command(capsys, "check-transition", "live", "--strategy", "trend")
    assert code == 1
    assert "live bars" in {c["name"] for c in checked[0]["criteria"] if not c["passes"]}


def test_journals_of_recorded_bars_are_gone_on_with_where_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [plain] = (folder / "journal/main").glob("shadow-*")
    assert command(capsys, "run", "--mode", "shadow")[0] == 0
    assert list((folder / "journal/main").glob("shadow-*")) == [plain]
    loaded = load_settings(folder / "onefold.yaml")
    account = Account(loaded, "main", accounts_of(loaded.settings)["main"], "shadow")
    recipe = account.recipe({"AAA": HOUR_S * 1_000_000_000})
    path, _ = succeeded(account, recipe, recipe.plan(), "live")
    assert path == plain.with_name(f"{plain.name}-live")


def test_a_promotion_says_what_a_session_that_runs_makes_of_it(folder: Path) -> None:
    """A session that goes on with what it ran must not be taken for one that trades again."""
    (folder / "journal/main").mkdir(exist_ok=True)
    beat = {"pid": os.getpid(), "mode": "live", "strategies": {"trend": "h1"}, "mandate": 9}
    (folder / "journal/main/heartbeat.json").write_text(json.dumps(beat))
    one = governed(folder / "onefold.yaml", "")
    for stage, of, said in (
        ("paper", "h1", "the session is live and goes on as before: it takes no promotion to"),
        ("live", "h2", "another trend and goes on as before: a restart is needed"),
        ("live", "h1", "the session has taken it"),
    ):
        made_by = Entry(1, "me", "good", f"{of}/bundle")
        hold = Hold("release", "stage", "trend")
        with Instance(folder / "journal/main", "main"):  # as a session that runs has it
            assert said in taken(one, Parameters().held(hold, made_by, stage=stage))


def test_evidence_of_another_kind_or_account_does_not_count(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    easy(folder)
    [journal] = (folder / "journal/main").glob("shadow-*")
    code, [found] = command(
        capsys, "check-transition", "live", "--strategy", "trend", "--journal", str(journal)
    )
    failed = {c["name"] for c in found["criteria"] if not c["passes"]}
    assert code == 1
    assert {"right mode", "live bars", "age"} <= failed
    write(folder, accounts={"main": {}, "other": {"shadow": True}})
    said = refused(
        capsys, "check-transition", "paper", "--account", "other", "--journal", str(journal)
    )
    assert "is of account 'main', not of 'other'" in said
    assert run(["check-transition", "paper", "--account", "other", "--from", "main"]) == 1
    command(capsys, "parameters", "set", "conf_min", "0.8", "--account", "main", "--reason", "x")
    said = refused(capsys, "check-transition", "paper", "--account", "other", "--from", "main")
    assert "counts only under the same" in said
    command(capsys, "parameters", "rollback", "0", "--account", "main", "--reason", "x")
    only = {"main": {"strategies": ["dips"]}, "other": {"shadow": True}}
    write(folder, accounts=only)
    said = refused(
        capsys, "check-transition", "paper", "--account", "other", "--from", "main",
        "--strategy", "trend",
    )  # fmt: skip
    assert "account 'main' has no strategy 'trend'" in said


def test_evidence_counts_only_under_the_parameters_that_are_in_force(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """G6: what was gained under a strict threshold says nothing of a loose one."""
    asked = ("check-transition", "paper", "--strategy", "trend")
    _, [whole] = command(capsys, *asked)
    raised = ("parameters", "set", "conf_min", "--strategy", "trend", "--reason", "x")
    command(capsys, *raised, "0.8")
    said = refused(capsys, *asked)
    assert "conf_min trend/AAA has been changed" in said
    assert "onefold run --mode shadow under it first" in said
    more = {**CONFIG["data"]["AAA"]["synthetic"], "bars": 24 * (DAYS + 5)}
    write(folder, data={"AAA": {"synthetic": more}})
    command(capsys, "run", "--mode", "shadow")
    _, [raised_] = command(capsys, *asked)
    assert len(raised_["evidence"]["daily"]) == len(whole["evidence"]["daily"]) + 5
    assert command(capsys, *raised, "0.4")[0] == 0
    more["bars"] = 24 * (DAYS + 12)
    write(folder, data={"AAA": {"synthetic": more}})
    command(capsys, "run", "--mode", "shadow")
    _, [loosened] = command(capsys, *asked)
    [journal] = (folder / "journal/main").glob("shadow-*")
    ts = max(m.ts for m in mandates_in(journal).values())
    days = [day["day"] for day in loosened["evidence"]["days"]]
    assert days[0] == str(dt.datetime.fromtimestamp(ts / 1e9, dt.UTC).date() + dt.timedelta(1))
    assert 5 <= len(loosened["evidence"]["daily"]) <= 8
    assert loosened["evidence"]["since"] == days[0]
    capsys.readouterr()
    assert run(list(asked)) == 1
    assert f"it counts from {days[0]} on" in capsys.readouterr().out
    assert loosened["evidence"]["equity"] != 100_000
    assert loosened["evidence"]["trades"] < raised_["evidence"]["trades"]
    strict = {**CONFIG["account"], "limits": {"gross_exposure": 0.5}}
    write(folder, data={"AAA": {"synthetic": more}}, account=strict)
    assert command(capsys, *asked)[0] == 1, "less may be traded: that counts"
    write(folder, data={"AAA": {"synthetic": more}}, account={**strict, "cash": 1_000_000})
    assert "began with 100,000.00 in cash" in refused(capsys, *asked)
    write(folder, data={"AAA": {"synthetic": more}})
    _, [dips] = command(capsys, "check-transition", "paper", "--strategy", "dips")
    assert len(dips["evidence"]["daily"]) > 30, "another strategy's threshold is not its own"
    (folder / "governance/main.jsonl").unlink()
    assert "was written under other parameters" in refused(capsys, *asked)


def test_looks_are_counted_by_the_last_and_nothing_is_replaced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        command(capsys, "check-transition", "paper", "--strategy", "trend")
    bundles = folder / "governance/evidence/main"
    (bundles / "trend-paper-0002.json").write_text("{")
    code, listed = command(capsys, "evidence", "list")
    assert (code, len(listed)) == (0, 2), "one that cannot be read hides no other"
    (bundles / "trend-paper-0001.json").unlink()
    (bundles / "trend-paper-0001-old.json").write_text("{}")
    before = (bundles / "trend-paper-0003.json").read_bytes()
    _, [found] = command(capsys, "check-transition", "paper", "--strategy", "trend")
    assert found["evidence"]["looks"] == 3
    assert found["bundle"].endswith("trend-paper-0004.json")
    assert (bundles / "trend-paper-0003.json").read_bytes() == before
    shutil.rmtree(bundles)
    _, [found] = command(capsys, "check-transition", "paper", "--strategy", "trend")
    assert found["evidence"]["looks"] == 4, "a deleted file makes no check easier"
    assert run(["parameters", "list"]) == 0
    assert "look 5 at trend for paper" in capsys.readouterr().out


def test_reports_tell_the_day_and_the_week(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, day = command(capsys, "readiness", "daily", "--day", "2024-01-10")
    assert code == 0
    assert (day["first"], day["last"]) == ("2024-01-10", "2024-01-10")
    assert day["totals"]["bars"] == 24
    assert day["is_stable"]
    assert day["drift"] is None
    _, week = command(capsys, "readiness", "weekly")
    assert len(week["days"]) == 7
    assert {s["strategy"] for s in week["strategies"]} == {"trend", "dips"}
    assert all(Path(file).exists() for file in week["files"])
    capsys.readouterr()
    assert run(["readiness", "weekly"]) == 0
    shown = capsys.readouterr().out
    assert "Stable: **yes**" in shown
    assert "mismatches 0" in shown
    assert "is no day" in refused(capsys, "readiness", "daily", "--day", "today")
    assert "the journal goes from" in refused(capsys, "readiness", "daily", "--day", "2020-01-01")


def test_the_impact_of_a_suppression_is_what_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = {**CONFIG["data"]["AAA"]["synthetic"], "bars": 24 * 8}
    write(tmp_path, data={"AAA": {"synthetic": stopped}})
    assert "has no journal" in refused(capsys, "review", "impact")
    command(capsys, "run", "--mode", "shadow")
    assert command(capsys, "review", "impact")[1] == []
    command(capsys, "review", "suppress", "--strategy", "dips", "--reason", "odd")
    write(tmp_path, data={"AAA": {"synthetic": {**stopped, "bars": 24 * 20}}})
    command(capsys, "run", "--mode", "shadow")
    _, [found] = command(capsys, "review", "impact")
    assert found["end_ts"] is None
    assert found["value"]["alone"]["episodes"] > 0
    assert found["start_ts"] > 1_704_067_200_000_000_000 + 7 * 86_400_000_000_000
    assert run(["review", "impact"]) == 0
    assert "dips" in capsys.readouterr().out
