"""O4, D9, M6: metrics of real sessions, in a form that Prometheus takes, and alerts that fire."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.paper_session import PaperSession
from app.world import write_config
from onefold.app import checking
from onefold.app.settings import load_settings
from onefold.domain.records import Bar, Command, Decision, Fill, Order, Quarantined, Signal
from onefold.journal import Journal
from onefold.ops.failures import FailureTracker
from onefold.ops.health import CHECKS, Projected
from onefold.ops.metrics import Telemetry
from ops.made import beat

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
Samples = dict[str, dict[tuple[str, ...], float]]


def promtool(*arguments: str, given: bytes = b"", folder: Path = ROOT) -> None:
    """Run promtool, and fail with what it says."""
    try:
        done = subprocess.run(
            ["/usr/bin/promtool", *arguments], input=given, cwd=folder, capture_output=True,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no promtool: install the package prometheus")
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def samples(exposition: bytes) -> Samples:
    """Return all samples by name and by the values of their labels, in the order of their names."""
    found: Samples = {}
    for family in text_string_to_metric_families(exposition.decode()):
        for one in family.samples:
            labels = tuple(value for _, value in sorted(one.labels.items()))
            found.setdefault(one.name, {})[labels] = one.value
    return found


def telemetry_in(folder: Path) -> Telemetry:
    return checking.telemetry_of(load_settings(folder / "onefold.yaml"))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperSession]:
    one = PaperSession(tmp_path_factory.mktemp("session"))
    one.start()
    yield one
    one.close()


# -- a session that runs --------------------------------------------------------------------------


def test_counters_agree_with_what_the_journal_has_gained(session: PaperSession) -> None:
    telemetry = telemetry_in(session.folder)
    telemetry.exposition()
    session.bars_pass(40)
    session.signal(15)
    found = samples(telemetry.exposition())
    records = session.records()
    bars = [n for n, one in enumerate(records) if isinstance(one, Bar)]
    gained = int(found["onefold_bars_total"]["paper", "BTCUSD"])
    assert gained >= 40
    new = records[bars[-gained] :]
    orders = sum(isinstance(one, Order) for one in new)
    fills = Counter(one.strategy for one in new if isinstance(one, Fill))
    signals = Counter(one.strategy for one in new if isinstance(one, Signal))
    decisions = Counter(
        (one.blocked[0] if one.blocked else "passed", one.strategy)
        for one in new
        if isinstance(one, Decision)
    )
    assert found["onefold_orders_total"]["paper", "sent"] == orders
    counted = {s: n for (_, s), n in found["onefold_signals_total"].items()}
    assert counted == signals
    told = found.get("onefold_fills_total", {})
    # A fill may stand before the bar that begins the stretch, and belong to the bar after it.
    assert abs(sum(told.values()) - fills.total()) <= 1
    said = {(g, s): n for (_, g, s), n in found["onefold_decisions_total"].items()}
    assert said == decisions
    assert found["onefold_account_standing"]["paper", "stopped"] == 1
    assert found["onefold_account_standing"]["paper", "running"] == 0
    session.start()


def test_gauges_say_what_the_heartbeat_says(session: PaperSession) -> None:
    telemetry = telemetry_in(session.folder)
    os.kill(pid := session.beat()["pid"], 19)  # it stands still, so that both say the same
    try:
        said, found = session.beat(), samples(telemetry.exposition())
    finally:
        os.kill(pid, 18)
    assert found["onefold_equity"]["paper", "USD"] == said["equity"]
    assert found["onefold_pnl"]["paper", "USD"] == said["totals"]["pnl"]
    assert found["onefold_open_orders"]["paper",] == said["open_orders"]
    lots = said["positions"].get("BTCUSD", 0)
    assert found["onefold_position_lots"]["paper", "BTCUSD"] == lots
    assert found["onefold_inputs_total"]["paper",] == said["inputs"]
    assert found["onefold_strategies"]["paper", "running"] == 2
    assert found["onefold_account_mode"] == {("paper", "paper"): 1.0}
    assert found["onefold_health"].keys() == {(name,) for name in CHECKS}
    assert "onefold_feed_age_seconds" not in found, "the bars are of a recording"
    [build] = found["onefold_build_info"]
    assert checking.build() in build


def test_prometheus_takes_the_exposition_without_complaint(session: PaperSession) -> None:
    promtool("check", "metrics", given=telemetry_in(session.folder).exposition())


def families(exposition: bytes) -> set[str]:
    names = set()
    for line in exposition.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            names |= {name + end for end in ends}
    return names


def named(text: str) -> set[str]:
    """Return the metrics that an expression names."""
    return set(re.findall(r"\b(?:onefold|ml|market|validator|trading|process)_[a-z0-9_]+", text))


def test_every_metric_of_dashboard_and_alerts_is_exposed(session: PaperSession) -> None:
    exposed = families(telemetry_in(session.folder).exposition())
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = msgspec.json.decode((DEPLOY / "grafana/onefold.json").read_bytes())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 30
    for text in (*expressions, *queries):
        assert named(text) or text.startswith("up{"), text
        assert named(text) <= exposed, f"{text}: {named(text) - exposed} is not exposed"


def test_the_names_of_the_requirements_are_exposed(session: PaperSession) -> None:
    wanted = {
        "ml_model_load_success_total",
        "ml_model_load_failure_total",
        "ml_inference_total",
        "ml_inference_latency_seconds_bucket",
        "market_tick_enqueue_delay_seconds_bucket",
        "market_tick_emit_latency_seconds_bucket",
        "validator_warnings_total",
        "trading_dlq_messages_total",
        "trading_last_activity_timestamp_unix",
    }
    assert wanted <= families(telemetry_in(session.folder).exposition())


def test_every_family_is_documented(session: PaperSession) -> None:
    text = (ROOT / "docs/monitoring.md").read_text()
    for name in families(telemetry_in(session.folder).exposition()):
        plain = re.sub(r"_(bucket|sum|count)$", "", name)
        if not plain.startswith("process_"):
            assert f"`{plain}" in text, f"docs/monitoring.md does not tell of {plain}"


# -- what only some sessions have -----------------------------------------------------------------


def account(folder: Path, **said: Any) -> Path:
    """Make an account's folder with a heartbeat of a process that runs."""
    write_config(folder, "strategies: { trend: { kind: crossover } }\n")
    home = folder / "journal" / "paper"
    home.mkdir(parents=True, exist_ok=True)
    plain = {"account": "paper", "mode": "paper", "pid": os.getpid(), **said}
    (home / "heartbeat.json").write_bytes(msgspec.json.encode(beat(**plain)))
    return home


def test_latencies_become_cumulative_histograms(tmp_path: Path) -> None:
    bounds = [0.001, 0.01, 0.1]
    one = {"bounds": bounds, "counts": [5, 3, 2, 1], "sum": 0.75}
    latency = dict.fromkeys(
        ("tick_to_order_seconds", "tick_enqueue_delay_seconds", "inference_seconds"), one
    )
    broken = {"bounds": bounds, "counts": [1, 2], "sum": 1.0}
    account(tmp_path, latency={**latency, "emit_latency_seconds": broken})
    exposition = telemetry_in(tmp_path).exposition()
    found = samples(exposition)
    for name in ("onefold_tick_to_order_seconds", "market_tick_enqueue_delay_seconds"):
        buckets = found[f"{name}_bucket"]
        by_bound = {bound: count for (_, bound), count in buckets.items()}
        assert by_bound == {"0.001": 5, "0.01": 8, "0.1": 10, "+Inf": 11}
        assert found[f"{name}_count"] == {("paper",): 11}
        assert found[f"{name}_sum"] == {("paper",): 0.75}
    assert found["ml_inference_latency_seconds_count"] == {("paper", "all"): 11}
    assert "market_tick_emit_latency_seconds_count" not in found, "what is no histogram is left out"
    promtool("check", "metrics", given=exposition)


def test_models_are_counted_by_what_came_of_them(tmp_path: Path) -> None:
    models = {"m@1": {"scores": 90, "late": 7, "failed": 3}}
    home = account(tmp_path, models=models, disabled={"trend": "no model"})
    telemetry = telemetry_in(tmp_path)
    found = samples(telemetry.exposition())
    assert found["ml_inference_total"] == {
        ("paper", "m@1", "scores"): 90,
        ("paper", "m@1", "late"): 7,
        ("paper", "m@1", "failed"): 3,
    }
    assert found["ml_model_load_failure_total"] == {("trend",): 1}
    assert found["ml_model_load_success_total"] == {("trend",): 0}
    assert samples(telemetry.exposition())["ml_model_load_failure_total"] == {("trend",): 1}

    account(tmp_path, models=models, journal=str(home / "paper-1"), started_ts=99)
    write(home / "paper-1", Signal("BTCUSD", "trend", 1, 1, models=["m@1"]))
    found = samples(telemetry.exposition())
    assert found["ml_model_load_success_total"] == {("trend",): 1}
    assert found["ml_model_load_failure_total"] == {("trend",): 1}


def write(folder: Path, *records: Any) -> None:
    """Write a journal, or go on in one."""
    import datetime as dt

    with Journal.open(folder, mode="relaxed", today=lambda: dt.date(2026, 1, 2)) as journal:
        for record in records:
            journal.append(record)


def test_a_journal_that_begins_while_we_look_counts_from_its_beginning(tmp_path: Path) -> None:
    home = account(tmp_path)
    telemetry = telemetry_in(tmp_path)
    before = samples(telemetry.exposition())
    assert before["onefold_orders_total"]["paper", "unknown"] == 0, "a rate must see it grow"
    assert before["trading_dlq_messages_total"]["paper", "nan"] == 0
    late = Bar("BTCUSD", 60, 1, 1.0, 1.0, 1.0, 1.0, late=True)
    write(
        home / "paper-1",
        late,
        Quarantined("BTCUSD", 2, "nan"),
        Quarantined("BTCUSD", 3, "nan"),
        Command(4, "kill", reason="x"),
    )
    found = samples(telemetry.exposition())
    assert found["onefold_late_bars_total"] == {("paper", "BTCUSD"): 1}
    assert found["onefold_quarantined_total"] == {("paper", "nan", "BTCUSD"): 2}
    assert found["trading_dlq_messages_total"]["paper", "nan"] == 2
    assert found["onefold_commands_total"]["paper", "kill"] == 1
    write(home / "paper-1", late)
    assert samples(telemetry.exposition())["onefold_bars_total"] == {("paper", "BTCUSD"): 2}
    fresh = samples(telemetry_in(tmp_path).exposition())
    assert "onefold_bars_total" not in fresh, "another process counts from when it begins"


def test_a_journal_that_is_damaged_does_not_end_the_scrape(tmp_path: Path) -> None:
    home = account(tmp_path)
    telemetry = telemetry_in(tmp_path)
    telemetry.exposition()
    write(home / "paper-1", Command(4, "kill", reason="x"), Command(5, "resume", reason="y"))
    [segment] = (home / "paper-1").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"kill"', b'"kilt"'))
    found = samples(telemetry.exposition())
    warned = found["validator_warnings_total"]
    assert warned["paper", "validation_error", "portfolio"] == 0, "looked at a moment before"
    assert found["onefold_commands_total"]["paper", "kill"] == 0


def test_what_is_around_sessions_is_told(tmp_path: Path) -> None:
    home = account(tmp_path)
    write(home / "paper-1", *[Command(n, "kill", reason="x") for n in range(1, 6)])
    (tmp_path / "logs").mkdir()
    tracker = FailureTracker(tmp_path / "logs")
    tracker.record_failure("notifications", OSError("no route"))
    tracker.close()
    telemetry = telemetry_in(tmp_path)
    found = samples(telemetry.exposition([Projected("paper", "paper-1", 2, "")]))
    assert found["onefold_projector_lag_records"] == {("paper",): 3}
    assert found["onefold_projector_stopped"] == {("paper",): 0}
    assert found["onefold_failures_total"] == {("notifications",): 1}
    found = samples(telemetry.exposition([Projected("paper", "paper-1", 2, "another version")]))
    assert found["onefold_projector_stopped"] == {("paper",): 1}
    assert "onefold_projector_lag_records" not in samples(telemetry.exposition())


def test_labels_from_outside_cannot_break_the_exposition(tmp_path: Path) -> None:
    evil = 'x"} 1\nonefold_equity{account="fake'
    account(tmp_path, positions={evil: 3}, feeds={evil: "silent"}, last_bars={evil: 1})
    exposition = telemetry_in(tmp_path).exposition()
    found = samples(exposition)
    assert found["onefold_equity"].keys() == {("paper", "USD")}
    assert found["onefold_position_lots"]["paper", evil] == 3
    promtool("check", "metrics", given=exposition)


@pytest.mark.parametrize("content", [b"", b"null", b"[1]", b'{"pid": "x", "equity": "y"}', b"\xff"])
def test_a_broken_heartbeat_does_not_end_the_scrape(tmp_path: Path, content: bytes) -> None:
    home = account(tmp_path)
    (home / "heartbeat.json").write_bytes(content)
    found = samples(telemetry_in(tmp_path).exposition())
    assert found["onefold_account_enabled"] == {("paper",): 1}
    assert "onefold_equity" not in found


# -- what is deployed -----------------------------------------------------------------------------


def test_alerts_are_valid_and_fire() -> None:
    folder = DEPLOY / "prometheus"
    promtool("check", "rules", "alerts.yml", folder=folder)
    promtool("test", "rules", "alerts_test.yml", folder=folder)
    promtool("check", "config", "--syntax-only", "prometheus.yml", folder=folder)


def test_every_alert_is_tested_and_leads_somewhere() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())
    tests = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())
    fired = {
        case["alertname"]
        for test in tests["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    documented = (ROOT / "docs/monitoring.md").read_text()
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        assert rule["alert"] in fired, f"nothing shows that {rule['alert']} fires"
        assert f"`{rule['alert']}`" in documented
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
        known = {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in headings}
        assert not anchor or anchor in known, f"{rule['alert']}: {path} has no #{anchor}"
