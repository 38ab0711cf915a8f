"""M2 to M4, M7: a folder of models, of which nothing is used that has not proved itself."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import filelock
import msgspec
import pytest
import skops.io

import some_models
from onefold.adapters.models import ModelStore, Pin
from onefold.adapters.models.state import State
from onefold.adapters.models.store import parted, read_artifact
from onefold.domain.errors import ModelError
from onefold.signals.blend import Blend
from onefold.signals.model import Calibration, Sidecar

ONNX = some_models.artifact_of("onnx")


def stored(folder: Path, runtime: str = "onnx", **facts: Any) -> ModelStore:
    """Return a store with one active model."""
    artifact = some_models.artifact_of(runtime)
    sidecar = some_models.sidecar_of(artifact, runtime, **facts)
    store = ModelStore(folder, pins={"dips": Pin(sidecar.sha256)})
    store.activate("dips", store.add(sidecar, artifact).version)
    return ModelStore(folder, pins={"dips": Pin(sidecar.sha256)})


def rewrite(folder: Path, **facts: Any) -> None:
    """Change a sidecar in the store by hand, where nobody knows any more what was bound."""
    (folder / "dips" / "state.json").unlink(missing_ok=True)
    path = folder / "dips" / "1" / "model.json"
    sidecar = msgspec.json.decode(path.read_bytes(), type=Sidecar)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(sidecar, **facts)))


@pytest.mark.parametrize("runtime", some_models.RUNTIMES)
def test_a_model_of_every_runtime_comes_back(tmp_path: Path, runtime: str) -> None:
    model = stored(tmp_path, runtime).get("dips")
    assert model.identity.startswith("dips@1#")
    golden = model.sidecar.golden
    assert model.scores(some_models.rows()[:20]).tolist() == pytest.approx(golden.outputs)


@pytest.mark.parametrize(
    "name", ["dips", "dips@1", "models/dips", "strategies/models/dips", "dips.onnx", "a\\b\\dips/"]
)
def test_a_model_is_found_by_name_or_path(tmp_path: Path, name: str) -> None:
    assert stored(tmp_path).get(name).sidecar.name == "dips"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "Dips",
        "dips@",
        "dips@x",
        "dips@0",
        "a b",
        "dips@-1",
        "dips@" + "9" * 5000,
        "dips@\u0661",
    ],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="is no model"):
        parted(name)


def test_versions_are_challengers_until_activated_and_roll_back(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    sidecar = some_models.sidecar_of(ONNX)
    for version in (1, 2, 3):
        assert store.add(sidecar, ONNX).version == version
    with pytest.raises(ModelError, match=r"no version is active \(there are: 1, 2, 3\)"):
        store.get("dips")
    store.activate("dips", 1, reason="first")
    store.activate("dips", 3, reason="better", operator="me")
    states = {one.version: one.state for one in store.listed()}
    assert states == {1: "challenger", 2: "challenger", 3: "active"}
    assert store.get("dips").sidecar.version == 3
    assert store.get("dips@2").sidecar.version == 2
    store.rollback("dips", reason="it was not")
    assert ModelStore(tmp_path).get("dips").sidecar.version == 1
    with pytest.raises(ModelError, match="no version to go back to"):
        store.rollback("dips")
    changes = store.state("dips").changes
    said = [(c.change, c.version, c.reason) for c in changes]
    assert said == [
        ("activate", 1, "first"),
        ("activate", 3, "better"),
        ("rollback", 1, "it was not"),
    ]
    assert changes[1].operator == "me"


def test_what_has_expired_is_refused_from_that_day_on(tmp_path: Path) -> None:
    stored(tmp_path, expires_on="2026-12-01")
    assert ModelStore(tmp_path).get("dips")  # the past is looked at
    assert ModelStore(tmp_path, today="2026-11-30").get("dips")
    with pytest.raises(ModelError, match="has expired on 2026-12-01"):
        ModelStore(tmp_path, today="2026-12-01").get("dips")
    ModelStore(tmp_path).expire("dips", 1, "2026-11-30", reason="drift")
    later = ModelStore(tmp_path, today="2026-11-30")
    with pytest.raises(ModelError, match="has expired on 2026-11-30"):
        later.get("dips")
    assert later.listed()[0].state == "active, expired"


def test_missing_models_are_named_with_the_nearest(tmp_path: Path) -> None:
    store = stored(tmp_path)
    with pytest.raises(ModelError, match=r"no model 'dipps' in .*did you mean 'dips'"):
        store.get("dipps")
    with pytest.raises(ModelError, match="no version 7 of model 'dips'"):
        store.get("dips@7")
    with pytest.raises(ModelError, match="there is no model"):
        ModelStore(tmp_path / "nowhere").get("dips")


def test_an_artifact_that_was_swapped_or_cut_is_refused(tmp_path: Path) -> None:
    stored(tmp_path)
    path = tmp_path / "dips" / "1" / "model.onnx"
    whole = path.read_bytes()
    for wrong in (whole[:-1], b"", whole[:100] + b"x" + whole[101:]):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match="is not the one that was trained"):
            ModelStore(tmp_path).get("dips")
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        ModelStore(tmp_path).get("dips")


def test_a_file_that_is_swapped_between_check_and_load_is_not_the_one_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that were hashed are the bytes that are loaded; the file is read once."""
    stored(tmp_path)
    path, reads = tmp_path / "dips" / "1" / "model.onnx", []

    def swapped(place: Path) -> bytes:
        raw = read_artifact(place)
        reads.append(place)
        path.write_bytes(b"something else")
        return raw

    monkeypatch.setattr("onefold.adapters.models.store.read_artifact", swapped)
    assert ModelStore(tmp_path).get("dips").scores(some_models.rows()[:1]).size == 1
    assert reads == [path]


def test_a_sidecar_that_was_touched_is_refused(tmp_path: Path) -> None:
    stored(tmp_path)
    good = (tmp_path / "dips" / "1" / "model.json").read_bytes()
    for facts, said in (
        ({"version": 2}, "is the sidecar of dips@2"),
        ({"name": "other"}, "is the sidecar of other@1"),
        ({"runtime": "onxx"}, "no runtime 'onxx'; did you mean 'onnx'"),
        ({"feature_names": ["a", "b", "c"]}, "was a in training"),
        ({"features": []}, "has no features"),
        ({"runtime": "lightgbm"}, "cannot be read"),
    ):
        rewrite(tmp_path, **facts)
        with pytest.raises(ModelError, match=said):
            ModelStore(tmp_path).activate("dips", 1)
        (tmp_path / "dips" / "1" / "model.json").write_bytes(good)
    ModelStore(tmp_path).activate("dips", 1)
    (tmp_path / "dips" / "1" / "model.json").write_text("{")
    with pytest.raises(ModelError, match="not what was put into the store: its sidecar"):
        ModelStore(tmp_path).get("dips")
    [damaged] = ModelStore(tmp_path).listed()
    assert (damaged.state, "no sidecar of a model" in damaged.trouble) == ("active, damaged", True)


def test_bytes_that_no_library_understands_are_refused(tmp_path: Path) -> None:
    told = {
        "onnx": "it is no ONNX model",
        "lightgbm": "it has been cut off",
        "xgboost": "xgboost cannot load it",
        "skops": "skops cannot load it",
    }
    for runtime, said in told.items():
        golden = some_models.sidecar_of(ONNX).golden
        sidecar = some_models.sidecar_of(b"\x00nonsense", runtime, golden=golden)
        with pytest.raises(ModelError, match=f"dips@1#.*{said}"):
            ModelStore(tmp_path).add(sidecar, b"\x00nonsense")
    assert list(tmp_path.iterdir()) == []


class Canary:
    """A pickle that would leave a file behind if it ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_does_not_run_before_somebody_has_pinned_it(tmp_path: Path) -> None:
    """M1: loading a pickle is running a program."""
    canary, models = tmp_path / "it-ran", tmp_path / "models"
    bomb = pickle.dumps(Canary(canary))
    golden = some_models.sidecar_of(ONNX).golden
    sidecar = some_models.sidecar_of(bomb, "joblib", golden=golden)
    with pytest.raises(ModelError, match=r"a pickle, which is a program.*pin models.dips.sha256"):
        ModelStore(models).add(sidecar, bomb)
    wrong = {"dips": Pin("0" * 64)}
    with pytest.raises(ModelError, match="is not the pinned one"):
        ModelStore(models, pins=wrong).add(sidecar, bomb)
    skops = msgspec.structs.replace(sidecar, runtime="skops")
    with pytest.raises(ModelError, match="skops cannot load it"):
        ModelStore(models).add(skops, bomb)
    assert not canary.exists()


def test_a_pickle_needs_an_approval_to_trade_live(tmp_path: Path) -> None:
    stored(tmp_path, "joblib")
    sha256 = ModelStore(tmp_path).listed()[0].sidecar.sha256  # type: ignore[union-attr]
    pinned, approved = {"dips": Pin(sha256)}, {"dips": Pin(sha256, "me, today")}
    assert ModelStore(tmp_path, pins=pinned).get("dips")
    with pytest.raises(ModelError, match=r"live trading with it needs models\.dips\.approved"):
        ModelStore(tmp_path, pins=pinned, live=True).get("dips")
    assert ModelStore(tmp_path, pins=approved, live=True).get("dips")


def test_a_skops_file_with_types_of_its_own_is_refused(tmp_path: Path) -> None:
    artifact = skops.io.dumps(some_models.feature_of)
    golden = some_models.sidecar_of(ONNX).golden
    sidecar = some_models.sidecar_of(artifact, "skops", golden=golden)
    with pytest.raises(ModelError, match="types that nobody trusts"):
        ModelStore(tmp_path).add(sidecar, artifact)


# -- what is decided is decided of bytes -----------------------------------------------------------


def folder_of(store: Path, version: int) -> Path:
    return store / "dips" / str(version)


def test_a_version_is_the_bytes_that_were_added(tmp_path: Path) -> None:
    """Another artifact with a sidecar that fits it must not trade on somebody's decision."""
    stored(tmp_path)
    other = some_models.artifact_of("lightgbm")
    sidecar = some_models.sidecar_of(other, "lightgbm", version=1)
    (folder_of(tmp_path, 1) / "model.txt").write_bytes(other)
    (folder_of(tmp_path, 1) / "model.json").write_bytes(msgspec.json.encode(sidecar))
    store = ModelStore(tmp_path)
    for asked in (
        lambda: store.get("dips"),
        lambda: store.get("dips@1"),
        lambda: store.checked("dips", 1),
        lambda: store.activate("dips", 1),
    ):
        with pytest.raises(ModelError, match="dips@1 is not what was put into the store"):
            asked()


@pytest.mark.parametrize(
    "facts",
    [
        {"expires_on": "2099-01-01"},
        {"calibration": Calibration([0.0, 1.0], [0.5, 0.5])},
        {"interval_ns": 60 * 10**9},
    ],
)
def test_a_sidecar_is_bound_as_its_artifact_is(tmp_path: Path, facts: dict[str, Any]) -> None:
    stored(tmp_path)
    state = (tmp_path / "dips" / "state.json").read_bytes()
    rewrite(tmp_path, **facts)
    (tmp_path / "dips" / "state.json").write_bytes(state)
    with pytest.raises(ModelError, match="not what was put into the store: its sidecar"):
        ModelStore(tmp_path).get("dips")


def test_a_store_of_before_has_to_be_activated_again(tmp_path: Path) -> None:
    """Nobody knows what its decisions were about; who looks at the bytes now can say so."""
    stored(tmp_path)
    path = tmp_path / "dips" / "state.json"
    decided = msgspec.json.decode(path.read_bytes())
    del decided["bound"]
    path.write_bytes(msgspec.json.encode(decided))
    for name in ("dips", "dips@1"):
        with pytest.raises(ModelError, match="onefold models activate dips 1 again"):
            ModelStore(tmp_path).get(name)
    ModelStore(tmp_path).activate("dips", 1)
    assert ModelStore(tmp_path).get("dips@1")
    [bound] = ModelStore(tmp_path).state("dips").bound.values()
    sha256 = hashlib.sha256((folder_of(tmp_path, 1) / "model.onnx").read_bytes()).hexdigest()
    assert bound.artifact == sha256


def test_a_number_is_never_given_again(tmp_path: Path) -> None:
    store, sidecar = ModelStore(tmp_path), some_models.sidecar_of(ONNX)
    for _ in range(3):
        store.add(sidecar, ONNX)
    store.activate("dips", 2)
    store.activate("dips", 3)
    for version in (2, 3):
        shutil.rmtree(folder_of(tmp_path, version))
    assert store.add(sidecar, ONNX).version == 4
    with pytest.raises(ModelError, match="no version 3"):
        ModelStore(tmp_path).get("dips")
    # Of an older store only decisions are known.
    state = State(active=7, before=[8], expired={"9": "2026-01-01"}, changes=[])
    (tmp_path / "dips" / "state.json").write_bytes(msgspec.json.encode(state))
    assert ModelStore(tmp_path).add(sidecar, ONNX).version == 10


@pytest.mark.parametrize("day", ["20260101", "2026-W01-1", "27-01-2020", "never", ""])
def test_a_date_is_written_in_one_way(tmp_path: Path, day: str) -> None:
    """Dates in other forms do not sort as dates do: such a model would never expire."""
    store = stored(tmp_path)
    with pytest.raises(ModelError, match="is no date, YYYY-MM-DD"):
        store.expire("dips", 1, day)
    if day:
        with pytest.raises(ModelError, match=r"expires_on: .* is no date"):
            store.add(some_models.sidecar_of(ONNX, expires_on=day), ONNX)
    path = tmp_path / "dips" / "state.json"
    state = msgspec.json.decode(path.read_bytes(), type=State)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(state, expired={"1": day})))
    with pytest.raises(ModelError, match=r"state.json: expired: .* is no date"):
        ModelStore(tmp_path).get("dips")


def test_the_earliest_date_counts_and_a_session_notices_it(tmp_path: Path) -> None:
    stored(tmp_path, expires_on="2026-12-10")
    store = ModelStore(tmp_path, today="2026-11-28")
    model = store.get("dips")
    assert model.expires_on == "2026-12-10"
    store.expire("dips", 1, "2027-01-01")
    assert store.listed()[0].expires_on == "2026-12-10", "nothing makes it later"
    ModelStore(tmp_path).expire("dips", 1, "2026-12-01")
    time.sleep(1.1)
    assert model.expires_on == "2026-12-01"
    assert model.expired("2026-12-05")
    assert not model.expired("2026-11-30")
    (tmp_path / "dips" / "state.json").write_text("{")
    time.sleep(1.1)
    for _ in range(2):
        with pytest.raises(ModelError, match="cannot be read"):
            model.expired("2026-11-30")


# -- ensembles -------------------------------------------------------------------------------------


def blend(store: ModelStore, *members: str, **facts: Any) -> Sidecar:
    """Add an ensemble of samples that say the same."""
    given = {"golden": some_models.sidecar_of(ONNX).golden, "name": "both", "by_row": True}
    artifact = msgspec.json.encode(Blend(members=list(members)))
    return store.add(some_models.sidecar_of(artifact, "ensemble", **{**given, **facts}), artifact)


def test_an_ensemble_expires_with_its_first_member_and_can_be_added_after(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, today="2026-11-28")
    store.add(some_models.sidecar_of(ONNX, expires_on="2026-12-01"), ONNX)
    store.activate("both", blend(store, "dips@1").version)
    model = store.get("both")
    assert model.expires_on == "2026-12-01"
    assert {one.name: one.expires_on for one in store.listed()}["both"] == "2026-12-01"
    store.expire("dips", 1, "2026-01-01")
    later = ModelStore(tmp_path, today="2026-11-28")
    with pytest.raises(ModelError, match=r"both@1#.* has expired on 2026-01-01"):
        later.get("both")
    assert blend(later, "dips@1").version == 2, "backtests look at the past"
    assert ModelStore(tmp_path).get("both@2")


def test_an_ensemble_names_versions_and_never_itself(tmp_path: Path) -> None:
    store = stored(tmp_path)
    with pytest.raises(ModelError, match="say which version, dips@1"):
        blend(store, "dips")
    first = blend(store, "dips@1")
    with pytest.raises(ModelError, match="asks itself: both@2 -> both@2"):
        blend(store, "both@2")
    other = blend(store, "both@1", name="over")
    # Nobody can add a circle, so it is written by hand.
    artifact = msgspec.json.encode(Blend(members=["over@1"]))
    sidecar = msgspec.structs.replace(first, sha256=hashlib.sha256(artifact).hexdigest())
    (tmp_path / "both" / "1" / "model.ensemble").write_bytes(artifact)
    (tmp_path / "both" / "1" / "model.json").write_bytes(msgspec.json.encode(sidecar))
    (tmp_path / "both" / "state.json").unlink()
    with pytest.raises(ModelError, match="asks itself: both@1 -> over@1 -> both@1"):
        ModelStore(tmp_path).activate("both", 1)
    listed = {one.name: one.trouble for one in ModelStore(tmp_path).listed()}
    assert "asks itself" in listed["both"]
    assert other.version == 1


def test_an_ensemble_is_bound_to_its_members(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.activate("both", blend(store, "dips@1").version)
    before = ModelStore(tmp_path).get("both").hash
    rewrite(tmp_path, created_on="2020-01-01")
    ModelStore(tmp_path).activate("dips", 1)
    with pytest.raises(ModelError, match=r"both@1 is not what was put .*: its members"):
        ModelStore(tmp_path).get("both")
    (tmp_path / "both" / "state.json").unlink()
    assert ModelStore(tmp_path).activate("both", 1).hash != before


# -- what would kill a session ---------------------------------------------------------------------


class Hangs:
    """A pickle that never comes to an end."""

    def __reduce__(self) -> Any:
        return time.sleep, (3600.0,)


class Dies:
    """A pickle that kills its process."""

    def __reduce__(self) -> Any:
        return os.abort, ()


class Swells:
    """A pickle that wants more memory than a model may have."""

    def __reduce__(self) -> Any:
        return bytearray, (6 << 30,)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Hangs(), "does not come to an end with it within 2 s"),
        (Dies(), r"joblib dies of it \(SIGABRT\)"),
        (Swells(), "cannot load it: MemoryError"),
    ],
)
def test_what_would_kill_or_hang_a_session_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: Any, said: str
) -> None:
    """A pinned pickle stands for what a library in C may do with a bad file."""
    if isinstance(bad, Hangs):
        monkeypatch.setattr("onefold.adapters.models.trial.DEADLINE_S", 2.0)
    artifact = pickle.dumps(bad)
    sidecar = some_models.sidecar_of(artifact, "joblib", golden=some_models.sidecar_of(ONNX).golden)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(ModelError, match=f"dips@1#.*{said}"):
            ModelStore(tmp_path, pins={"dips": Pin(sidecar.sha256)}).add(sidecar, artifact)
    assert time.monotonic() - began < 25.0, "the second time nobody tries it"


# -- many writers ----------------------------------------------------------------------------------


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    store, sidecar = ModelStore(tmp_path), some_models.sidecar_of(ONNX)
    store.add(sidecar, ONNX)
    (tmp_path / "dips" / ".2.99.tmp").mkdir()
    with ThreadPoolExecutor(4) as threads:
        added = list(threads.map(lambda _: ModelStore(tmp_path).add(sidecar, ONNX), range(6)))
        assert sorted(one.version for one in added) == [2, 3, 4, 5, 6, 7]
        list(threads.map(lambda n: decide(ModelStore(tmp_path), n), range(8)))
    state = ModelStore(tmp_path).state("dips")
    assert {change.reason for change in state.changes} == {str(n) for n in range(8)}
    assert set(state.expired) == {"2", "4", "6"}
    assert len(state.bound) == 7
    assert not list((tmp_path / "dips").glob("*.tmp"))


def decide(store: ModelStore, n: int) -> None:
    if n % 2 or not n:
        store.activate("dips", 1 + n % 7, reason=str(n))
    else:
        store.expire("dips", n, "2999-01-01", reason=str(n))


def test_who_writes_for_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(tmp_path)
    monkeypatch.setattr("onefold.adapters.models.store.LOCK_S", 0.1)
    held = filelock.FileLock(tmp_path / "dips" / ".lock")
    with held, pytest.raises(ModelError, match="somebody else has been changing model 'dips'"):
        store.activate("dips", 1)


def test_a_broken_state_takes_no_other_model_out_of_the_list(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.add(some_models.sidecar_of(ONNX, name="other"), ONNX)
    (tmp_path / "dips" / "state.json").write_bytes(b"\xff")
    listed = {one.name: one for one in ModelStore(tmp_path).listed()}
    assert "state.json cannot be read" in listed["dips"].trouble
    assert listed["other"].state == "challenger"


def test_by_hand_pins_only_say_which_pickles_may_be_loaded(tmp_path: Path) -> None:
    """Else the next version could not be added before the pin of the one before was given up."""
    sidecar, pins = some_models.sidecar_of(ONNX), {"dips": Pin("0" * 64)}
    with pytest.raises(ModelError, match="is not the pinned one"):
        ModelStore(tmp_path, pins=pins).add(sidecar, ONNX)
    assert ModelStore(tmp_path, pins=pins, by_hand=True).add(sidecar, ONNX).version == 1
    bomb = some_models.artifact_of("joblib")
    with pytest.raises(ModelError, match="is not the pinned one"):
        ModelStore(tmp_path, pins=pins, by_hand=True).add(
            some_models.sidecar_of(bomb, "joblib"), bomb
        )
