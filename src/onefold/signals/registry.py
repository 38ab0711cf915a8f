"""Strategies and gates by name: those that come along, and those that a user wrote in a file.

A configuration names a kind and its parameters; whatever is wrong with them is said in one line,
with the path and the nearest name.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from onefold.domain.errors import ConfigError, ModelError, OnefoldError, did_you_mean
from onefold.signals.elementwise import Elementwise
from onefold.signals.ensemble import Ensemble
from onefold.signals.gate import Gate
from onefold.signals.learned import (
    MlBreakout,
    MlDirection,
    MlIbs,
    MlMeanReversion,
    MlMomentum,
)
from onefold.signals.model import Model, Models
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
Made = TypeVar("Made", bound=Elementwise)

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
            MlBreakout,
            MlDirection,
            MlIbs,
            MlMeanReversion,
            MlMomentum,
            Momentum,
            Scalping,
        )
    }
)
"""The strategies that come with Onefold, by kind."""


class NoModels:
    """The store where there is none."""

    def get(self, name: str) -> Model:
        """Say that there is none."""
        raise ModelError(
            f"no store of models is at hand, and model {name!r} is wanted: give models"
        )


NO_MODELS = NoModels()


def strategy(kind: str, /, *, models: Models = NO_MODELS, **parameters: Any) -> Strategy:
    """Return a strategy that comes with Onefold: `strategy("crossover", fast=10, slow=30)`.

    `models` is the store for those that have a model.
    """
    return build_strategy(kind, parameters, models=models)


def build_strategy(
    kind: str,
    parameters: Mapping[str, Any],
    *,
    path: str = "",
    kinds: Kinds = STRATEGIES,
    models: Models = NO_MODELS,
) -> Strategy:
    """Return a strategy of one of `kinds` with these parameters, ready to run.

    Raises ConfigError that begins with `path`, the place in the configuration, and ModelError.
    """
    return instance_of(_class_of(kind, path, kinds), parameters, path=path, models=models)


def drafted_strategy(kind: str, parameters: Mapping[str, Any]) -> Strategy:
    """Return a strategy whose model has not been loaded: a member, which its ensemble loads."""
    return _drafted(_class_of(kind, "", STRATEGIES), parameters, "")


def _class_of(kind: str, path: str, kinds: Kinds) -> type[Strategy]:
    cls = kinds.get(kind)
    if cls is None:
        where = f"{path}." if path else ""
        raise ConfigError(
            f"{where}kind: there is no strategy {kind!r}{did_you_mean(str(kind), kinds)}"
        )
    return cls


def instance_of(
    cls: type[Made],
    parameters: Mapping[str, Any],
    *,
    path: str = "",
    models: Models = NO_MODELS,
) -> Made:
    """Return a strategy or a gate of a class with these parameters, ready to run.

    Raises ConfigError that begins with `path`, the place in the configuration, and ModelError.
    """
    made = _drafted(cls, parameters, path)
    if isinstance(made, Strategy):
        made.load_model(models)
    try:
        made.features  # noqa: B018 - builds the features, so that a bad one is found here
    except ConfigError as error:
        raise ConfigError(f"{path + '.' if path else made.kind + ': '}{error}") from None
    return made


def _drafted(cls: type[Made], parameters: Mapping[str, Any], path: str) -> Made:
    where, kind = f"{path}." if path else "", cls.kind
    unknown = sorted(set(parameters) - set(cls.model_fields))
    if unknown:
        hint = did_you_mean(unknown[0], cls.model_fields)
        raise ConfigError(f"{where}{unknown[0]}: {kind} has no such parameter{hint}")
    try:
        return cls(**parameters)
    except ValidationError as error:
        raise ConfigError(_explained(error, where or f"{kind}.")) from None
    except ConfigError as error:
        raise ConfigError(f"{where or kind + ': '}{error}") from None
    except TypeError as error:
        raise ConfigError(
            f"{where or kind + ': '}{error}; declare parameters as fields, not in __init__"
        ) from None


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


class Written(NamedTuple):
    """What a user wrote in one Python file, by kind."""

    strategies: dict[str, type[Strategy]]
    gates: dict[str, type[Gate]]


def strategies_from_source(text: str, filename: str) -> dict[str, type[Strategy]]:
    """Return the strategies that a Python file defines, by kind; as `written_in`."""
    return written_in(text, filename).strategies


def written_in(text: str, filename: str) -> Written:
    """Return the strategies and gates that a Python file defines.

    The text is run as the file's would be. Raises ConfigError that names file and line where it
    cannot be compiled or run, or where it defines neither.
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


def _defined(module: ModuleType, filename: str) -> Written:
    written = Written(
        _own(module, filename, Strategy),  # type: ignore[type-abstract]  # only its heirs are made
        _own(module, filename, Gate),  # type: ignore[type-abstract]
    )
    for kind, cls in written.strategies.items():
        if kind in STRATEGIES:
            raise ConfigError(
                f"{filename}: {cls.__name__} has the kind {kind!r} of one that comes with "
                "Onefold: give it another"
            )
    if not any(written):
        raise ConfigError(
            f"{filename}: defines no strategy; write a class that inherits onefold.signals.Strategy"
        )
    return written


def _own(module: ModuleType, filename: str, base: type[Made]) -> dict[str, type[Made]]:
    """Return the complete classes of one base that a module itself defines, by kind."""
    found: dict[str, type[Made]] = {}
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if not own or not issubclass(value, base) or value.__abstractmethods__:
            continue
        if value.kind in found and found[value.kind] is not value:
            what = "strategies" if base is Strategy else "gates"
            raise ConfigError(f"{filename}: two {what} have the kind {value.kind!r}")
        found[value.kind] = value
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
