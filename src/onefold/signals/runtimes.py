"""The libraries that understand a model's bytes: ONNX Runtime, LightGBM, XGBoost, scikit-learn.

Each is imported only where a model needs it, and runs in one thread: with two, the order of sums
changes the last bits, and a score would depend on the machine's load. Nothing is unpickled unless
its hash was pinned by a person, since a pickle is a program.

Libraries in C trust what they read: a tree whose branches lead nowhere or in a circle kills or
hangs the process, perhaps at one rare row. So what can be checked of an artifact is checked here;
the store also tries each in a process of its own first. This module is loaded there by its path,
and so imports little.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from onefold.domain.columns import Floats
from onefold.domain.errors import MissingExtra, ModelError, did_you_mean

if TYPE_CHECKING:
    from onefold.signals.model import Predict

SUFFIXES: Mapping[str, str] = {
    "onnx": ".onnx",
    "lightgbm": ".txt",
    "xgboost": ".ubj",
    "skops": ".skops",
    "joblib": ".joblib",
    "ensemble": ".ensemble",
}
"""The runtimes, and how the names of their artifacts end."""
PICKLES = frozenset({"joblib"})
"""Runtimes whose artifacts are programs that run when they are loaded."""

ONNX_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Sets of operators whose meaning is a standard's; others are programs of somebody."""
ONNX_BANNED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike"),
            *("RandomUniform", "RandomUniformLike"),
        ),
        "gives a number by chance",
    ),
    **dict.fromkeys(("Loop", "Scan", "SequenceMap"), "may never end"),
}
"""Operators that no model to trade on may have, and why."""
NESTED_MAX = 8
"""How deep graphs may lie in each other."""


def predictor(runtime: str, artifact: bytes) -> Predict:
    """Return the function that scores rows, from an artifact whose hash has been checked.

    Raises `ModelError` for bytes that the library does not understand, `MissingExtra`.
    """
    load = _LOADERS.get(runtime)
    if load is None:
        raise ModelError(f"there is no runtime {runtime!r}{did_you_mean(runtime, _LOADERS)}")
    try:
        return load(artifact)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - a library's errors have no common parent
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{runtime} cannot load it: {type(error).__name__}: {reason}") from None


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtra(f"a model of {name}", "ml") from None


def _onnx(artifact: bytes) -> Predict:
    _check_onnx(artifact)
    ort = _library("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type not in {"tensor(float)", "tensor(double)"}:
        raise ModelError("an ONNX model takes one matrix of numbers")
    kind = np.float32 if inputs[0].type == "tensor(float)" else np.float64
    tensors = [o.name for o in outputs if o.type in {"tensor(float)", "tensor(double)"}]
    if not tensors:
        found = ", ".join(o.type for o in outputs)
        raise ModelError(f"an ONNX model gives a tensor of probabilities, not {found}")
    name, wanted, run = inputs[0].name, tensors[-1:], session.run

    def predict(rows: Floats) -> Any:
        return _last_column(run(wanted, {name: rows.astype(kind)})[0])

    return predict


def _last_column(scores: Any) -> Any:
    """Return the probability of the last class, of scores of any usual shape."""
    return scores if scores.ndim == 1 else scores[:, -1]


def _check_onnx(artifact: bytes) -> None:
    """Refuse an ONNX model that is more than a function of its row.

    Numbers of fields are those of onnx.proto, ModelProto and GraphProto.
    """
    for field, value in _fields(artifact):
        if field == 7 and isinstance(value, bytes):
            _check_graph(value, 1)
        elif field in {20, 25}:
            raise ModelError("an ONNX model has no training and no functions of its own")


def _check_graph(graph: bytes, depth: int) -> None:
    if depth > NESTED_MAX:
        raise ModelError(f"its graphs lie deeper in each other than {NESTED_MAX}")
    for field, value in _fields(graph):
        if not isinstance(value, bytes):
            continue
        if field == 1:
            _check_node(value, depth)
        elif field == 5:
            _check_tensor(value)
        elif field == 15:
            for _, part in _fields(value):
                if isinstance(part, bytes):
                    _check_tensor(part)


def _check_node(node: bytes, depth: int) -> None:
    facts = list(_fields(node))
    texts = {field: value for field, value in facts if isinstance(value, bytes)}
    kind, domain = (texts.get(n, b"").decode("utf-8", "replace") for n in (4, 7))
    if domain not in ONNX_DOMAINS:
        raise ModelError(f"its operator {kind} is of {domain!r}, which is no standard")
    if kind in ONNX_BANNED:
        raise ModelError(f"its operator {kind} {ONNX_BANNED[kind]}")
    for field, attribute in facts:
        if field != 5 or not isinstance(attribute, bytes):
            continue
        for part, value in _fields(attribute):
            if isinstance(value, bytes) and part in {6, 11}:
                _check_graph(value, depth + 1)
            elif isinstance(value, bytes) and part in {5, 10}:
                _check_tensor(value)


def _check_tensor(tensor: bytes) -> None:
    if any(field == 13 or (field == 14 and value) for field, value in _fields(tensor)):
        raise ModelError("its numbers lie in another file, which nobody has hashed")


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message in the wire format of Protocol Buffers: number and value."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(raw, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            size, at = _varint(raw, at)
        if kind not in {1, 2, 5} or at + size > len(raw):
            raise ModelError("it is no ONNX model")
        yield key >> 3, raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(10):
        if at + n >= len(raw):
            break
        value |= (raw[at + n] & 0x7F) << (7 * n)
        if raw[at + n] < 0x80:
            return value, at + n + 1
    raise ModelError("it is no ONNX model")


def check_tree(
    left: Sequence[int], right: Sequence[int], split: Sequence[int], *, leaves: int, columns: int
) -> None:
    """Refuse a tree whose branches lead outside, or to a place that was reached before.

    `left` and `right` have the next node of every one that splits, -1 - i for leaf i; `split` the
    column that it looks at.
    """
    if not len(left) == len(right) == len(split):
        raise ModelError("a tree has branches that are missing")
    if any(not 0 <= column < columns for column in split):
        raise ModelError(f"a tree looks at a feature that is not among its {columns}")
    seen, waiting = set(), [0] if left else []
    while waiting:
        node = waiting.pop()
        if node >= len(left) or -1 - node >= leaves:
            raise ModelError("a branch of a tree leads outside of it")
        if node in seen:
            raise ModelError("a branch of a tree leads back into it")
        seen.add(node)
        if node >= 0:
            waiting += [int(left[node]), int(right[node])]


def _check_lightgbm(text: str) -> None:
    """Refuse trees that the library would read or walk out of bounds."""
    trees, end, _ = text.partition("\nend of trees\n")
    if not end:
        raise ModelError("it has been cut off")
    head, *blocks = trees.split("\nTree=")
    columns = int(_facts(head)["max_feature_idx"]) + 1
    for block in blocks:
        facts = _facts(block)
        leaves, nodes = int(facts["num_leaves"]), int(facts["num_leaves"]) - 1
        if facts.get("is_linear", "0") != "0":
            raise ModelError("its leaves are linear models, which are not supported")
        left, right, split, kinds = (
            [int(n) for n in facts.get(key, "").split()]
            for key in ("left_child", "right_child", "split_feature", "decision_type")
        )
        cuts, values = facts.get("threshold", "").split(), facts.get("leaf_value", "").split()
        if not (len(left) == len(kinds) == len(cuts) == nodes and len(values) == leaves):
            raise ModelError("a tree has branches that are missing")
        check_tree(left, right, split, leaves=leaves, columns=columns)
        if any(kind & 1 for kind in kinds):
            raise ModelError("its trees split by category, which is not supported")


def _facts(block: str) -> dict[str, str]:
    """Return the lines `key=value` of a part of LightGBM's text."""
    lines = [line.partition("=") for line in block.split("\n") if "=" in line]
    facts = {key: value for key, _, value in lines}
    if len(facts) != len(lines):
        raise ModelError("it says the same thing twice")
    return facts


def _lightgbm(artifact: bytes) -> Predict:
    lines = artifact.decode().split("\n")
    # Without the sizes of the trees the library reads the text as it was checked here.
    text = "\n".join(line for line in lines if not line.startswith("tree_sizes=")) + "\n"
    _check_lightgbm(text)
    booster = _library("lightgbm").Booster(model_str=text)
    return lambda rows: _last_column(booster.predict(rows, num_threads=1))


def _xgboost(artifact: bytes) -> Predict:
    xgboost = _library("xgboost")
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(artifact))
    booster.set_param({"nthread": 1})
    _check_xgboost(json.loads(bytes(booster.save_raw("json"))))
    return lambda rows: _last_column(booster.inplace_predict(rows))


def _check_xgboost(model: Any) -> None:
    """Refuse trees that the library would walk out of bounds."""
    learner = model["learner"]
    booster = learner["gradient_booster"]
    columns = int(learner["learner_model_param"]["num_feature"])
    for tree in booster.get("gbtree", booster)["model"].get("trees", []):
        if any(tree.get("split_type", [])):
            raise ModelError("its trees split by category, which is not supported")
        _check_nodes(tree["left_children"], tree["right_children"], tree["split_indices"], columns)


def _check_nodes(
    left: Sequence[int], right: Sequence[int], split: Sequence[int], columns: int
) -> None:
    """Refuse a tree whose leaves are nodes like the others, without children (-1)."""
    inner = [n for n, child in enumerate(left) if child != -1]
    leaves = [n for n, child in enumerate(left) if child == -1]
    place = {n: i for i, n in enumerate(inner)} | {n: -1 - i for i, n in enumerate(leaves)}
    outside = len(left)
    if inner and inner[0] != 0:
        raise ModelError("a branch of a tree leads back into it")
    check_tree(
        [place.get(left[n], outside) for n in inner],
        [place.get(right[n], outside) for n in inner],
        [split[n] for n in inner],
        leaves=len(leaves),
        columns=columns,
    )


def _skops(artifact: bytes) -> Predict:
    files = _library("skops.io")
    unknown = files.get_untrusted_types(data=artifact)
    if unknown:
        raise ModelError(f"it holds types that nobody trusts: {', '.join(sorted(unknown)[:5])}")
    estimator = files.loads(artifact, trusted=[])
    for tree in _trees(estimator, set()):
        left, right, split = tree.children_left, tree.children_right, tree.feature
        _check_nodes(left.tolist(), right.tolist(), split.tolist(), tree.n_features)
    return _estimator(estimator)


def _trees(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the trees of scikit-learn in an estimator, however it holds them."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if hasattr(thing, "children_left"):
        yield thing
    elif isinstance(thing, (list, tuple)) or (isinstance(thing, np.ndarray) and thing.dtype == "O"):
        for part in thing:
            yield from _trees(part, seen)
    elif isinstance(thing, dict) or hasattr(thing, "__dict__"):
        for part in list((thing if isinstance(thing, dict) else vars(thing)).values()):
            yield from _trees(part, seen)


def _joblib(artifact: bytes) -> Predict:
    return _estimator(_library("joblib").load(io.BytesIO(artifact)))


def _estimator(estimator: Any) -> Predict:
    if hasattr(estimator, "predict_proba"):
        return lambda rows: _last_column(estimator.predict_proba(rows))
    if hasattr(estimator, "predict"):
        predict: Predict = estimator.predict
        return predict
    raise ModelError(f"a {type(estimator).__name__} cannot predict")


_LOADERS: Mapping[str, Callable[[bytes], Predict]] = {
    "onnx": _onnx,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "skops": _skops,
    "joblib": _joblib,
}
