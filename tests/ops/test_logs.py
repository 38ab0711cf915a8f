"""O1, and U2's secrets: what is logged arrives on its channel, on one line, without secrets."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from onefold.app.configfile import environment
from onefold.app.settings import settings_of
from onefold.ops import logs as module
from onefold.ops.failures import read_failures
from onefold.ops.log_settings import CHANNELS, LogSettings
from onefold.ops.logs import Logs, channel_of, set_up, speaking_of
from onefold.ops.redaction import MASK, Redactor, looks_like_key, secrets_of

CONTROLS = (
    "\n", "\r", "\r\n", "\0", "\x1b[31m", "\x1b]0;title\x07", "\x08", "\x7f", "\x9b2J", "\u2028",
    "\u2029", "\x85", "\u202e", "\u2066", "\u200f", "\ufeff", "\ud800", "\x0b", "\x0c",
)  # fmt: skip


@contextmanager
def logging_to(folder: Path, **given: Any) -> Iterator[Logs]:
    settings = LogSettings(**given.pop("settings", {}))
    made = set_up(settings, folder, say=given.pop("say", lambda _: None), **given)
    try:
        yield made
    finally:
        made.close()


def failing(error: Exception) -> None:
    raise error


def lines(folder: Path, channel: str) -> list[dict[str, Any]]:
    text = (folder / "logs" / f"{channel}.log").read_bytes()
    return [msgspec.json.decode(line) for line in text.splitlines()]


def everything(folder: Path) -> str:
    files = [path for path in (folder / "logs").iterdir() if path.is_file()]
    return "".join(path.read_text(errors="replace") for path in files)


def test_every_channel_is_written_and_uvicorn_is_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O1: the smoke test. A real server on loopback logs a real request."""
    # A server of before in this process has left it as it wanted it.
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", True)
    said: list[str] = []
    with logging_to(tmp_path, say=said.append) as made:
        for channel in CHANNELS:
            log = logging.getLogger(f"onefold.{channel}.smoke")
            log.log(logging.ERROR if channel == "error" else logging.INFO, "here is %s", channel)
        with served() as url:
            assert httpx.get(f"{url}/?token=abcdefgh").status_code == 200
    for channel in CHANNELS:
        events = [line["event"] for line in lines(tmp_path, channel)]
        assert f"here is {channel}" in events
        assert channel in made.summary
    loggers = {line["logger"] for line in lines(tmp_path, "api")}
    assert {"uvicorn.error", "uvicorn.access"} <= loggers
    assert "abcdefgh" not in everything(tmp_path)
    summaries = [e for e in lines(tmp_path, "application") if e["event"] == made.summary]
    assert len(summaries) == 1
    assert not any(made.summary in line for line in said), "who set it up says it"


@contextmanager
def served() -> Iterator[str]:
    async def app(scope: dict[str, Any], _: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"well"})

    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, log_level="info", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def wait_for(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("logger", "channel"),
    [
        ("onefold.trading.desk", "trading"),
        ("onefold.trading", "trading"),
        ("onefold.tradings", "application"),
        ("onefold.desk", "application"),
        ("onefold", "application"),
        ("uvicorn.access", "api"),
        ("httpx", "application"),
        ("trading", "application"),
    ],
)
def test_a_logger_speaks_on_one_channel(logger: str, channel: str) -> None:
    assert channel_of(logger) == channel


def test_what_is_an_error_is_on_the_error_channel_too(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        logging.getLogger("onefold.audit.x").error("bad")
        logging.getLogger("onefold.audit.x").warning("not so bad")
        logging.getLogger("somebody.else").error("theirs")
        logging.getLogger("somebody.else").info("chatter")
    assert [e["event"] for e in lines(tmp_path, "error")] == ["bad", "theirs"]
    assert [e["event"] for e in lines(tmp_path, "audit")] == ["bad", "not so bad"]
    assert "chatter" not in everything(tmp_path)


def test_levels_are_those_of_the_channel_and_of_the_console(tmp_path: Path) -> None:
    said: list[str] = []
    settings = {"levels": {"market_data": "debug"}, "level": "warning", "console_level": "error"}
    with logging_to(tmp_path, settings=settings, say=said.append):
        logging.getLogger("onefold.market_data.x").debug("a bar")
        logging.getLogger("onefold.trading.x").info("an order")
        logging.getLogger("onefold.trading.x").error("trouble", extra={"order": 7})
        logging.getLogger("onefold.trading.x").error("known", extra={"told": True})
    assert [e["event"] for e in lines(tmp_path, "market_data")] == ["a bar"]
    assert [e["event"] for e in lines(tmp_path, "trading")] == ["trouble", "known"]
    [line] = said
    assert line.endswith("error trading.x: trouble (order=7)")


def test_a_record_has_its_error_and_what_it_speaks_of(tmp_path: Path) -> None:
    with logging_to(tmp_path), speaking_of(account="main"):
        try:
            failing(OSError("no room"))
        except OSError:
            logging.getLogger("onefold.trading.x").warning("lost", exc_info=True)
    [found] = lines(tmp_path, "trading")
    assert (found["account"], found["level"]) == ("main", "warning")
    assert found["error"] == "OSError: no room"
    assert "test_logs.py" in found["exception"]
    assert found["exception"].endswith("OSError: no room")


@pytest.mark.parametrize("odd", CONTROLS, ids=lambda odd: "-".join(f"{ord(c):x}" for c in odd))
def test_control_characters_cannot_forge_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    """SAFETY: the corpus is one record each, in the file and on the console."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest cannot report a surrogate
    said: list[str] = []
    text = f'before{odd}{{"level":"info","event":"forged"}}'
    with logging_to(tmp_path, say=said.append):
        log = logging.getLogger("onefold.trading.x")
        log.warning(text, extra={"why": text, f"k{odd}": 1, "deep": [{text: text}]})
        try:
            failing(ValueError(text))
        except ValueError:
            log.warning("it failed", exc_info=True)
    raw = (tmp_path / "logs" / "trading.log").read_bytes()
    assert raw.count(b"\n") == 2
    assert len(said) == 2
    for shown in (*said, raw.decode().replace("\n", "")):
        assert odd not in shown
        assert all(c.isprintable() for c in shown)
    assert lines(tmp_path, "trading")[0]["event"].endswith('"event":"forged"}')


@given(st.text(max_size=300))
def test_any_text_becomes_printable_and_short(text: str) -> None:
    cleaned = Redactor(["a secret"]).text(text * 10, 500)
    assert cleaned.isprintable()
    assert len(cleaned) <= 500 + len("... (64000 more)")


def test_what_is_long_is_cut(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        extra = {"big": "x" * 1_000_000, "many": list(range(10_000))}
        logging.getLogger("onefold.trading.x").warning("y" * 1_000_000, extra=extra)
    assert (tmp_path / "logs" / "trading.log").stat().st_size < 8_000


# -- secrets ---------------------------------------------------------------------------------------

CANARY = "canary/9+x&y z"
HOOK = "https://webhooks.traderspost.io/trading/webhook/canary-of-hook/canary-of-hook-2"
CONFIG: dict[str, Any] = {
    "instruments": {"BTCUSD": {"kind": "crypto", "currency": "USD"}},
    "feeds": {
        "BTCUSD": {"interval": "1m", "ccxt": {"exchange": "kraken", "api_key": f"{CANARY}1"}},
        "EURUSD": {"interval": "1m", "oanda": {"account": "1", "token": f"{CANARY}2"}},
    },
    "strategies": {"trend": {"kind": "crossover"}},
    "accounts": {
        "a": {"venue": {"alpaca": {"api_key": f"{CANARY}3", "api_secret": f"{CANARY}4"}}},
        "b": {"venue": {"kite": {"api_key": f"{CANARY}5", "access_token": f"{CANARY}6"}}},
        "c": {"venue": {"traderspost": {"webhook": HOOK}}},
    },
}


def test_no_secret_of_the_configuration_reaches_a_file_or_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U2: each secret is logged in every way that libraries have; none is found again."""
    (tmp_path / ".env").write_text("SOME_TOKEN=canary-of-env\nPLAIN=in the open\n")
    monkeypatch.chdir(tmp_path)
    secrets = secrets_of(settings_of(CONFIG), environment(tmp_path))
    assert {HOOK, "canary-of-env", *(f"{CANARY}{n}" for n in range(1, 7))} <= secrets
    assert "in the open" not in secrets
    said: list[str] = []
    log = logging.getLogger("onefold.trading.x")
    with logging_to(tmp_path, secrets=secrets, say=said.append):
        for secret in secrets:
            if "anary" in secret:
                log_in_every_way(log, secret)
    texts = everything(tmp_path) + "".join(said)
    assert "anary" not in texts
    assert MASK in texts
    assert read_failures(tmp_path / "logs")["trading.x"].count > 0


def log_in_every_way(log: logging.Logger, secret: str) -> None:
    from urllib.parse import quote, urlsplit

    log.warning("the key is %s", secret)
    log.warning("the key is %r", secret)
    log.warning("GET https://x.io/a?b=%s&c=1", quote(secret, safe=""))
    log.warning("path %s", urlsplit(secret).path.strip("/") if "://" in secret else secret)
    extra = {"harmless": secret, "nested": {"list": [secret, {"k": secret}]}, secret: 1}
    log.warning("fields", extra=extra)
    log.warning("a model", extra={"model": SecretStr(secret)})
    try:
        failing(RuntimeError(f"refused: {secret}"))
    except RuntimeError:
        log.warning("survived", exc_info=True, extra={"detail": secret})


@pytest.mark.parametrize(
    "text",
    [
        "https://user:CANARY@host/path",
        "https://host/x?token=CANARY&a=1",
        "https://host/x?api_key=CANARY",
        "Authorization: Bearer CANARY",
        "authorization=Basic CANARY",
        "{'X-API-Key': 'CANARY', 'a': 1}",
        '{"password": "CANARY with spaces"}',
        "secret=CANARY, other=1",
        "api-secret: CANARY",
        "sent with bearer CANARY-of-eight",
    ],
)
def test_what_looks_like_a_secret_is_hidden_though_nobody_knows_it(text: str) -> None:
    cleaned = Redactor().text(text)
    assert "CANARY" not in cleaned
    assert MASK in cleaned


@pytest.mark.parametrize(
    "text", ["order main-1-2 filled at 1000.5", "https://host/path?symbol=ES", "a basic matter"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor(["k", ""]).text(text) == text


@pytest.mark.parametrize("name", ["token", "apiKey", "API-KEY", "db_password", "Authorization"])
def test_a_field_with_a_telling_name_is_hidden(name: str) -> None:
    assert Redactor().value({name: "x", "b": {name: ["y"]}}) == {name: MASK, "b": {name: MASK}}


# -- files -----------------------------------------------------------------------------------------


def test_files_are_put_aside_by_size_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    with logging_to(tmp_path, settings={"max_mb": 0.01, "keep_files": 3}):
        for number in range(400):
            logging.getLogger("onefold.trading.x").info("%04d %s", number, "x" * 100)
    kept = sorted((tmp_path / "logs").glob("trading.*.log"))
    assert len(kept) == 3
    sizes = [path.stat().st_size for path in (*kept, tmp_path / "logs" / "trading.log")]
    assert all(0 < size <= 10_000 for size in sizes)
    numbers = [
        int(msgspec.json.decode(line)["event"][:4])
        for path in sorted([*kept, tmp_path / "logs" / "trading.log"], key=mtime)
        for line in path.read_bytes().splitlines()
    ]
    assert numbers == list(range(numbers[0], 400)), "what is kept has no gap"


def mtime(path: Path) -> int:
    return path.stat().st_mtime_ns


def test_files_are_put_aside_by_day_and_old_days_are_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    now_s = time.time()
    for name, age_days in (("trading.log", 1), ("trading.2020-01-01.1.log", 40)):
        (folder / name).write_text('{"event":"of before"}\n')
        then_s = now_s - age_days * 86_400
        os.utime(folder / name, (then_s, then_s))
    with logging_to(tmp_path, settings={"keep_days": 30}):
        logging.getLogger("onefold.trading.x").info("of today")
    assert [e["event"] for e in lines(tmp_path, "trading")] == ["of today"]
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(now_s - 86_400))
    [aside] = folder.glob("trading.*.log")
    assert aside.name == f"trading.{yesterday}.1.log"
    assert "of before" in aside.read_text()


def test_a_file_that_is_taken_away_is_made_again(tmp_path: Path) -> None:
    with logging_to(tmp_path):
        path, log = tmp_path / "logs" / "trading.log", logging.getLogger("onefold.trading.x")
        log.info("one")
        wait_for(lambda: path.stat().st_size)
        path.rename(path.with_name("taken"))
        log.info("two")
    assert [e["event"] for e in lines(tmp_path, "trading")] == ["two"]


def write_many(folder: Path, name: str) -> None:
    with logging_to(folder, settings={"max_mb": 0.02, "keep_files": 1_000}, process=name):
        for number in range(300):
            logging.getLogger("onefold.trading.x").info("%s %d %s", name, number, "x" * 300)


def test_processes_share_the_files_without_losing_a_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    names = ("run", "serve", "db")
    workers = [context.Process(target=write_many, args=(tmp_path, name)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    files = [tmp_path / "logs" / "trading.log", *(tmp_path / "logs").glob("trading.*.log")]
    assert len(files) > 5
    found = [
        msgspec.json.decode(line)["event"].split()[:2]
        for path in files
        for line in path.read_bytes().splitlines()
    ]
    assert sorted(found) == sorted([name, str(n)] for name in names for n in range(300))


# -- what goes wrong with logs ---------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_told_and_nothing_else_happens(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file is in the way")
    said: list[str] = []
    with logging_to(tmp_path, say=said.append) as made:
        logging.getLogger("onefold.trading.x").error("still said")
        wait_for(lambda: said)
        assert "it cannot be written" in made.summary
        wait_for(lambda: "logs" in made.failures.get_all_failures())
    assert any("still said" in line for line in said)


def test_a_disk_that_is_full_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """Every write to /dev/full fails as on a full disk."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "trading.log").symlink_to("/dev/full")
    with logging_to(tmp_path) as made:
        for number in range(100):
            logging.getLogger("onefold.trading.x").info("order %d", number)
        logging.getLogger("onefold.audit.x").info("others are written")
        wait_for(lambda: "logs" in made.failures.get_all_failures())
        failure = made.failures.get_all_failures()["logs"].last[-1]
    assert "No space left" in failure.said
    assert failure.context["what"] == "trading"
    assert made.failures.get_all_failures()["logs"].count == 1, "not one for each line"
    assert [e["event"] for e in lines(tmp_path, "audit")] == ["others are written"]


def test_a_writer_that_hangs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is bounded, and what does not fit is dropped and counted."""
    monkeypatch.setattr(module, "WAITING_MAX", 50)
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    hangs, reached = threading.Event(), threading.Event()

    def say(_: str) -> None:
        reached.set()
        hangs.wait(20)

    made = set_up(LogSettings(), tmp_path, say=say)
    log = logging.getLogger("onefold.trading.x")
    log.warning("the first hangs")
    assert reached.wait(10)
    for number in range(200):
        log.warning("%d", number)
    assert "dropped" in made.failures.get_all_failures()["logs"].last[-1].said
    made.close()
    hangs.set()


def test_a_record_that_cannot_be_made_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest fail the test

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with logging_to(tmp_path) as made:
        logging.getLogger("onefold.trading.x").info("%d", "no number")
        logging.getLogger("onefold.trading.x").info("odd", extra={"odd": Odd()})
        logging.getLogger("onefold.trading.x").info("well")
    assert [e["event"] for e in lines(tmp_path, "trading")] == ["well"]
    failed = made.failures.get_all_failures()["logs"]
    assert {one.context["what"] for one in failed.last} == {"record", "trading"}


def test_loggers_are_left_as_they_were(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = [*root.handlers], root.level, logging.getLogger("onefold.trading").level
    with logging_to(tmp_path):
        assert logging.getLogger("onefold.trading.desk").isEnabledFor(logging.INFO)
    assert ([*root.handlers], root.level, logging.getLogger("onefold.trading").level) == before


def test_a_key_of_the_api_is_taken_out_however_it_is_spelt() -> None:
    key = "onefold_0123456789_SECRET-secret_1"
    spelt = "".join(f"\\u{ord(c):04x}" for c in key)
    twice = json.dumps(json.dumps({"asked": spelt}))
    half = key.replace("_", "\\\\u005F")
    for text in (key, spelt, twice, half, f'{{"reason": "{key}"}}'):
        assert looks_like_key(text), text
        said = Redactor().text(text)
        assert "[redacted]" in said
        assert "SECRET" not in said
        assert "\\u0053" not in said
    for harmless in ("onefold", "onefold_paper_1", "\\u003cb\\u003e", "onefold_0123456789"):
        assert not looks_like_key(harmless)
        assert Redactor().text(harmless) == harmless
