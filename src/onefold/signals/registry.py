"""Strategies by name: those that come along, and those that a user wrote in a Python file.

A configuration names a kind and its parameters; whatever is wrong with them is said in one line,
with the path and the nearest name.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from pydantic import ValidationError

from onefold.domain.errors import ConfigError, OnefoldError, did_you_mean
from onefold.signals.ensemble import Ensemble
from onefold.signals.strategies import (
    Breakout,
    Crossover,
    IbsA,
    IbsB,
    MeanReversion,
    Momentum,
    Scalping,
)
from onefold.signals.strategy import Strategy

Kinds = Mapping[str, type[Strategy]]

STRATEGIES: Kinds = MappingProxyType(
    {
        cls.kind: cls
        for cls in (
            Breakout,
            Crossover,
            Ensemble,
            IbsA,
            IbsB,
            MeanReversion,
            Momentum,
            Scalping,
        )
    }
)
"""The strategies that come with Onefold, by kind."""


def strategy(kind: str, /, **parameters: Any) -> Strategy:
    """Return a strategy that comes with Onefold: `strategy("crossover", fast=10, slow=30)`."""
    return build_strategy(kind, parameters)


def build_strategy(
    kind: str, parameters: Mapping[str, Any], *, path: str = "", kinds: Kinds = STRATEGIES
) -> Strategy:
    """Return a strategy of one of `kinds` with these parameters.

    Raises ConfigError that begins with `path`, the place in the configuration.
    """
    where = f"{path}." if path else ""
    cls = kinds.get(kind)
    if cls is None:
        raise ConfigError(
            f"{where}kind: there is no strategy {kind!r}{did_you_mean(str(kind), kinds)}"
        )
    unknown = sorted(set(parameters) - set(cls.model_fields))
    if unknown:
        hint = did_you_mean(unknown[0], cls.model_fields)
        raise ConfigError(f"{where}{unknown[0]}: {kind} has no such parameter{hint}")
    try:
        made = cls(**parameters)
        made.features  # noqa: B018 - builds the features, so that a bad one is found here
    except ValidationError as error:
        raise ConfigError(_explained(error, where or f"{kind}.")) from None
    except ConfigError as error:
        raise ConfigError(f"{where or kind + ': '}{error}") from None
    except TypeError as error:
        raise ConfigError(
            f"{where or kind + ': '}{error}; declare parameters as fields, not in __init__"
        ) from None
    return made


def _explained(error: ValidationError, where: str) -> str:
    """Return what pydantic found in one line."""
    said = []
    for detail in error.errors(include_url=False):
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        given = "" if isinstance(detail["input"], (dict, list)) else f" (got {detail['input']!r})"
        if detail["type"] in {"value_error", "missing"}:
            given = ""
        said.append(f"{where.rstrip('.')}{place}: {message}{given}")
    return "; ".join(said)


def strategies_from_source(text: str, filename: str) -> dict[str, type[Strategy]]:
    """Return the strategies that a Python file defines, by kind.

    The text is run as the file's would be. Raises ConfigError that names file and line where it
    cannot be compiled or run, or where it defines no strategy.
    """
    module = ModuleType("onefold_user_" + "".join(c if c.isalnum() else "_" for c in filename))
    module.__file__ = filename
    try:
        code = compile(text, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        reason = getattr(error, "msg", None) or str(error)
        raise ConfigError(f"{filename}, line {line}: {reason}") from None
    # Tracebacks look the source up by file name, dataclasses and pickle the module by its name.
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the user's own file is the purpose
    except Exception as error:
        del sys.modules[module.__name__]
        raise ConfigError(f"{filename}, line {_line(error, filename)}: {_said(error)}") from error
    return _defined(module, filename)


def _defined(module: ModuleType, filename: str) -> dict[str, type[Strategy]]:
    found: dict[str, type[Strategy]] = {}
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if not own or not issubclass(value, Strategy) or value.__abstractmethods__:
            continue
        if value.kind in STRATEGIES:
            raise ConfigError(
                f"{filename}: {value.__name__} has the kind {value.kind!r} of one that comes with "
                "Onefold: give it another"
            )
        if value.kind in found and found[value.kind] is not value:
            raise ConfigError(f"{filename}: two strategies have the kind {value.kind!r}")
        found[value.kind] = value
    if not found:
        raise ConfigError(
            f"{filename}: defines no strategy; write a class that inherits onefold.signals.Strategy"
        )
    return found


def _line(error: BaseException, filename: str) -> int:
    """Return the last line of the file that the error passed through."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, OnefoldError) else f"{type(error).__name__}: {error}"
