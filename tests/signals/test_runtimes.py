"""M1: what can be checked of an artifact is checked before a library in C trusts it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import some_models
from onefold.domain.errors import ModelError
from onefold.signals.runtimes import check_tree, predictor

TREES = some_models.artifact_of("lightgbm").decode()


def filled(key: str, value: str) -> bytes:
    """Return LightGBM's text with every number of the first line of a kind replaced."""

    def line(found: re.Match[str]) -> str:
        return key + "=" + " ".join([value] * len(found[1].split()))

    return re.sub(key + "=([^\n]*)", line, TREES, count=1).encode()


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        (TREES[: len(TREES) // 2].encode(), "cut off"),
        (filled("left_child", "0"), "leads back into it"),
        (filled("left_child", "90000000"), "leads outside of it"),
        (filled("right_child", "-90000000"), "leads outside of it"),
        (filled("split_feature", "900000000"), "not among its 3"),
        (filled("decision_type", "1"), "split by category"),
        (TREES.replace("left_child=", "left_child=0\nleft_child=", 1).encode(), "same thing twice"),
        (TREES.replace("num_leaves=5", "num_leaves=4", 1).encode(), "branches that are missing"),
    ],
)
def test_trees_that_a_library_would_walk_out_of_are_refused(artifact: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        predictor("lightgbm", artifact)


@pytest.mark.parametrize(
    ("left", "right", "split", "good"),
    [
        ([], [], [], True),
        ([-1], [-2], [0], True),
        ([1, -1], [-2, -3], [0, 1], True),
        ([1, 0], [-2, -3], [0, 1], False),
        ([-1, -1], [-1, -2], [0, 1], False),
        ([1, -1], [-2, -4], [0, 1], False),
        ([1, -1], [-2, -3], [0, 2], False),
        ([1, -1], [-2], [0, 1], False),
    ],
)
def test_a_tree_is_a_tree(left: Any, right: Any, split: Any, good: bool) -> None:
    if good:
        check_tree(left, right, split, leaves=len(left) + 1, columns=2)
    else:
        with pytest.raises(ModelError):
            check_tree(left, right, split, leaves=3, columns=2)


def test_an_xgboost_tree_with_a_circle_is_refused() -> None:
    """The bytes are changed in place: a branch of the first tree leads to its root."""
    artifact = some_models.artifact_of("xgboost")
    found = re.search(rb"left_children\[\$l#L.{8}(.{4})", artifact, re.DOTALL)
    assert found
    assert int.from_bytes(found[1], "big") == 1
    with pytest.raises(ModelError, match="a tree"):
        predictor("xgboost", artifact[: found.start(1)] + bytes(4) + artifact[found.end(1) :])


def graph(*nodes: Any, outside: bool = False, domain: str = "") -> bytes:
    """Return an ONNX model with these nodes between `s`, the sum of a row, and its score."""
    weights = helper.make_tensor("ax", TensorProto.INT64, [1], [1])
    if outside:
        weights.data_location = TensorProto.EXTERNAL
        fact = weights.external_data.add()
        fact.key, fact.value = "location", "w.bin"
    made = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "ax"], ["s"], keepdims=1), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    sets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return bytes(helper.make_model(made, opset_imports=sets, ir_version=9).SerializeToString())


def nested() -> Any:
    """Return a condition with a random number in one branch."""
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    dice = helper.make_graph([helper.make_node("RandomUniformLike", ["s"], ["r"])], "a", [], [out])
    return helper.make_node("If", ["c"], ["p"], then_branch=dice, else_branch=dice)


@pytest.mark.parametrize(
    ("artifact", "said"),
    [
        (graph(helper.make_node("RandomUniformLike", ["s"], ["p"])), "gives a number by chance"),
        (graph(nested()), "gives a number by chance"),
        (graph(helper.make_node("Loop", ["", "c", "s"], ["p"])), "may never end"),
        (graph(helper.make_node("Gelu", ["s"], ["p"], domain="com.x"), domain="com.x"), "standard"),
        (graph(helper.make_node("Sigmoid", ["s"], ["p"]), outside=True), "in another file"),
        (b"\x00nonsense", "no ONNX model"),
    ],
)
def test_an_onnx_model_is_a_function_of_its_row(artifact: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        predictor("onnx", artifact)


def test_an_onnx_model_of_plain_operators_is_taken() -> None:
    predict = predictor("onnx", graph(helper.make_node("Sigmoid", ["s"], ["p"])))
    assert predict(np.zeros((2, 3))).tolist() == [0.5, 0.5]
