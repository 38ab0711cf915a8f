"""`onefold models`: what models there are, which one strategies trade on, and since when."""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from onefold.adapters.models import Listed, ModelStore
from onefold.adapters.models.store import read_artifact
from onefold.app.group import Group, new_app
from onefold.app.output import Json, emit, note, say, show, table
from onefold.app.summary import facts_table
from onefold.domain.errors import ConfigError, MissingExtra, ModelError
from onefold.signals.model import Model, Sidecar, sidecar_of
from onefold.views.wording import number, whole

app = new_app(Group, "Add, list, check and activate models.")

Folder = Annotated[Path, typer.Option(help="The folder of the models.")]
Name = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
Version = Annotated[int, typer.Argument(help="The version.", min=1, show_default=False)]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]
MODELS = Path("models")
SHOWN = ("name", "version", "state", "identity", "runtime", "trained_to", "expires_on")


@app.command()
def add(
    artifact: Annotated[
        Path, typer.Argument(help="The artifact; its sidecar, .json, lies beside it.")
    ],
    folder: Folder = MODELS,
    json_: Json = False,
) -> None:
    """Put a model into the store as a challenger, once it has proved itself."""
    beside = artifact.with_suffix(".json")
    if not beside.is_file():
        raise ConfigError(f"{beside}: a model needs its sidecar there; see docs/models.md")
    store = _store(folder)
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
def show_(name: Name, folder: Folder = MODELS, json_: Json = False) -> None:
    """Show what a model is, what it was trained on, and what was decided about it."""
    store = _store(folder)
    model = store.get(name)
    _tell(store, model.sidecar, json_, model)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The model; all when left out.")] = None,
    folder: Folder = MODELS,
    json_: Json = False,
) -> None:
    """Check hashes, features and golden rows of models; end with code 4 when one is wrong."""
    store = _store(folder)
    listed = store.listed(name)
    troubles = {f"{one.name}@{one.version}": _trouble(store, one) for one in listed}
    wrong = {key: why for key, why in troubles.items() if why}
    if json_:
        emit({"verified": sorted(troubles.keys() - wrong.keys()), "wrong": wrong})
    else:
        for key, why in troubles.items():
            say(f"{key}: {why or 'hash, features and golden rows agree'}")
    if wrong:
        raise typer.Exit(ModelError.exit_code)


@app.command()
def activate(
    name: Name, version: Version, reason: Reason = "", folder: Folder = MODELS, json_: Json = False
) -> None:
    """Let strategies trade on a version, from their next start on."""
    store = _store(folder)
    model = store.activate(name, version, reason=reason, operator=getpass.getuser())
    _tell(store, model.sidecar, json_)
    listed = _version(store, name, version)
    if listed.state == "expired":
        note(f"{model.identity} has expired: backtests use it, sessions in real time do not")


@app.command()
def rollback(name: Name, reason: Reason = "", folder: Folder = MODELS, json_: Json = False) -> None:
    """Go back to the version that was active before."""
    store = _store(folder)
    model = store.rollback(name, reason=reason, operator=getpass.getuser())
    _tell(store, model.sidecar, json_)


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
    day = on or _today()
    try:
        date.fromisoformat(day)
    except ValueError:
        raise ConfigError(f"--on: {on!r} is no date, YYYY-MM-DD") from None
    store = _store(folder)
    store.expire(name, version, day, reason=reason, operator=getpass.getuser())
    listed = _version(store, name, version)
    if json_:
        emit(_document(listed))
    else:
        say(f"{name}@{version} expires on {day}")


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
        store.activate(added.name, added.version, reason="a sample", operator=getpass.getuser())
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
    json_: Json = False,
) -> None:
    """Compare what a model was shown and said in a session with its training."""
    from onefold.app.drifting import drift_of  # noqa: PLC0415 - only for this command

    found = drift_of(ModelStore(folder).get(name), journal)
    if json_:
        emit([{**one._asdict(), "verdict": one.verdict} for one in found])
        return
    rows = [
        (
            d.name,
            d.verdict,
            whole(d.values),
            number(d.psi, 3),
            number(d.ks, 3),
            number(d.p_value, 4),
        )
        for d in found
    ]
    show(table(("", "verdict", "values", "PSI", "KS", "p-value"), rows, text=2))


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _store(folder: Path) -> ModelStore:
    return ModelStore(folder, today=_today())


def _version(store: ModelStore, name: str, version: int) -> Listed:
    [listed] = [one for one in store.listed(name) if one.version == version]
    return listed


def _trouble(store: ModelStore, one: Listed) -> str:
    if one.trouble:
        return one.trouble
    try:
        store.get(f"{one.name}@{one.version}")
    except ModelError as error:
        return str(error)
    return ""


def _tell(store: ModelStore, sidecar: Sidecar, json_: bool, model: Model | None = None) -> None:
    listed = _version(store, sidecar.name, sidecar.version)
    document = {
        **_document(listed),
        "changes": [msgspec.to_builtins(c) for c in store.state(sidecar.name).changes],
        "skipped": model.skipped if model is not None else {},
    }
    if json_:
        emit(document)
        return
    rows = [(k.replace("_", " "), _text(v)) for k, v in document.items() if v not in ("", [], {})]
    show(facts_table(rows))


def _document(one: Listed) -> dict[str, Any]:
    """Return a version as plain values, without the long lists of numbers."""
    found: dict[str, Any] = dict.fromkeys(SHOWN, "")
    found |= {"name": one.name, "version": one.version, "state": one.state}
    if one.sidecar is None:
        return {**found, "trouble": one.trouble}
    long = ("golden", "quantiles", "feature_quantiles", "calibration", "feature_names")
    facts = msgspec.to_builtins(one.sidecar)
    plain = {key: value for key, value in facts.items() if key not in long}
    for key in ("trained_from", "trained_to"):
        plain[key] = _day(plain.get(key, 0))
    return {**found, **plain, "state": one.state, "identity": one.sidecar.identity}


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, UTC).date().isoformat() if ts else ""


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{k}: {v}" for k, v in value.items())
    if isinstance(value, list):
        return "\n".join(_text(one) if isinstance(one, dict) else str(one) for one in value)
    return str(value)
