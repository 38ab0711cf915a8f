"""What lies in folders, for the server: models, strategies, and the results of backtests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from onefold.adapters.models import Listed, ModelStore
from onefold.api.office import NotFoundError
from onefold.api.schemas import Backtest, Model, Signal, Strategy, Trade
from onefold.app.governing import Governed
from onefold.domain.errors import ConfigError
from onefold.engine.heartbeat import read_heartbeat
from onefold.governance.parameters import Parameters
from onefold.governance.readiness import Report
from onefold.governance.versions import CONF_MIN, Key, scope_text

BACKTESTS_MAX = 500
REPORT_BYTES_MAX = 64 << 20
NUMBERS, REPORT = "metrics.json", "report.html"


def models_of(store: ModelStore, drift: Mapping[str, dict[str, str]]) -> list[Model]:
    """Return every version in the store; `drift` by a model's identity, where it was measured."""
    return [_model(one, drift) for one in store.listed()]


def _model(one: Listed, drift: Mapping[str, dict[str, str]]) -> Model:
    card = one.sidecar
    if card is None:
        return Model(
            name=one.name,
            version=one.version,
            is_active=one.is_active,
            format="",
            target="",
            features=[],
            trained="",
            expires="",
            sha256="",
            metrics={},
            verdict=f"damaged: {one.trouble}",
            drift=None,
        )
    return Model(
        name=one.name,
        version=one.version,
        is_active=one.is_active,
        format=card.runtime,
        target=card.label,
        features=list(card.feature_names),
        trained=_day(card.trained_to),
        expires=one.expires_on,
        sha256=card.sha256,
        metrics={name: value for name, value in card.metrics.items() if is_finite(value)},
        verdict=one.state,
        drift=drift.get(card.identity),
    )


def is_finite(value: object) -> bool:
    """Return whether JSON can carry a number; what is no number can be."""
    return not isinstance(value, float) or abs(value) < float("inf")


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat() if ts else ""


def drift_in(reports: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Return what has changed of each model's inputs by the newest report that says it."""
    found: dict[str, dict[str, str]] = {}
    for path in reports:
        try:
            report = msgspec.json.decode(path.read_bytes(), type=Report)
        except (OSError, msgspec.DecodeError):
            continue
        for identity, names in (report.drift or {}).items():
            found.setdefault(identity, dict.fromkeys(names, "changed"))
    return found


def strategies_of(
    one: Governed, trades: Sequence[Trade], signals: Sequence[Signal]
) -> list[Strategy]:
    """Return an account's strategies; `trades` are its closed ones, `signals` its last ones."""
    try:
        parameters, doubt = one.file.read(), ""
    except ConfigError as error:
        parameters, doubt = Parameters(), f"parameters in doubt: {error}"
    beat = read_heartbeat(one.folder) or {}
    found = []
    for name, settings in one.strategies.items():
        mine = [trade for trade in trades if trade.strategy == name]
        stage = parameters.stages.get(name)
        asked = {m for s in signals if s.strategy == name for m in s.models}
        found.append(
            Strategy(
                account=one.name,
                name=name,
                kind=settings.kind or (settings.class_ or str(settings.file)),
                symbols=list(one.symbols(name)),
                stage=stage.stage if stage is not None else "",
                held=doubt or _held(name, parameters, beat),
                conf_min={s: _conf_min(one, parameters, name, s) for s in one.symbols(name)},
                models=sorted(asked),
                trades=len(mine),
                won=sum(trade.pnl > 0 for trade in mine),
                pnl=sum(trade.pnl for trade in mine),
            )
        )
    return found


def _conf_min(one: Governed, parameters: Parameters, strategy: str, symbol: str) -> float:
    key = Key(CONF_MIN, strategy, symbol)
    return parameters.values.get(key, one.configured(key)) or 0.0


def _held(name: str, parameters: Parameters, beat: Mapping[str, Any]) -> str:
    """Return why a strategy enters nothing, empty where it may."""
    disabled = (beat.get("disabled") or {}).get(name)
    if disabled:
        return str(disabled)
    if name in (beat.get("killed_scopes") or ()):
        return "killed"
    for hold in parameters.holds:
        if hold.action == "suppress" and hold.strategy in ("", name):
            scope = scope_text(hold.strategy, hold.instrument)
            return f"{scope} is suppressed ({hold.holder})"
    return ""


def backtests_in(folder: Path) -> list[Backtest]:
    """Return the results in a folder, the newest first."""
    found = []
    for path in _runs(folder)[:BACKTESTS_MAX]:
        try:
            numbers = msgspec.json.decode((path / NUMBERS).read_bytes())
        except (OSError, msgspec.DecodeError):
            continue
        plain = numbers.items() if isinstance(numbers, dict) else ()
        found.append(
            Backtest(
                name=path.name,
                title=path.name,
                time=_written(path),
                numbers={
                    key: value
                    for key, value in plain
                    if value is None or (isinstance(value, float | int | str) and is_finite(value))
                },
            )
        )
    return found


def _runs(folder: Path) -> list[Path]:
    paths = [p for p in folder.glob("*") if (p / NUMBERS).is_file() and p.name[:1] != "."]
    return sorted(paths, key=lambda p: (p / NUMBERS).stat().st_mtime_ns, reverse=True)


def _written(path: Path) -> str:
    moment = datetime.fromtimestamp((path / NUMBERS).stat().st_mtime, UTC)
    return moment.isoformat(timespec="seconds")


def report_in(folder: Path, name: str) -> str:
    """Return the report of a backtest as HTML. Raises `NotFoundError`."""
    # A name is looked for among those that are there, so that no path can be made of it.
    path = next((p / REPORT for p in _runs(folder) if p.name == name), None)
    if path is None or not path.is_file() or path.stat().st_size > REPORT_BYTES_MAX:
        raise NotFoundError(f"there is no report of a backtest {name!r}")
    return path.read_text(encoding="utf-8")
