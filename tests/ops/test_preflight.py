"""O6, D10: what is looked at before a start, on files and servers that are really bad."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.live_venue import CONFIG as LIVE
from app.live_venue import FLIPS, RESTS, VenueThread
from app.world import Said, onefold_process, write_config
from onefold.adapters.models import ModelStore
from onefold.app.preflighting import preflight, require_preflight
from onefold.app.settings import load_settings
from onefold.domain.errors import ConfigError
from onefold.domain.records import Command
from onefold.ops import preflight as pf
from onefold.ops.preflight import PreflightFailed, Verdict, requirements, run_checks
from onefold.ops.probes import address_of, reach
from ops.test_metrics import write
from some_models import artifact_of, sidecar_of

PLAIN = """
data:
  MADE: { synthetic: { seed: 7, bars: 300, interval_s: 3600 } }
instruments:
  MADE: { kind: equity }
strategies:
  trend: { kind: crossover, params: { fast: 5, slow: 15 } }
"""
PRODUCTION = "preflight: { environment: production }\n"
MODEL = "  ml: { kind: ml_mean_reversion, params: { model: dips } }\n"


def checked(folder: Path, *, online: bool = False) -> tuple[Said, dict[str, dict[str, Any]]]:
    """Check as the command does, and return what it would print with the checks by name."""
    summary = preflight(folder / "onefold.yaml", online=online)
    document = msgspec.to_builtins(summary)
    said = Said(int(summary.blocks), msgspec.json.encode(document).decode(), "")
    return said, {one["name"]: one for one in document["checks"]}


def test_a_configuration_that_is_well_passes_and_the_result_is_kept(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN + PRODUCTION)
    said = onefold_process(tmp_path, "preflight", "--json")
    assert said.code == 0, said.out
    checks = {one["name"]: one for one in said.json["checks"]}
    assert {one["status"] for one in checks.values()} <= {"passed", "not applicable"}
    for name in ("models", "feeds", "venues", "database", "services"):
        assert checks[name]["status"] == "not applicable", checks[name]
    kept = msgspec.json.decode((tmp_path / "logs/preflight_summary.json").read_bytes())
    assert kept == said.json
    assert kept["status"] == "passed"
    assert kept["duration_ms"] >= sum(one["duration_ms"] for one in kept["checks"]) * 0.99
    assert all(one["reason"] and one["duration_ms"] >= 0 for one in kept["checks"])


@pytest.mark.parametrize("environment", ["development", "production"])
def test_production_blocks_and_development_warns(tmp_path: Path, environment: str) -> None:
    write_config(tmp_path, PLAIN + f"preflight: {{ environment: {environment} }}\n")
    governance = tmp_path / "governance"
    governance.mkdir()
    (governance / "paper.jsonl").write_text("{half}\n")
    said, checks = checked(tmp_path)
    assert checks["governance"]["status"] == "failed"
    assert said.json["status"] == "failed"
    assert (said.code, said.json["blocks"]) == ((1, True), (0, False))[environment[0] == "d"]
    assert onefold_process(tmp_path, "preflight").code == said.code
    loaded = load_settings(tmp_path / "onefold.yaml")
    if environment == "production":
        with pytest.raises(PreflightFailed, match=r"governance: paper: .*paper.jsonl"):
            require_preflight(loaded)
    else:
        assert [one.name for one in require_preflight(loaded).failed] == ["governance"]


def test_a_configuration_that_cannot_be_read_blocks_everywhere(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN.replace("crossover", "crossover, params: {"))
    said, checks = checked(tmp_path)
    assert (said.code, said.json["blocks"]) == (1, True)
    assert "onefold.yaml, line" in checks["config"]["reason"]
    assert (tmp_path / "logs/preflight_summary.json").is_file()
    write_config(tmp_path, PLAIN + 'accounts: { a: { cash: "${NOWHERE}" } }\n')
    assert "NOWHERE" in checked(tmp_path)[1]["config"]["reason"]


def test_credentials_have_to_be_set_and_nobody_elses(tmp_path: Path) -> None:
    venue = "    venue: { alpaca: { api_key: k, api_secret: '${SECRET:-}' } }\n"
    write_config(tmp_path, PLAIN + "accounts:\n  main:\n    approved: a test\n" + venue)
    _, checks = checked(tmp_path)
    assert checks["credentials"]["status"] == "failed"
    assert checks["credentials"]["reason"] == "accounts.main.venue.alpaca.api_secret is empty"
    env = tmp_path / ".env"
    env.write_text("SECRET=canary-5a3e\n")
    env.chmod(0o644)
    _, checks = checked(tmp_path)
    assert "chmod 600" in checks["credentials"]["reason"]
    env.chmod(0o600)
    said, checks = checked(tmp_path)
    assert checks["credentials"]["status"] == "passed"
    assert "canary" not in said.out + said.err
    assert checks["venues"]["status"] == "not applicable"
    assert "--online" in checks["venues"]["reason"]


def test_models_have_to_be_there_whole_and_to_have_time_left(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN + MODEL)
    _, checks = checked(tmp_path)
    assert checks["models"]["status"] == "failed"
    assert "strategy ml" in checks["models"]["reason"]

    artifact = artifact_of("onnx")
    store = ModelStore(tmp_path / "models")
    soon = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 3 * 86_400))
    store.add(sidecar_of(artifact, expires_on=soon), artifact)
    store.activate("dips", 1)
    said, checks = checked(tmp_path)
    assert checks["models"]["status"] == "warned", checks["models"]
    assert soon in checks["models"]["reason"]
    assert said.code == 0

    write_config(tmp_path, PLAIN + MODEL + "preflight: { model_days_min: 0 }\n")
    assert checked(tmp_path)[1]["models"]["status"] == "passed"
    file = next(path for path in (tmp_path / "models/dips").rglob("*.onnx"))
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    _, checks = checked(tmp_path)
    assert checks["models"]["status"] == "failed"
    assert "sha256" in checks["models"]["reason"] or "hash" in checks["models"]["reason"]


def test_data_have_to_be_there_and_plausible(tmp_path: Path) -> None:
    text = (
        "instruments: { SPX: { kind: index } }\ndata: { SPX: { path: bars.csv } }\n"
        "strategies: { trend: { kind: crossover } }\n"
    )
    write_config(tmp_path, text)
    assert "bars.csv" in checked(tmp_path)[1]["data"]["reason"]
    days = [f"2024-01-{day:02d},10,11,9,10,5" for day in range(1, 29)]
    (tmp_path / "bars.csv").write_text("\n".join(["date,open,high,low,close,volume", *days]))
    assert checked(tmp_path)[1]["data"] | {"duration_ms": 0} == {
        "name": "data",
        "status": "passed",
        "reason": "28 bars of 1 symbols",
        "duration_ms": 0,
    }
    days[3] = "2024-01-04,10,9,11,10,5"
    (tmp_path / "bars.csv").write_text("\n".join(["date,open,high,low,close,volume", *days]))
    _, checks = checked(tmp_path)
    assert checks["data"]["status"] == "failed"
    assert "1 of 28 rows" in checks["data"]["reason"]


def test_a_journal_with_a_damaged_end_is_found(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN)
    journal = tmp_path / "journal/paper/paper-1"
    write(journal, Command(1, "kill"), Command(2, "resume", reason="x"))
    assert checked(tmp_path)[1]["journals"]["reason"] == "2 records end in a seal"
    [segment] = journal.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"kill"', b'"kilt"'))
    _, checks = checked(tmp_path)
    assert checks["journals"]["status"] == "failed"
    assert segment.name in checks["journals"]["reason"]


def test_folders_have_to_be_ours_alone(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN)
    journal = tmp_path / "journal"
    journal.mkdir()
    journal.chmod(0o777)
    _, checks = checked(tmp_path)
    assert checks["permissions"]["status"] == "failed"
    assert f"chmod o-w {journal}" in checks["permissions"]["reason"]
    journal.rmdir()
    journal.write_text("a file in its place")
    _, checks = checked(tmp_path)
    assert "no folder" in checks["permissions"]["reason"]


def test_a_disk_needs_room(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN + "preflight: { disk_mb_min: 1e9 }\n")
    _, checks = checked(tmp_path)
    assert checks["disk"]["status"] == "failed"
    assert "1,000,000,000 are needed" in checks["disk"]["reason"]


def test_a_file_of_the_future_means_that_the_clock_is_late(tmp_path: Path) -> None:
    config = write_config(tmp_path, PLAIN)
    assert checked(tmp_path)[1]["clock"]["status"] == "passed"
    os.utime(config, (time.time() + 900, time.time() + 900))
    _, checks = checked(tmp_path)
    assert checks["clock"]["status"] == "failed"
    assert "onefold.yaml" in checks["clock"]["reason"]


def test_a_result_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN)
    (tmp_path / "logs").write_text("a file in its place")
    said = onefold_process(tmp_path, "preflight")
    assert said.code == 2
    assert "preflight_summary.json cannot be written" in said.err


def test_a_check_that_breaks_has_failed() -> None:
    def broken() -> Verdict:
        raise ZeroDivisionError("by zero")

    summary = run_checks({"a": broken, "b": lambda: Verdict("passed", "well")}, "production")
    assert (summary.status, summary.blocks) == ("failed", True)
    assert summary.checks[0].reason == "the check broke: ZeroDivisionError: by zero"
    assert summary.checks[1].status == "passed", "the others are made all the same"


def test_libraries_are_held_against_what_this_version_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = requirements()
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    written = {("", one) for one in project["dependencies"]}
    for extra, needs in project["optional-dependencies"].items():
        written |= {(extra, one) for one in needs if not one.startswith("onefold[")}
    for extra, one in written:
        name, _, least = one.partition(">=")
        assert (name.partition("[")[0], least, extra) in known, one
    assert ("numpy", "2.1", "") in known
    assert ("fastapi", "0.120", "ops") in known
    assert pf.libraries(["live", "ml", "ops"]).status == "passed"
    real = pf.version
    monkeypatch.setattr(pf, "version", lambda name: "2.0.9" if name == "numpy" else real(name))
    assert pf.libraries([]) == Verdict("failed", "numpy is 2.0.9, at least 2.1 is needed")
    monkeypatch.setattr(pf, "version", lambda name: "2.10.0rc1" if name == "numpy" else real(name))
    assert pf.libraries([]).status == "passed"


# -- servers --------------------------------------------------------------------------------------


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[int]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server: install the package redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", "pass word"]
    process = subprocess.Popen(
        [program, *options, "--save", "", "--appendonly", "no", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield port
    process.terminate()
    process.wait()


def test_a_real_redis_is_asked_and_its_password_is_not_told(tmp_path: Path, redis: int) -> None:
    def text(password: str, port: int = redis) -> str:
        url = f"redis://:{password}@127.0.0.1:{port}"
        return PLAIN + f'preflight: {{ services: {{ cache: "{url}" }} }}\n'

    write_config(tmp_path, text("pass%20word"))
    _, checks = checked(tmp_path)
    assert checks["services"]["status"] == "passed", checks["services"]
    assert checks["services"]["reason"].startswith("cache: Redis ")
    write_config(tmp_path, text("canary-77"))
    said, checks = checked(tmp_path)
    assert checks["services"]["status"] == "failed"
    assert "refuses AUTH" in checks["services"]["reason"]
    assert "canary" not in said.out + said.err
    write_config(tmp_path, text("canary-77", 1))
    _, checks = checked(tmp_path)
    assert checks["services"]["reason"] == (
        "cache: 127.0.0.1:1 does not answer: Connection refused"
    )


class Talker:
    """A server that says one thing to whoever connects."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # whoever asked may be gone by now
            connection, _ = self._socket.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(self._answer)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


KAFKA = bytes.fromhex(
    "00000016 00000001 0000 00000002 0000 0000 0009 0012 0000 0003".replace(" ", "")
)


@pytest.mark.parametrize(
    ("scheme", "answer", "said"),
    [
        ("kafka", KAFKA, "a Kafka broker with 2 kinds of requests"),
        ("kafka", b"HTTP/1.1 400 Bad Request\r\n\r\n", OSError),
        ("kafka", b"", OSError),
        ("redis", b"+PONG\r\n", OSError),
        ("redis", b"-ERR no\r\n", OSError),
        ("redis", b"", OSError),
        ("http", b"HTTP/1.1 200 OK\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n", "21 Oct 2015"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n", OSError),
        ("http", b"SSH-2.0-x\r\n", OSError),
        ("http", b"HTTP/1.1 200 OK\r\nDate: soon\r\n\r\n", OSError),
        ("tcp", b"", "it takes connections"),
    ],
)
def test_servers_are_known_by_what_they_answer(scheme: str, answer: bytes, said: Any) -> None:
    talker = Talker(answer)
    address = address_of(f"{scheme}://127.0.0.1:{talker.port}")
    try:
        if said is OSError:
            with pytest.raises(OSError, match=r".+"):
                reach(address, 5.0)
        else:
            assert said in reach(address, 5.0)
    finally:
        talker.close()


@pytest.mark.parametrize(
    "url", ["reddis://h:1", "tcp://h", "redis://", "redis://h:99999", "", "redis://[::1"]
)
def test_an_address_that_is_none_is_refused_where_it_is_set(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r".+"):
        address_of(url)
    path = write_config(tmp_path, PLAIN + f'preflight: {{ services: {{ cache: "{url}" }} }}\n')
    with pytest.raises(ConfigError, match=r"preflight\.services"):
        load_settings(path)


def test_the_clock_is_compared_with_a_servers() -> None:
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    there = Talker(f"HTTP/1.1 200 OK\r\nDate: {now}\r\n\r\n".encode())
    assert pf.clock_against(f"http://127.0.0.1:{there.port}", 2.0, 5.0).status == "passed"
    there.close()
    long_ago = Talker(b"HTTP/1.1 200 OK\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n")
    found = pf.clock_against(f"http://127.0.0.1:{long_ago.port}", 2.0, 5.0)
    assert found.status == "failed"
    assert "differs by" in found.reason
    long_ago.close()
    assert pf.clock_against("http://127.0.0.1:1", 2.0, 5.0).status == "warned"


def test_feeds_and_venues_are_asked_online(tmp_path: Path) -> None:
    with VenueThread() as venue:
        own_time = f'preflight: {{ clock_url: "{venue.url}", deadline_s: 20 }}\n'
        (tmp_path / "onefold.yaml").write_text(LIVE.format(url=venue.url) + own_time)
        (tmp_path / "flips.py").write_text(FLIPS)
        (tmp_path / "rests.py").write_text(RESTS)
        _, checks = checked(tmp_path)
        assert "--online" in checks["feeds"]["reason"]
        _, checks = checked(tmp_path, online=True)
        assert checks["feeds"]["status"] == "passed", checks["feeds"]
        assert checks["venues"]["status"] == "passed", checks["venues"]
        assert checks["clock"]["status"] in ("passed", "warned")
        assert not venue.exchange.orders(), "nothing is ordered"
        (tmp_path / "onefold.yaml").write_text(
            (LIVE.format(url=venue.url) + own_time).replace("api_key: rehearsal", "api_key: wrong")
        )
        _, checks = checked(tmp_path, online=True)
        assert checks["venues"]["status"] == "failed", checks["venues"]
    _, checks = checked(tmp_path, online=True)
    assert checks["feeds"]["status"] == "failed"
    assert "BTCUSDT" in checks["feeds"]["reason"]


def test_a_database_has_to_have_this_versions_tables(tmp_path: Path) -> None:
    write_config(tmp_path, PLAIN)
    assert checked(tmp_path)[1]["database"]["status"] == "not applicable"
    said = onefold_process(tmp_path, "db", "upgrade")
    assert said.code == 0, said.err
    assert checked(tmp_path)[1]["database"]["status"] == "passed"
    (tmp_path / "onefold.db").unlink()
    for left in tmp_path.glob("onefold.db-*"):
        left.unlink()
    (tmp_path / "onefold.db").touch()
    _, checks = checked(tmp_path)
    assert checks["database"]["status"] == "failed"
    assert "onefold db upgrade" in checks["database"]["reason"]


def test_settings_with_a_service_are_recorded_without_it_and_can_be_read_again(
    tmp_path: Path,
) -> None:
    from onefold.app.settings import settings_of

    path = write_config(
        tmp_path, PLAIN + 'preflight: { services: { cache: "redis://:canary-9@h:1" } }\n'
    )
    settings = load_settings(path).settings
    assert "canary-9" not in repr(settings)
    written = settings.as_written()
    assert "canary-9" not in msgspec.json.encode(written).decode()
    settings_of(written)
