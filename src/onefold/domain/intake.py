"""Take a record in as what its fields say, or say what is wrong with it.

Programs hand over `price=100` and numpy's numbers. JSON would write the one as `100` and read it
back as `100.0`, so that a replay of the journal differs from the run in bytes; the others it cannot
write at all. Here every field becomes the plain kind of number that its record promises, once and
before anything is recorded or folded, and what no market has is refused before it overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import inspect

from onefold.domain.bounds import LOTS_MAX, NUMBER_MAX, RATIO_MAX, TS_MAX
from onefold.domain.errors import DataError
from onefold.domain.records import (
    Action,
    Adoption,
    Bar,
    Command,
    Fill,
    Mandate,
    OrderNotice,
    Quarantined,
)

KINDS = (Bar, Quarantined, Action, Adoption, Command, Mandate, Fill, OrderNotice)
Given = TypeVar(
    "Given", bound=Bar | Quarantined | Action | Adoption | Command | Mandate | Fill | OrderNotice
)


class _Numbers(NamedTuple):
    """The fields of a record that are numbers, and how to read them at once."""

    decimal: tuple[str, ...]
    whole: tuple[str, ...]
    decimals: Callable[[Any], tuple[Any, ...]]
    wholes: Callable[[Any], tuple[Any, ...]]


def admitted(record: Given) -> Given:
    """Return a record with plain numbers: the same one where it has them already.

    Raises `DataError` that names the field for one of another kind, NaN, and what is beyond
    `bounds`.
    """
    numbers = _NUMBERS.get(type(record))
    if numbers is None:
        raise DataError(f"a {type(record).__name__} is no input and no answer of a venue")
    for value in numbers.decimals(record):
        if value is not None and not (type(value) is float and -NUMBER_MAX <= value <= NUMBER_MAX):
            return _mended(record)
    for value in numbers.wholes(record):
        if value is not None and not (type(value) is int and -TS_MAX <= value <= TS_MAX):
            return _mended(record)
    _check_size(record)
    return record


def _mended(record: Given) -> Given:
    """Return a record with its numbers converted, and each held against its bounds."""
    try:
        plain = msgspec.to_builtins(record, enc_hook=_plain)
        made: Given = msgspec.convert(plain, type(record))
    except (msgspec.ValidationError, TypeError) as error:
        raise _refused(record, str(error).replace(" - at `$.", " in `")) from None
    numbers = _NUMBERS[type(record)]
    for names, limit in ((numbers.decimal, NUMBER_MAX), (numbers.whole, TS_MAX)):
        for name in names:
            value = getattr(made, name)
            if value is not None and not -limit <= value <= limit:
                raise _refused(record, f"{name} must be a number up to {limit:g}, not {value}")
    _check_size(made)
    return made


def _check_size(record: Any) -> None:
    """Refuse what is within the bounds of its kind, but beyond those of its meaning."""
    if type(record) is Fill and not 0 < record.qty <= LOTS_MAX:
        raise _refused(record, f"qty must be 1 to {LOTS_MAX} lots, not {record.qty}")
    if type(record) is Adoption and not 0 < abs(record.qty) <= LOTS_MAX:
        raise _refused(record, f"qty must be 1 to {LOTS_MAX} lots either way, not {record.qty}")
    is_split = type(record) is Action and record.action == "split" and record.value > 0
    if is_split and not 1 / RATIO_MAX <= record.value <= RATIO_MAX:
        reason = f"the ratio of a split is at most {RATIO_MAX:,.0f} to 1, not {record.value:g}"
        raise _refused(record, reason)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no value of a record")


def _refused(record: Any, reason: str) -> DataError:
    of = f" of {record.instrument}" if record.instrument else ""
    return DataError(f"{record.__struct_config__.tag}{of} at {record.ts}: {reason}")


def _numbers_of(kind: type[msgspec.Struct]) -> _Numbers:
    decimal, whole = [], []
    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        if any(isinstance(x, inspect.FloatType) for x in kinds):
            decimal.append(field.name)
        elif any(isinstance(x, inspect.IntType) for x in kinds):
            whole.append(field.name)
    return _Numbers(tuple(decimal), tuple(whole), _getter(decimal), _getter(whole))


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    # Of one name attrgetter gives the bare value: name it twice, so that a tuple comes back.
    return attrgetter(*(names if len(names) > 1 else names * 2))


_NUMBERS: dict[type[msgspec.Struct], _Numbers] = {kind: _numbers_of(kind) for kind in KINDS}
