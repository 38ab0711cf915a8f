"""A folder of models: every version of each, and which one is active.

    models/dips/state.json         which version is active, which expired, and who decided it when;
                                   and the hashes of every version that was added
    models/dips/3/model.onnx       the artifact, as it was trained
    models/dips/3/model.json       its sidecar

A version is written once and never changed, and its number is never given again: what is decided
of a number is decided of the bytes that it was given to. The bytes that are checked are the bytes
that are loaded: a file that is swapped in between is not the one that was read. What is wrong with
a model keeps its strategy out, with the reason; nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import filelock
import msgspec
import numpy as np

from onefold.adapters.models.state import VERSION, Bound, Change, State, read_state
from onefold.adapters.models.trial import survived
from onefold.domain.errors import ConfigError, ModelError, did_you_mean
from onefold.journal import write_atomic
from onefold.signals.blend import blend_of, blended
from onefold.signals.model import (
    GOLDEN_LEAST,
    NAME,
    Model,
    Sidecar,
    earliest,
    is_day,
    proof_rows,
    sidecar_of,
)
from onefold.signals.runtimes import PICKLES, SUFFIXES, predictor

STATE, SIDECAR, ARTIFACT = "state.json", "model.json", "model"
ARTIFACT_BYTES_MAX = 1 << 30
LOCK = ".lock"
LOCK_S = 60.0
"""How long a writer waits for another one."""
FRESH_S = 1.0
"""How long a session goes on with what it has read of a model's state."""


class Pin(NamedTuple):
    """What a person says of a model: the hash that it must have, and who let it trade live."""

    sha256: str = ""
    approved: str = ""


class Listed(NamedTuple):
    """One version in the store: its sidecar, or what is wrong with it.

    `expires_on` is the earliest of what was decided, what its sidecar says, and its members' dates.
    """

    name: str
    version: int
    is_active: bool
    is_expired: bool
    expires_on: str
    sidecar: Sidecar | None
    trouble: str

    @property
    def state(self) -> str:
        """Return in words where it stands: challenger, active, expired, both, or damaged."""
        if self.sidecar is None:
            return "active, damaged" if self.is_active else "damaged"
        stands = (("active", self.is_active), ("expired", self.is_expired))
        return ", ".join(word for word, holds in stands if holds) or "challenger"


class ModelStore:
    """The models of a folder.

    `today` is a date by which models expire, empty where the past is looked at. `pins` are what a
    person says of models by name. With `live` a pickle needs an approval besides its hash. With
    `by_hand` pins only say which pickles may be loaded: somebody looks after all versions, of which
    one is pinned.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        today: str = "",
        pins: Mapping[str, Pin] | None = None,
        live: bool = False,
        by_hand: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._today, self._pins, self._live = today, dict(pins or {}), live
        self._by_hand = by_hand
        self._loaded: dict[str, Model] = {}

    # -- for strategies ---------------------------------------------------------------------------

    def get(self, name: str) -> Model:
        """Return a model that has proved itself: by name (the active version) or `name@version`.

        A path to it, with or without the artifact's ending, means the name at its end. Raises
        `ModelError`.
        """
        base, version = parted(name)
        state = self.state(base)
        version = version or state.active
        if not version:
            known = ", ".join(map(str, self._versions(base)))
            raise ModelError(
                f"of model {base!r} no version is active (there are: {known}): "
                f"onefold models activate {base} VERSION"
            )
        key = f"{base}@{version}"
        if key not in self._loaded:
            self._loaded[key] = self._version(base, version, state)
        model = self._loaded[key]
        if self._today and model.expired(self._today):
            raise ModelError(f"model {model.identity} has expired on {model.expires_on}")
        return model

    def checked(self, name: str, version: int) -> Model:
        """Return a version that has proved itself, whether it has expired or not.

        Raises `ModelError`.
        """
        base = self._known(name)
        return self._version(base, version, self.state(base))

    def _version(self, name: str, version: int, state: State, above: tuple[str, ...] = ()) -> Model:
        """Return a version that is what it was when it was added; `above` are who asks for it."""
        bound = state.bound.get(str(version))
        if bound is None:
            self._sidecar(name, version)  # one that is not there, or damaged, is that first of all
            raise ModelError(
                f"nobody knows the bytes that {name}@{version} was when it was put into the store: "
                f"if you trust those that are there, onefold models activate {name} {version} again"
            )
        model, found = self._read(name, version, state, above)
        if found != bound:
            differ = [f for f in ("artifact", "members") if getattr(found, f) != getattr(bound, f)]
            raise _changed(name, version, "'s and its ".join(differ) or "sidecar")
        return model

    def _read(
        self, name: str, version: int, state: State, above: tuple[str, ...] = ()
    ) -> tuple[Model, Bound]:
        """Return a version that has proved itself, and the bytes that it is."""
        raw = self._raw_sidecar(name, version)
        known = state.bound.get(str(version))
        said = hashlib.sha256(raw).hexdigest()
        if known is not None and known.sidecar != said:
            raise _changed(name, version, "sidecar")
        sidecar = self._decoded(raw, name, version)
        model = self._proved(sidecar, self._artifact(sidecar), above)
        model.decided = _Decided(self, name, version, state)
        members = {
            f"{member.sidecar.name}@{member.sidecar.version}": member.hash
            for member in model.members
        }
        return model, Bound(sidecar.sha256, said, members)

    def _proved(self, sidecar: Sidecar, artifact: bytes, above: tuple[str, ...] = ()) -> Model:
        """Return the model of an artifact and its sidecar, once it has proved itself."""
        found = hashlib.sha256(artifact).hexdigest()
        if found != sidecar.sha256:
            raise ModelError(
                f"model {sidecar.identity}: the artifact is not the one that was trained "
                f"(sha256 {found[:16]}, its sidecar says {sidecar.sha256[:16]})"
            )
        self._check_pin(sidecar)
        key = f"{sidecar.name}@{sidecar.version}"
        try:
            if sidecar.runtime == "ensemble":
                model = blended(sidecar, artifact, _Members(self, (*above, key)))
            else:
                model = _tried(sidecar, artifact)
            model.prove()
        except (ConfigError, ModelError) as error:  # ConfigError: an extra that is not installed
            said = str(error)
            known = sidecar.identity in said
            raise ModelError(said if known else f"model {sidecar.identity}: {said}") from None
        return model

    def _check_pin(self, sidecar: Sidecar) -> None:
        pin = self._pins.get(sidecar.name, Pin())
        is_pickle = sidecar.runtime in PICKLES
        if pin.sha256 and pin.sha256 != sidecar.sha256 and (is_pickle or not self._by_hand):
            raise ModelError(
                f"model {sidecar.identity} is not the pinned one (models.{sidecar.name}.sha256)"
            )
        if not is_pickle:
            return
        if not pin.sha256:
            raise ModelError(
                f"model {sidecar.identity} is a pickle, which is a program that runs when it is "
                f"loaded: if you trust it, pin models.{sidecar.name}.sha256: {sidecar.sha256}"
            )
        if self._live and not pin.approved.strip():
            raise ModelError(
                f"model {sidecar.identity} is a pickle: live trading with it needs "
                f"models.{sidecar.name}.approved (who, when, why)"
            )

    # -- for people -------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the names of all models."""
        if not self.folder.is_dir():
            return []
        return sorted(
            p.name for p in self.folder.iterdir() if NAME.fullmatch(p.name) and p.is_dir()
        )

    def listed(self, name: str | None = None) -> list[Listed]:
        """Return every version, of one model or of all, with its state or what is wrong with it."""
        found: list[Listed] = []
        for base in self.names() if name is None else [self._known(name)]:
            versions = self._versions(base)
            try:
                state = self.state(base)
            except ModelError as error:  # the others can be listed all the same
                found += [_damaged(base, one, str(error)) for one in versions or [0]]
                continue
            found += [self._listed(base, version, state) for version in versions]
        return found

    def _listed(self, name: str, version: int, state: State) -> Listed:
        is_active = version == state.active
        try:
            sidecar = self._sidecar(name, version)
            expires_on = self._expires_on(sidecar, state)
        except ModelError as error:
            return _damaged(name, version, str(error), is_active=is_active)
        is_over = bool(self._today and expires_on and self._today >= expires_on)
        return Listed(name, version, is_active, is_over, expires_on, sidecar, "")

    def _expires_on(self, sidecar: Sidecar, state: State, above: tuple[str, ...] = ()) -> str:
        """Return when a version expires: the earliest of its own dates and its members'."""
        key = f"{sidecar.name}@{sidecar.version}"
        days = [sidecar.expires_on, state.expired.get(str(sidecar.version), "")]
        if sidecar.runtime == "ensemble":
            for name in blend_of(sidecar, self._artifact(sidecar)).members:
                base, version = _member(name, (*above, key))
                one = self._sidecar(base, version)
                if one.feature_names == sidecar.feature_names:
                    days.append(self._expires_on(one, self.state(base), (*above, key)))
        return earliest(days)

    def add(self, sidecar: Sidecar, artifact: bytes) -> Sidecar:
        """Put a model into the store under the next version, once it has proved itself.

        It is a challenger: nothing trades on it before it is activated. Raises `ModelError`.
        """
        name = sidecar.name
        if not NAME.fullmatch(name):
            raise ModelError(f"{name!r} is no name of a model: small letters, digits and _")
        numbered = _numbered(sidecar, self._next(name))
        model = self._proved(numbered, artifact)
        members = {f"{m.sidecar.name}@{m.sidecar.version}": m.hash for m in model.members}
        with self._locked(name, create=True):
            home = self.folder / name
            self._sweep(home)
            numbered = _numbered(sidecar, self._next(name))
            while (home / str(numbered.version)).exists():  # somebody who takes no lock
                numbered = _numbered(sidecar, numbered.version + 1)
            encoded = _formatted(numbered)
            bound = Bound(numbered.sha256, hashlib.sha256(encoded).hexdigest(), members)
            draft = home / f".{numbered.version}.{os.getpid()}.tmp"
            draft.mkdir()
            write_atomic(draft / _artifact_name(numbered), artifact)
            write_atomic(draft / SIDECAR, encoded)
            # Bound first: a number that nothing was put under is lost, bytes that are not bound
            # would be refused.
            self._bind(name, numbered.version, bound)
            draft.rename(home / str(numbered.version))
        return numbered

    def _next(self, name: str) -> int:
        """Return a number that no version has, or ever had."""
        last = self.state(name).last if (self.folder / name).is_dir() else 0
        return 1 + max(last, *self._versions(name), 0)

    @staticmethod
    def _sweep(home: Path) -> None:
        """Remove what writers that died have left behind; nobody else writes now."""
        for left in home.glob(".*.tmp"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)

    def activate(self, name: str, version: int, *, reason: str = "", operator: str = "") -> Model:
        """Let strategies trade on a version, once it has proved itself; return it.

        What is decided is decided of its bytes: they have to be those that were added, where that
        is known, and are those that count from now on. One that has expired may be activated too:
        backtests look at the past.
        """
        base = self._known(name)
        with self._locked(base):
            state = self.state(base)
            model = self._bound(base, version, state)
            state = self.state(base)
            changes = state.active not in (0, version)
            before = [*state.before, state.active] if changes else state.before
            change = Change(time.time_ns(), "activate", version, reason, operator)
            self._decide(base, state, change, active=version, before=before)
        return model

    def rollback(self, name: str, *, reason: str = "", operator: str = "") -> Model:
        """Go back to the version that was active before."""
        base = self._known(name)
        with self._locked(base):
            state = self.state(base)
            if not state.before:
                raise ModelError(f"model {base!r} has no version to go back to")
            *before, version = state.before
            model = self._bound(base, version, state)
            change = Change(time.time_ns(), "rollback", version, reason, operator)
            self._decide(base, self.state(base), change, active=version, before=before)
        return model

    def expire(
        self, name: str, version: int, on: str, *, reason: str = "", operator: str = ""
    ) -> None:
        """Let a version expire on a date, YYYY-MM-DD: from then on no strategy trades on it.

        Sessions that run notice it. It cannot be used for longer than its sidecar says.
        """
        if not is_day(on):
            raise ModelError(f"{on!r} is no date, YYYY-MM-DD")
        base = self._known(name)
        self._sidecar(base, version)
        with self._locked(base):
            state = self.state(base)
            change = Change(time.time_ns(), f"expire {on}", version, reason, operator)
            self._decide(base, state, change, expired={**state.expired, str(version): on})

    def _bound(self, name: str, version: int, state: State) -> Model:
        """Return a version that is decided about, and bind its bytes where nobody has."""
        if str(version) in state.bound:
            return self._version(name, version, state)
        model, bound = self._read(name, version, state)
        self._bind(name, version, bound)
        return model

    def _bind(self, name: str, version: int, bound: Bound) -> None:
        state = self.state(name)
        self._write(
            name, msgspec.structs.replace(state, bound={**state.bound, str(version): bound})
        )

    def _decide(self, name: str, state: State, change: Change, **facts: object) -> None:
        self._write(name, msgspec.structs.replace(state, changes=[*state.changes, change], **facts))

    def _write(self, name: str, state: State) -> None:
        write_atomic(self.folder / name / STATE, _formatted(state))

    @contextmanager
    def _locked(self, name: str, *, create: bool = False) -> Iterator[None]:
        """Let nobody else write to a model meanwhile. Raises `ModelError`."""
        home = self.folder / name
        try:
            if create:
                home.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(home / LOCK, timeout=LOCK_S):
                yield
        except filelock.Timeout:
            raise ModelError(
                f"somebody else has been changing model {name!r} for {LOCK_S:g} s: "
                f"{home / LOCK} is locked"
            ) from None
        except OSError as error:
            raise ModelError(f"{home} cannot be written: {error.strerror}") from None

    # -- files ------------------------------------------------------------------------------------

    def _known(self, name: str) -> str:
        base, _ = parted(name)
        if not (self.folder / base).is_dir():
            hint = did_you_mean(base, self.names())
            raise ModelError(f"there is no model {base!r} in {self.folder}{hint}")
        return base

    def state(self, name: str) -> State:
        """Return what was decided about a model."""
        return read_state(self.folder / self._known(name) / STATE)

    def _versions(self, name: str) -> list[int]:
        numbers = []
        with suppress(OSError):
            home = self.folder / name
            numbers = [int(p.name) for p in home.iterdir() if VERSION.fullmatch(p.name)]
        return sorted(numbers)

    def _sidecar(self, name: str, version: int) -> Sidecar:
        return self._decoded(self._raw_sidecar(name, version), name, version)

    def _raw_sidecar(self, name: str, version: int) -> bytes:
        try:
            return (self.folder / name / str(version) / SIDECAR).read_bytes()
        except OSError:
            known = [str(v) for v in self._versions(name)]
            raise ModelError(
                f"there is no version {version} of model {name!r}{did_you_mean('', known)}"
            ) from None

    def _decoded(self, raw: bytes, name: str, version: int) -> Sidecar:
        path = self.folder / name / str(version) / SIDECAR
        sidecar = sidecar_of(raw, str(path))
        if (sidecar.name, sidecar.version) != (name, version):
            raise ModelError(f"{path} is the sidecar of {sidecar.name}@{sidecar.version}")
        return sidecar

    def _artifact(self, sidecar: Sidecar) -> bytes:
        path = self.folder / sidecar.name / str(sidecar.version) / _artifact_name(sidecar)
        return read_artifact(path)


class _Members:
    """The store as an ensemble sees it: versions by number, none of which asks for it in turn.

    Dates are not looked at here: those of the members are among the ensemble's own.
    """

    def __init__(self, store: ModelStore, above: tuple[str, ...]) -> None:
        self._store, self._above = store, above

    def get(self, name: str) -> Model:
        """Return a member. Raises `ModelError`."""
        base, version = _member(name, self._above)
        return self._store._version(base, version, self._store.state(base), self._above)  # noqa: SLF001


def _member(name: str, above: tuple[str, ...]) -> tuple[str, int]:
    """Return name and version of an ensemble's member; `above` is the ensemble, last."""
    base, version = parted(name)
    if not version:
        raise ModelError(f"member {name!r} of an ensemble: say which version, {base}@1")
    if f"{base}@{version}" in above:
        raise ModelError(f"an ensemble asks itself: {' -> '.join((*above, f'{base}@{version}'))}")
    return base, version


class _Decided:
    """When somebody has decided that a version is over: read again while a session runs.

    Raises `ModelError` where the state cannot be read any more, or speaks of other bytes.
    """

    def __init__(self, store: ModelStore, name: str, version: int, state: State) -> None:
        self._store, self._name, self._key = store, name, str(version)
        self._bound = state.bound.get(self._key)
        self._day, self._wrong = state.expired.get(self._key, ""), ""
        self._read_at = time.monotonic()

    def __call__(self) -> str:
        if time.monotonic() - self._read_at >= FRESH_S:
            self._read()
        if self._wrong:
            raise ModelError(self._wrong)
        return self._day

    def _read(self) -> None:
        try:
            state = self._store.state(self._name)
        except ModelError as error:
            self._wrong = str(error)
        else:
            is_other = self._bound is not None and state.bound.get(self._key) != self._bound
            self._wrong = f"{self._name}@{self._key} has other bytes now" if is_other else ""
            self._day = state.expired.get(self._key, "")
        self._read_at = time.monotonic()


def _tried(sidecar: Sidecar, artifact: bytes) -> Model:
    """Return the model of an artifact that has been survived in a process of its own."""
    model = Model(sidecar, None)  # what is wrong with its features is told without that
    golden = np.array(sidecar.golden.inputs, np.float64)
    if len(golden) >= GOLDEN_LEAST:  # else it cannot be proved
        rows = np.concatenate([golden, proof_rows(sidecar)])
        survived(sidecar.runtime, artifact, rows)
        model = Model(sidecar, predictor(sidecar.runtime, artifact))
    return model


def _damaged(name: str, version: int, why: str, *, is_active: bool = False) -> Listed:
    return Listed(
        name, version, is_active, is_expired=False, expires_on="", sidecar=None, trouble=why
    )


def _changed(name: str, version: int, what: str) -> ModelError:
    return ModelError(
        f"model {name}@{version} is not what was put into the store: its {what} has changed; "
        "a version is never changed, add the other as a new one"
    )


def _numbered(sidecar: Sidecar, version: int) -> Sidecar:
    """Return a sidecar of a version, as it will be read. Raises `ModelError`."""
    numbered = msgspec.structs.replace(sidecar, version=version)
    return sidecar_of(_formatted(numbered), f"model {sidecar.name}")


def _formatted(facts: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(facts), indent=1)


def read_artifact(path: Path) -> bytes:
    """Return an artifact's bytes. Raises `ModelError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(ARTIFACT_BYTES_MAX + 1)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > ARTIFACT_BYTES_MAX:
        raise ModelError(f"{path} is larger than {ARTIFACT_BYTES_MAX >> 20} MB")
    return raw


def parted(name: str) -> tuple[str, int]:
    """Return a model's name and version, 0 for the active one: of a name, or of a path to it."""
    base = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    for suffix in SUFFIXES.values():
        base = base.removesuffix(suffix)
    base, at, version = base.partition("@")
    if not NAME.fullmatch(base) or (at and not VERSION.fullmatch(version)):
        shown = name if len(name) <= 80 else f"{name[:80]}..."
        raise ModelError(
            f"{shown!r} is no model: give its name (small letters, digits and _), or name@version"
        )
    return base, int(version or 0)


def _artifact_name(sidecar: Sidecar) -> str:
    if sidecar.runtime not in SUFFIXES:
        hint = did_you_mean(sidecar.runtime, SUFFIXES)
        raise ModelError(f"model {sidecar.identity}: no runtime {sidecar.runtime!r}{hint}")
    return ARTIFACT + SUFFIXES[sidecar.runtime]
