"""The sample models under the name and with the dates that tests of models use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from onefold.learn import samples
from onefold.learn.samples import FEATURES, rows
from onefold.signals.blend import Blend
from onefold.signals.expression import feature_of
from onefold.signals.model import Golden, Sidecar

RUNTIMES = tuple(samples.RUNTIMES)
__all__ = ["FEATURES", "RUNTIMES", "artifact_of", "blend_of", "feature_of", "rows", "sidecar_of"]


def artifact_of(kind: str) -> bytes:
    return samples.artifact_of("trees" if kind == "onnx" else kind)


def sidecar_of(artifact: bytes, kind: str = "onnx", **facts: Any) -> Sidecar:
    kind = "trees" if kind == "onnx" else kind
    return samples.sidecar_of(artifact, kind, **{"name": "dips", **facts})


def blend_of(scores: Sequence[float], **facts: Any) -> tuple[Sidecar, bytes]:
    """Return a blend that scores the first rows as given, with its artifact."""
    artifact = msgspec.json.encode(Blend(**facts))
    golden = Golden(rows()[: len(scores)].tolist(), list(scores))
    return sidecar_of(artifact, "ensemble", name="both", golden=golden), artifact
