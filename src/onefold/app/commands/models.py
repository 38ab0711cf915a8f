"""`onefold models`: what models there are, which one strategies trade on, and since when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from onefold.adapters.models import Listed, ModelStore, Pin
from onefold.adapters.models.state import Change
from onefold.adapters.models.store import read_artifact
from onefold.app.group import Group, new_app
from onefold.app.operator import operator
from onefold.app.output import Json, emit, note, say, show, table
from onefold.app.summary import facts_table
from onefold.domain.errors import ConfigError, MissingExtra, ModelError
from onefold.signals.model import Model, Sidecar, sidecar_of
from onefold.views.wording import duration, moment, number, whole

app = new_app(Group, "Add, list, check and activate models.")

Folder = Annotated[Path, typer.Option(help="The folder of the models.")]
Name = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
Version = Annotated[int, typer.Argument(help="The version.", min=1, show_default=False)]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]
Config = Annotated[
    Path | None,
    typer.Option(
        help="Says which pickles may be loaded; onefold.yaml when left out, if it is there.",
        show_default=False,
    ),
]
MODELS, CONFIG = Path("models"), Path("onefold.yaml")
AGREES = "hashes, features and golden rows agree"
HIDDEN: tuple[Any, ...] = ("", None, [], {})
"""What a table leaves out."""
SHOWN = ("name", "version", "state", "identity", "runtime", "trained_to", "expires_on")


@app.command()
def add(
    artifact: Annotated[
        Path, typer.Argument(help="The artifact; its sidecar, .json, lies beside it.")
    ],
    folder: Folder = MODELS,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Put a model into the store as a challenger, once it has proved itself."""
    beside = artifact.with_suffix(".json")
    if not beside.is_file():
        raise ConfigError(f"{beside}: a model needs its sidecar there; see docs/models.md")
    store = _store(folder, _pins(config))
    added = store.add(sidecar_of(beside.read_bytes(), str(beside)), read_artifact(artifact))
    _tell(store, added, json_)
    note(f"nothing trades on it before: onefold models activate {added.name} {added.version}")


@app.command("list")
def list_(folder: Folder = MODELS, json_: Json = False) -> None:
    """List every version of every model, and what is wrong with those that are damaged."""
    listed = _store(folder).listed()
    if json_:
        emit([_document(one) for one in listed])
        return
    if not listed:
        say(f"there is no model in {folder}")
        return
    rows = [[str(_document(one)[key] or "") for key in SHOWN] for one in listed]
    show(table([key.replace("_", " ") for key in SHOWN], rows))
    for one in listed:
        if one.trouble:
            note(f"{one.name}@{one.version}: {one.trouble}")


@app.command("show")
def show_(name: Name, folder: Folder = MODELS, config: Config = None, json_: Json = False) -> None:
    """Show what a model is, what it was trained on, and what was decided about it."""
    model = _undated(folder, config).get(name)  # one that has expired can be looked at
    _tell(_store(folder), model.sidecar, json_, model)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The model; all when left out.")] = None,
    folder: Folder = MODELS,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Check hashes, features and golden rows of models; end with code 4 when one is wrong."""
    store = _store(folder, _pins(config))
    listed = store.listed(name)
    troubles = {f"{one.name}@{one.version}": _trouble(store, one) for one in listed}
    wrong = {key: why for key, why in troubles.items() if why}
    if json_:
        emit({"verified": sorted(troubles.keys() - wrong.keys()), "wrong": wrong})
    else:
        for key, why in troubles.items():
            say(f"{key}: {why or AGREES}")
    if wrong:
        raise typer.Exit(ModelError.exit_code)


@app.command()
def activate(
    name: Name,
    version: Version,
    reason: Reason = "",
    folder: Folder = MODELS,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Let strategies trade on a version, from their next start on."""
    store = _store(folder, _pins(config))
    model = store.activate(name, version, reason=reason, operator=operator())
    _say_active(store, model, json_)


@app.command()
def rollback(
    name: Name,
    reason: Reason = "",
    folder: Folder = MODELS,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Go back to the version that was active before."""
    store = _store(folder, _pins(config))
    model = store.rollback(name, reason=reason, operator=operator())
    _say_active(store, model, json_)


@app.command()
def expire(
    name: Name,
    version: Version,
    on: Annotated[
        str, typer.Option(help="The date, YYYY-MM-DD; today when left out.", show_default=False)
    ] = "",
    reason: Reason = "",
    folder: Folder = MODELS,
    json_: Json = False,
) -> None:
    """Let a version expire on a date: from then on no strategy trades on it."""
    try:
        day = date.fromisoformat(on or _today()).isoformat()
    except ValueError:
        raise ConfigError(f"--on: {on!r} is no date, YYYY-MM-DD") from None
    store = _store(folder)
    store.expire(name, version, day, reason=reason, operator=operator())
    listed = _version(store, name, version)
    if json_:
        emit(_document(listed))
    else:
        say(f"{name}@{version} expires on {listed.expires_on}")
    if listed.expires_on != day:
        note(f"its sidecar, or a member, says {listed.expires_on}: nothing makes that later")


@app.command()
def sample(folder: Folder = MODELS, json_: Json = False) -> None:
    """Make small models of every runtime for smoke tests, and activate them."""
    try:
        from onefold.learn.samples import samples  # noqa: PLC0415 - its libraries are an extra
    except ImportError as error:
        raise MissingExtra(f"making models ({error.name})", "learn") from None
    store = _store(folder)
    names = []
    for sidecar, artifact in samples():
        added = store.add(sidecar, artifact)
        store.activate(added.name, added.version, reason="a sample", operator=operator())
        names.append(f"{added.name}@{added.version}")
    if json_:
        emit({"samples": names})
    else:
        say(f"made and activated {', '.join(names)}; they say nothing about any market")


@app.command()
def drift(
    name: Name,
    journal: Annotated[Path, typer.Argument(help="A session's journal.", show_default=False)],
    folder: Folder = MODELS,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Compare what a model was shown and said in a session with its training."""
    from onefold.app.drifting import compared  # noqa: PLC0415 - only for this command

    found = compared(_undated(folder, config).get(name), journal)
    if json_:
        emit([{**one._asdict(), "verdict": one.verdict} for one in found.drifts])
    else:
        rows = [
            (d.name, d.verdict, whole(d.values), number(d.psi, 3), number(d.ks, 3))
            for d in found.drifts
        ]
        show(table(("", "verdict", "values", "PSI", "KS"), rows, text=2))
    note(f"compared: {found.bars}")


def _say_active(store: ModelStore, model: Model, json_: bool) -> None:
    """Say in one line which version is active now, and whether it may be used."""
    one = model.sidecar
    listed = _version(store, one.name, one.version)
    if json_:
        _tell(store, one, json_)
    else:
        until = f", until {listed.expires_on}" if listed.expires_on else ""
        say(f"{one.identity} is active{until}: strategies trade on it from their next start on")
    if listed.is_expired:
        note(
            f"warning: it has expired on {listed.expires_on}: backtests use it, sessions in real "
            "time do not"
        )


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _store(folder: Path, pins: Mapping[str, Pin] | None = None) -> ModelStore:
    return ModelStore(folder, today=_today(), pins=pins, by_hand=True)


def _undated(folder: Path, config: Path | None) -> ModelStore:
    return ModelStore(folder, pins=_pins(config), by_hand=True)


def _pins(config: Path | None) -> dict[str, Pin]:
    from onefold.app.wiring import pins_in  # noqa: PLC0415 - only where models are loaded

    if config is None and not CONFIG.is_file():
        return {}
    return pins_in(config or CONFIG)


def _version(store: ModelStore, name: str, version: int) -> Listed:
    [listed] = [one for one in store.listed(name) if one.version == version]
    return listed


def _trouble(store: ModelStore, one: Listed) -> str:
    if one.trouble:
        return one.trouble
    try:
        store.checked(one.name, one.version)
    except ModelError as error:
        return str(error)
    if one.is_expired:
        return f"it has expired on {one.expires_on}; {AGREES}"
    return ""


def _tell(store: ModelStore, sidecar: Sidecar, json_: bool, model: Model | None = None) -> None:
    listed = _version(store, sidecar.name, sidecar.version)
    changes = store.state(sidecar.name).changes
    document = {
        **_document(listed),
        "changes": [msgspec.to_builtins(c) for c in changes],
        "skipped": model.skipped if model is not None else {},
    }
    if json_:
        emit(document)
        return
    shown = {**document, **_for_people(sidecar), "changes": [_change_text(c) for c in changes]}
    rows = [(k.replace("_", " "), _text(v)) for k, v in shown.items() if v not in HIDDEN]
    show(facts_table(rows))


def _document(one: Listed) -> dict[str, Any]:
    """Return a version as plain values, without the long lists of numbers."""
    found: dict[str, Any] = dict.fromkeys(SHOWN, "")
    found |= {"name": one.name, "version": one.version, "state": one.state}
    found |= {"active": one.is_active, "expired": one.is_expired}
    if one.sidecar is None:
        return {**found, "trouble": one.trouble}
    long = ("golden", "quantiles", "feature_quantiles", "calibration", "feature_names")
    facts = msgspec.to_builtins(one.sidecar)
    plain = {key: value for key, value in facts.items() if key not in long}
    for key in ("trained_from", "trained_to"):
        plain[key] = _day(plain.get(key, 0))
    given = {"identity": one.sidecar.identity, "expires_on": one.expires_on}
    return {**found, **plain, "state": one.state, **given}


def _for_people(one: Sidecar) -> dict[str, Any]:
    """Return those facts that people read otherwise than programs."""
    length = one.interval_ns / 1e9
    return {
        "active": None,
        "expired": None,
        "interval_ns": None,
        "bars": duration(length) if length else None,
        "cusum": one.cusum or None,
        "by_row": "one by one" if one.by_row else "together",
        "metrics": {name: _metric(value) for name, value in one.metrics.items()},
    }


def _metric(value: float | None) -> str:
    if value is not None and float(value).is_integer() and abs(value) >= 2:
        return whole(int(value))
    return number(value, 5)


def _change_text(change: Change) -> str:
    when = moment(datetime.fromtimestamp(change.ts / 1e9, UTC))
    why = f": {change.reason}" if change.reason else ""
    return f"{when} UTC, {change.operator or 'somebody'}: {change.change} {change.version}{why}"


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat() if ts else ""


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{k}: {v}" for k, v in value.items())
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return str(value)
