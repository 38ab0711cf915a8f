"""A folder of models: every version of each, and which one is active.

    models/dips/state.json         which version is active, which expired, and who decided it when
    models/dips/3/model.onnx       the artifact, as it was trained
    models/dips/3/model.json       its sidecar

A version is written once and never changed. The bytes that are checked are the bytes that are
loaded: a file that is swapped in between is not the one that was read. What is wrong with a model
keeps its strategy out, with the reason; nothing is guessed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from onefold.domain.errors import ConfigError, ModelError, did_you_mean
from onefold.journal import write_atomic
from onefold.signals.blend import blended
from onefold.signals.model import NAME, Model, Sidecar, sidecar_of
from onefold.signals.runtimes import PICKLES, SUFFIXES, predictor

STATE, SIDECAR, ARTIFACT = "state.json", "model.json", "model"
ARTIFACT_BYTES_MAX = 1 << 30


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision about a model: what, of which version, by whom, and why."""

    ts: int
    change: str
    version: int
    reason: str = ""
    operator: str = ""


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was decided about a model's versions; `before` are those that were active, in order."""

    active: int = 0
    before: list[int] = []
    expired: dict[str, str] = {}
    changes: list[Change] = []


class Pin(NamedTuple):
    """What a person says of a model: the hash that it must have, and who let it trade live."""

    sha256: str = ""
    approved: str = ""


class Listed(NamedTuple):
    """One version in the store: its sidecar, or what is wrong with it."""

    name: str
    version: int
    state: str
    sidecar: Sidecar | None
    trouble: str


class ModelStore:
    """The models of a folder.

    `today` is a date by which models expire, empty where the past is looked at. `pins` are what a
    person says of models by name. With `live` a pickle needs an approval besides its hash.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        today: str = "",
        pins: Mapping[str, Pin] | None = None,
        live: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._today, self._pins, self._live = today, dict(pins or {}), live
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
            self._loaded[key] = self._load(base, version, state)
        return self._loaded[key]

    def _load(self, name: str, version: int, state: State) -> Model:
        sidecar = self._sidecar(name, version)
        expired = state.expired.get(str(version), sidecar.expires_on)
        if self._today and expired and self._today >= expired:
            raise ModelError(f"model {sidecar.identity} has expired on {expired}")
        return self._version(name, version)

    def _version(self, name: str, version: int) -> Model:
        """Return a version that has proved itself, expired or not."""
        sidecar = self._sidecar(name, version)
        return self._proved(sidecar, self._artifact(sidecar))

    def _proved(self, sidecar: Sidecar, artifact: bytes) -> Model:
        """Return the model of an artifact and its sidecar, once it has proved itself."""
        found = hashlib.sha256(artifact).hexdigest()
        if found != sidecar.sha256:
            raise ModelError(
                f"model {sidecar.identity}: the artifact is not the one that was trained "
                f"(sha256 {found[:16]}, its sidecar says {sidecar.sha256[:16]})"
            )
        self._check_pin(sidecar)
        if sidecar.runtime == "ensemble":
            model = blended(sidecar, artifact, self)
        else:
            try:
                model = Model(sidecar, predictor(sidecar.runtime, artifact))
            except ConfigError as error:  # an extra that is not installed
                raise ModelError(f"model {sidecar.identity}: {error}") from None
            except ModelError as error:
                said = str(error)
                raise ModelError(
                    said if sidecar.identity in said else f"model {sidecar.identity}: {said}"
                ) from None
        model.prove()
        return model

    def _check_pin(self, sidecar: Sidecar) -> None:
        pin = self._pins.get(sidecar.name, Pin())
        if pin.sha256 and pin.sha256 != sidecar.sha256:
            raise ModelError(
                f"model {sidecar.identity} is not the pinned one (models.{sidecar.name}.sha256)"
            )
        if sidecar.runtime not in PICKLES:
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
            state = self.state(base)
            found += [self._listed(base, version, state) for version in self._versions(base)]
        return found

    def _listed(self, name: str, version: int, state: State) -> Listed:
        try:
            sidecar = self._sidecar(name, version)
        except ModelError as error:
            return Listed(name, version, "damaged", None, str(error))
        expired = state.expired.get(str(version), sidecar.expires_on)
        is_over = bool(self._today and expired and self._today >= expired)
        stands = "active" if version == state.active else "challenger"
        return Listed(name, version, "expired" if is_over else stands, sidecar, "")

    def add(self, sidecar: Sidecar, artifact: bytes) -> Sidecar:
        """Put a model into the store under the next version, once it has proved itself.

        It is a challenger: nothing trades on it before it is activated. Raises `ModelError`.
        """
        if not NAME.fullmatch(sidecar.name):
            raise ModelError(f"{sidecar.name!r} is no name of a model: small letters, digits and _")
        home = self.folder / sidecar.name
        home.mkdir(parents=True, exist_ok=True)
        numbered = msgspec.structs.replace(
            sidecar, version=max(self._versions(sidecar.name), default=0) + 1
        )
        self._proved(numbered, artifact)
        draft = home / f".{numbered.version}.{os.getpid()}.tmp"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        write_atomic(draft / _artifact_name(numbered), artifact)
        encoded = msgspec.json.format(msgspec.json.encode(numbered), indent=1)
        write_atomic(draft / SIDECAR, encoded)
        draft.rename(home / str(numbered.version))
        return numbered

    def activate(self, name: str, version: int, *, reason: str = "", operator: str = "") -> Model:
        """Let strategies trade on a version, once it has proved itself; return it.

        One that has expired may be activated too: backtests look at the past.
        """
        base = self._known(name)
        model, state = self._version(base, version), self.state(base)
        before = [*state.before, state.active] if state.active not in (0, version) else state.before
        change = Change(time.time_ns(), "activate", version, reason, operator)
        self._decide(base, state, change, active=version, before=before)
        return model

    def rollback(self, name: str, *, reason: str = "", operator: str = "") -> Model:
        """Go back to the version that was active before."""
        base = self._known(name)
        state = self.state(base)
        if not state.before:
            raise ModelError(f"model {base!r} has no version to go back to")
        *before, version = state.before
        model = self._version(base, version)
        change = Change(time.time_ns(), "rollback", version, reason, operator)
        self._decide(base, state, change, active=version, before=before)
        return model

    def expire(
        self, name: str, version: int, on: str, *, reason: str = "", operator: str = ""
    ) -> None:
        """Let a version expire on a date: from then on no strategy trades on it."""
        base = self._known(name)
        self._sidecar(base, version)
        state = self.state(base)
        change = Change(time.time_ns(), f"expire {on}", version, reason, operator)
        self._decide(base, state, change, expired={**state.expired, str(version): on})

    def _decide(self, name: str, state: State, change: Change, **facts: object) -> None:
        decided = msgspec.structs.replace(state, changes=[*state.changes, change], **facts)
        encoded = msgspec.json.format(msgspec.json.encode(decided), indent=1)
        write_atomic(self.folder / name / STATE, encoded)

    # -- files ------------------------------------------------------------------------------------

    def _known(self, name: str) -> str:
        base, _ = parted(name)
        if not (self.folder / base).is_dir():
            hint = did_you_mean(base, self.names())
            raise ModelError(f"there is no model {base!r} in {self.folder}{hint}")
        return base

    def state(self, name: str) -> State:
        """Return what was decided about a model."""
        path = self.folder / self._known(name) / STATE
        try:
            return msgspec.json.decode(path.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.DecodeError) as error:
            raise ModelError(f"{path} cannot be read: {error}") from None

    def _versions(self, name: str) -> list[int]:
        numbers = []
        with suppress(OSError):
            numbers = [int(p.name) for p in (self.folder / name).iterdir() if p.name.isdecimal()]
        return sorted(numbers)

    def _sidecar(self, name: str, version: int) -> Sidecar:
        path = self.folder / name / str(version) / SIDECAR
        try:
            raw = path.read_bytes()
        except OSError:
            known = [str(v) for v in self._versions(name)]
            raise ModelError(
                f"there is no version {version} of model {name!r}{did_you_mean('', known)}"
            ) from None
        sidecar = sidecar_of(raw, str(path))
        if (sidecar.name, sidecar.version) != (name, version):
            raise ModelError(f"{path} is the sidecar of {sidecar.name}@{sidecar.version}")
        return sidecar

    def _artifact(self, sidecar: Sidecar) -> bytes:
        path = self.folder / sidecar.name / str(sidecar.version) / _artifact_name(sidecar)
        return read_artifact(path)


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
    if not NAME.fullmatch(base) or (at and not version.isdecimal()) or (at and not int(version)):
        raise ModelError(
            f"{name!r} is no model: give its name (small letters, digits and _), or name@version"
        )
    return base, int(version or 0)


def _artifact_name(sidecar: Sidecar) -> str:
    if sidecar.runtime not in SUFFIXES:
        hint = did_you_mean(sidecar.runtime, SUFFIXES)
        raise ModelError(f"model {sidecar.identity}: no runtime {sidecar.runtime!r}{hint}")
    return ARTIFACT + SUFFIXES[sidecar.runtime]
