"""Features as text: `rsi(14)`, `close / sma(20) - 1`, `higher(zscore(20), "1d")`.

A model has to say which features it was trained on, in a form that outlives the program that made
it, and a person wants to write them into a configuration. The text is read as an expression of
these names and nothing else; it is never run as a program.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from onefold.domain.errors import ConfigError, did_you_mean
from onefold.signals import ours
from onefold.signals.feature import PRICE_COLUMNS, Column, Feature
from onefold.signals.indicators import TaOutputs, ta
from onefold.signals.timeframe import higher

LENGTH_MAX = 500
"""Characters of a feature's text."""

_OURS: Mapping[str, Callable[..., Feature]] = {
    f.__name__: f
    for f in (
        ours.fracdiff, ours.highest, ours.hour, ours.ibs, ours.lag, ours.log_return, ours.lowest,
        ours.mean, ours.minute, ours.parkinson, ours.std, ours.volatility, ours.weekday,
        ours.zscore, higher,
    )
}  # fmt: skip
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def feature_of(text: str) -> Feature:
    """Return the feature that a text describes.

    Names are the columns of bars, the features of `onefold.signals` and TA-Lib's functions; a
    function with several outputs is followed by the one that is meant: `macd(12, 26, 9).histogram`.
    Raises `ConfigError`.
    """
    if len(text) > LENGTH_MAX:
        raise ConfigError(f"a feature has at most {LENGTH_MAX} characters, this has {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        raise ConfigError(
            f"{text!r} is no feature: write it like rsi(14) or close / sma(20) - 1"
        ) from None
    try:
        return _feature(_value(tree.body))
    except (ConfigError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ConfigError(f"feature {text!r}: {error}") from None


def _feature(made: Any) -> Feature:
    if isinstance(made, TaOutputs):
        raise ConfigError(f"say which of its outputs: {made!r}")
    if not isinstance(made, Feature):
        raise ConfigError("this is the same at every bar")
    return made


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        return node.value
    if isinstance(node, ast.Name):
        return _column(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.Tuple):
        return tuple(_value(one) for one in node.elts)
    if isinstance(node, ast.Call):
        return _called(node)
    if isinstance(node, ast.Attribute):
        outputs = _value(node.value)
        if isinstance(outputs, TaOutputs):
            return getattr(outputs, node.attr)
    raise ConfigError(f"{ast.unparse(node)!r} has no meaning here")


def _column(name: str) -> Feature:
    if name in PRICE_COLUMNS:
        return Column(name)
    known = (*PRICE_COLUMNS, *_OURS, *dir(ta))
    is_function = name in known
    hint = f"; call it, {name}(...)" if is_function else did_you_mean(name, known)
    raise ConfigError(f"there is no column {name!r}{hint}")


def _called(node: ast.Call) -> Any:
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        is_ta, name = function.value.id == "ta", function.attr
    elif isinstance(function, ast.Name):
        is_ta, name = False, function.id
    else:
        raise ConfigError(f"{ast.unparse(function)!r} is no function")
    arguments = [_value(one) for one in node.args]
    named = {str(one.arg): _value(one.value) for one in node.keywords}
    if not is_ta and name in _OURS:
        return _OURS[name](*arguments, **named)
    if name.startswith("_") or name not in dir(ta):
        raise ConfigError(f"there is no feature {name!r}{did_you_mean(name, [*_OURS, *dir(ta)])}")
    return getattr(ta, name)(*arguments, **named)
