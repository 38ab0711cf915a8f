"""M3, X3: a model that takes long to be proved keeps its own account waiting, and no other."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import some_models
from engine.live_rig import HandFeed
from engine.test_live import bar
from onefold.adapters.models import ModelStore, Pin
from onefold.app.accounts import Account
from onefold.app.live import run_accounts
from onefold.app.settings import Loaded, accounts_of, settings_of
from onefold.app.sources import Source
from onefold.engine.live import Live
from support import MINUTE_NS

INTERVALS = {"AAPL": MINUTE_NS}
CONFIG: dict[str, Any] = {
    "account": {"cash": 1000, "currency": "USD"},
    "instruments": {"AAPL": {"kind": "equity"}},
    "feeds": {"AAPL": {"interval": "1m", "alpaca": {"api_key": "k", "api_secret": "s"}}},
    "strategies": {
        "shares": {"kind": "ml_ibs", "params": {"model": "dips"}},
        "plain": {"kind": "crossover"},
    },
    "accounts": {"slow": {"strategies": ["shares"]}, "quick": {"strategies": ["plain"]}},
}


def accounts(folder: Path, raw: dict[str, Any]) -> list[Account]:
    loaded = Loaded(settings_of(raw), folder / "onefold.yaml")
    return [Account(loaded, n, one, "paper") for n, one in accounts_of(loaded.settings).items()]


class Waits:
    """A pickle of a small model that reads a file first: from a pipe, until somebody writes."""

    def __init__(self, path: Path) -> None:
        self._code = (
            f"(__import__('pathlib').Path({str(path)!r}).read_text(), "
            "__import__('types').SimpleNamespace(predict=lambda rows: rows[:, 0] * 0.0 + 0.5))[1]"
        )

    def __reduce__(self) -> Any:
        return eval, (self._code,)


class Watch:
    """What became of accounts."""

    def __init__(self) -> None:
        self.running: dict[str, Live] = {}
        self.failures: list[str] = []

    def starting(self, account: Account) -> None:
        pass

    def opened(self, account: Account, live: Live) -> None:
        self.running[account.name] = live

    def told(self, account: Account, text: str) -> None:
        pass

    def waits(self, account: Account, error: BaseException) -> None:
        self.failures.append(str(error))

    def failed(self, account: Account, error: BaseException) -> None:
        self.failures.append(str(error))

    def stopped(self, account: Account, live: Live) -> None:
        pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(120.0):  # what is compiled first may take long
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.002)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_while_a_model_is_proved_another_account_trades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    artifact = pickle.dumps(Waits(gate))
    sidecar = some_models.sidecar_of(artifact, "joblib")
    store = ModelStore(tmp_path / "models", pins={"dips": Pin(sidecar.sha256)})
    store.activate("dips", store.add(sidecar, artifact).version)
    monkeypatch.setattr("onefold.adapters.models.trial._tried", {})  # as in another process
    monkeypatch.setattr("onefold.adapters.models.trial.DEADLINE_S", 150.0)
    gate.unlink()
    os.mkfifo(gate)
    given = accounts(tmp_path, {**CONFIG, "models": {"dips": {"sha256": sidecar.sha256}}})
    assert [one.name for one in given] == ["slow", "quick"]
    feeds = {one.name: HandFeed() for one in given}
    watch = Watch()

    def source(account: Account) -> Source:
        feed = feeds[account.name]
        return Source([(feed, ("AAPL",))], INTERVALS, lambda: bar(9).ts, is_recorded=True)

    def bars(name: str) -> int:
        return int(watch.running[name].status()["counts"]["bars"]) if name in watch.running else 0

    pipe: list[int] = []

    def is_read() -> bool:
        """Return whether somebody waits at the other end, whom this lets wait on."""
        try:
            pipe.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    async def work() -> None:
        running = asyncio.ensure_future(
            run_accounts(given, source, killed="", stopping=asyncio.Event(), watcher=watch)
        )
        await until(is_read)
        for n in range(3):
            feeds["quick"].queue.put_nowait(bar(n, symbol="AAPL"))
        await until(lambda: bars("quick") == 3)
        assert list(watch.running) == ["quick"], "the other is still being proved"
        gate.unlink()
        gate.touch()
        os.close(pipe[0])
        await until(lambda: "slow" in watch.running)
        feeds["slow"].queue.put_nowait(bar(0, symbol="AAPL"))
        await until(lambda: bars("slow") == 1)
        status = watch.running["slow"].status()
        assert not status["disabled"]
        for live in watch.running.values():
            live.stop()
        assert sorted(await running) == ["quick", "slow"]

    asyncio.run(work())
    assert not watch.failures


OWN = """
import threading

import onefold as of
from onefold.signals import Filtered, FLAT, LONG, choose, ta

assert not threading.current_thread().name.startswith("prove"), "a file runs in the event loop"


class Dip(of.Strategy):
    def extract_features(self):
        return {"rsi": ta.rsi(3)}

    def predict_signal(self, x):
        return self.signal(choose((x.rsi < 40, LONG), (x.rsi > 70, FLAT)))


class Careful(Filtered, Dip):
    def load_model(self, store):
        try:
            self._model = store.get(self.model)
        except Exception:
            self._model = store.get("dips")
"""


@pytest.mark.parametrize("first", ["gone", "dips", "other@1", "spare"])
@pytest.mark.parametrize("wanted", [("shares", "own"), ("alone", "both")])
def test_what_is_proved_meanwhile_is_what_is_proved_at_once(
    tmp_path: Path, first: str, wanted: tuple[str, ...]
) -> None:
    """Whatever strategies ask for, and answer where it is not there, the recipe is the same."""
    (tmp_path / "own.py").write_text(OWN)
    artifact = some_models.artifact_of("onnx")
    store = ModelStore(tmp_path / "models")
    for name in ("dips", "other", "spare"):
        store.add(some_models.sidecar_of(artifact, name=name), artifact)
    for name in ("dips", "spare"):
        store.activate(name, 1)
    store.expire("spare", 1, "2020-01-01")
    own = {"file": "own.py", "class": "Careful", "params": {"model": first}}
    members = [{"kind": "ml_ibs", "model": "dips"}, {"kind": "ml_momentum", "model": first}]
    raw = {
        **CONFIG,
        "strategies": {
            **CONFIG["strategies"],
            "own": own,
            "alone": {"kind": "ml_ibs", "params": {"model": first}},
            "both": {"kind": "ensemble", "params": {"members": members}},
        },
        "accounts": {"all": {"strategies": wanted}},
    }
    [account] = accounts(tmp_path, raw)
    meanwhile = asyncio.run(account.proved_recipe(INTERVALS))
    at_once = account.recipe(INTERVALS)
    assert meanwhile.as_recorded() == at_once.as_recorded()
    assert meanwhile.hash == at_once.hash
    lost = first in ("gone", "spare")
    assert set(meanwhile.chosen.disabled) == ({"alone", "both"} & set(wanted) if lost else set())
    assert (first in meanwhile.chosen.models) == (not lost)
