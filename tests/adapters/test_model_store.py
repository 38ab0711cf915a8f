"""M2 to M4, M7: a folder of models, of which nothing is used that has not proved itself."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest
import skops.io

import some_models
from onefold.adapters.models import ModelStore, Pin
from onefold.adapters.models.store import parted, read_artifact
from onefold.domain.errors import ModelError
from onefold.signals.model import Sidecar

ONNX = some_models.artifact_of("onnx")


def stored(folder: Path, runtime: str = "onnx", **facts: Any) -> ModelStore:
    """Return a store with one active model."""
    artifact = some_models.artifact_of(runtime)
    sidecar = some_models.sidecar_of(artifact, runtime, **facts)
    store = ModelStore(folder, pins={"dips": Pin(sidecar.sha256)})
    store.activate("dips", store.add(sidecar, artifact).version)
    return ModelStore(folder, pins={"dips": Pin(sidecar.sha256)})


def rewrite(folder: Path, **facts: Any) -> None:
    """Change a sidecar in the store by hand."""
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


@pytest.mark.parametrize("name", ["", "..", "Dips", "dips@", "dips@x", "dips@0", "a b", "dips@-1"])
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
    assert later.listed()[0].state == "expired"


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
            ModelStore(tmp_path).get("dips")
        (tmp_path / "dips" / "1" / "model.json").write_bytes(good)
    (tmp_path / "dips" / "1" / "model.json").write_text("{")
    with pytest.raises(ModelError, match="no sidecar of a model"):
        ModelStore(tmp_path).get("dips")
    assert ModelStore(tmp_path).listed()[0].state == "damaged"


def test_bytes_that_no_library_understands_are_refused(tmp_path: Path) -> None:
    for runtime in ("onnx", "lightgbm", "xgboost", "skops"):
        golden = some_models.sidecar_of(ONNX).golden
        sidecar = some_models.sidecar_of(b"\x00nonsense", runtime, golden=golden)
        with pytest.raises(ModelError, match=f"dips@1#.*{runtime} cannot load it"):
            ModelStore(tmp_path).add(sidecar, b"\x00nonsense")
    assert list((tmp_path / "dips").iterdir()) == []


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
