"""What may be written, so that every line can be read back as what it was.

JSON has no NaN and no infinities, and encoders differ in how they hide that: msgspec writes
`null`, the standard library writes `NaN`, which is not JSON. Both lose the fact, silently, in the
one file that is the proof. So nothing non-finite is written at all, and the error names the field.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from types import NoneType
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from msgspec import inspect

from onefold.domain.errors import NotJsonSafe

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

# Keys of a journal line that are the journal's own.
RESERVED_FIELDS = frozenset({"seq", "crc"})

DEPTH_MAX = 200


def json_safe(value: object, name: str = "payload") -> Json:
    """Convert to what JSON can carry without loss.

    Datetimes become ISO 8601 text, numpy scalars and arrays plain numbers and lists, structs and
    dataclasses dicts, enums their values. `name` is what errors call the value. Raises
    NotJsonSafe, naming the field, for NaN, infinities, NaT, sets, text that is not UTF-8 and
    keys that are not text after conversion.
    """
    return _convert(value, name, 0)


def _convert(value: object, name: str, depth: int) -> Json:
    if depth > DEPTH_MAX:
        message = f"{name} is nested more than {DEPTH_MAX} deep (does it contain itself?)"
        raise NotJsonSafe(message)
    for types, convert in _CONVERTERS:
        if isinstance(value, types):
            return convert(value, name, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {n: _convert(getattr(value, n), f"{name}.{n}", depth + 1) for n in names}
    return _known_to_msgspec(value, name)


def _enum(value: Enum, name: str, depth: int) -> Json:
    return _convert(value.value, name, depth + 1)


def _itself(value: bool | int | None, _name: str, _depth: int) -> Json:  # noqa: FBT001
    return value


def _text(value: str, name: str, _depth: int) -> Json:
    try:
        value.encode()
    except UnicodeEncodeError:
        message = f"{name} is {value!r}: half of a surrogate pair, which UTF-8 cannot carry"
        raise NotJsonSafe(message) from None
    return str(value)


def _float(value: float, name: str, _depth: int) -> Json:
    if not math.isfinite(value):
        kind = "NaN" if math.isnan(value) else "infinite"
        message = f"{name} is {kind}: JSON cannot carry it; write None for an absent number"
        raise NotJsonSafe(message)
    return float(value)  # a numpy.float64 is a float too, but not one that msgspec encodes


def _numpy(value: np.generic | np.ndarray, name: str, depth: int) -> Json:
    if value.dtype.kind == "M":
        if np.isnat(value).any():
            message = f"{name} is or contains NaT: JSON cannot carry it; write None instead"
            raise NotJsonSafe(message)
        # As text, for `tolist` turns nanoseconds into a bare number that has lost its unit.
        value = value.astype(str)
    if value.dtype.kind not in "biufUSO":
        message = f"{name} is a numpy {value.dtype}: JSON cannot carry it"
        raise NotJsonSafe(message)
    return _convert(value.tolist(), name, depth + 1)


def _sequence(value: Sequence[object], name: str, depth: int) -> Json:
    return [_convert(item, f"{name}[{i}]", depth + 1) for i, item in enumerate(value)]


def _mapping(value: Mapping[object, object], name: str, depth: int) -> Json:
    result: dict[str, Json] = {}
    for key, item in value.items():
        text = key if type(key) is str else _convert(key, f"a key of {name}", depth + 1)
        if isinstance(text, bool) or not isinstance(text, str | int):
            message = f"{name} has the key {key!r}: JSON keys are text"
            raise NotJsonSafe(message)
        text = str(text)
        if text in result:
            message = f"{name} has two keys that are both {text!r} as text"
            raise NotJsonSafe(message)
        result[text] = _convert(item, f"{name}.{text}", depth + 1)
    return result


def _struct(value: msgspec.Struct, name: str, depth: int) -> Json:
    result: dict[str, Json] = {}
    config = value.__struct_config__
    if config.tag_field is not None:
        result[config.tag_field] = config.tag
    for field, key in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        result[key] = _convert(getattr(value, field), f"{name}.{field}", depth + 1)
    return result


def _decimal(value: Decimal, name: str, _depth: int) -> Json:
    if not value.is_finite():
        message = f"{name} is the Decimal {value}: not a finite number; write None instead"
        raise NotJsonSafe(message)
    return str(value)


def _set(_value: object, name: str, _depth: int) -> Json:
    message = f"{name} is a set: it has no order, so equal runs would differ; sort it to a list"
    raise NotJsonSafe(message)


def _known_to_msgspec(value: object, name: str) -> Json:
    """Convert datetimes, UUIDs, bytes and the like."""
    try:
        converted: Json = msgspec.to_builtins(value, builtin_types=())
    except (TypeError, ValueError) as error:
        message = f"{name} is a {type(value).__name__}: JSON cannot carry it ({error})"
        raise NotJsonSafe(message) from None
    return converted


# Asked in this order: an enum may be text or a number too, numpy's float64 is a float.
_CONVERTERS: tuple[tuple[Any, Callable[[Any, str, int], Json]], ...] = (
    (Enum, _enum),
    (NoneType | bool | int, _itself),
    (str, _text),
    (float, _float),
    (np.generic | np.ndarray, _numpy),
    (list | tuple, _sequence),
    (Mapping, _mapping),
    (msgspec.Struct, _struct),
    (Decimal, _decimal),
    (set | frozenset, _set),
)


class RecordCheck(NamedTuple):
    """How records of one type are checked.

    `check` raises NotJsonSafe, naming the field. It need run only if the encoded record contains
    `null`, which is what a number that is not finite becomes; `always` is for types with fields
    that can go wrong in other ways (sets, decimals, anything).
    """

    check: Callable[[msgspec.Struct], None]
    always: bool


def record_check(record_type: type[msgspec.Struct]) -> RecordCheck:
    """Compile the check that a record of this type can be journaled.

    Raises NotJsonSafe when the type has no `kind` tag, or a field name that is the journal's own.
    """
    kind = _kind_of(record_type)
    scalars, lists, others = _fields_by_shape(record_type)
    # Of one name attrgetter gives the bare value: name it twice, so that a tuple comes back.
    get_scalars = attrgetter(*(scalars if len(scalars) > 1 else scalars * 2)) if scalars else None
    get_lists = [attrgetter(name) for name in lists]

    def check(record: msgspec.Struct) -> None:
        # A sum is finite only if every term is; None is no number, and zero adds nothing.
        try:
            total = sum(filter(None, get_scalars(record))) if get_scalars is not None else 0.0
            for get in get_lists:
                total += sum(filter(None, get(record) or ()))
            passed = math.isfinite(total)
        except (TypeError, OverflowError):
            passed = False
        if not passed:  # not finite, or an overflow of finite terms
            for name in scalars + lists:
                json_safe(getattr(record, name), f"{kind}.{name}")
        for name in others:
            json_safe(getattr(record, name), f"{kind}.{name}")

    return RecordCheck(check, always=bool(others))


def _kind_of(record_type: type[msgspec.Struct]) -> str:
    config = getattr(record_type, "__struct_config__", None)
    name = record_type.__name__
    if config is None or config.tag_field != "kind" or not isinstance(config.tag, str):
        message = f"{name} is no journal record: make it a msgspec.Struct with tag_field='kind'"
        raise NotJsonSafe(message)
    if not config.tag.isascii() or not config.tag.replace("-", "_").isidentifier():
        message = f"{name} has the tag {config.tag!r}: use letters, digits, '_' and '-'"
        raise NotJsonSafe(message)
    taken = RESERVED_FIELDS.intersection(record_type.__struct_encode_fields__)
    if taken:
        message = f"{name} has a field {min(taken)!r}: the journal adds that itself; rename"
        raise NotJsonSafe(message)
    return config.tag


def _fields_by_shape(record_type: type[msgspec.Struct]) -> tuple[list[str], list[str], list[str]]:
    """Sort the fields that can hold a number into scalars, lists of scalars, and others."""
    info = cast("inspect.StructType", inspect.type_info(record_type))
    scalars: list[str] = []
    lists: list[str] = []
    others: list[str] = []
    for field in info.fields:
        if _is_number(field.type):
            scalars.append(field.name)
        elif _is_list_of_numbers(field.type):
            lists.append(field.name)
        elif not _is_plain(field.type):
            others.append(field.name)
    return scalars, lists, others


def _is_number(node: inspect.Type) -> bool:
    # Integers too: a NaN from a division, put into an `int` field, would be written as null.
    if isinstance(node, inspect.UnionType):
        return all(isinstance(t, inspect.NoneType) or _is_number(t) for t in node.types)
    return isinstance(node, inspect.FloatType | inspect.IntType | inspect.BoolType)


def _is_list_of_numbers(node: inspect.Type) -> bool:
    if isinstance(node, inspect.UnionType):
        return all(isinstance(t, inspect.NoneType) or _is_list_of_numbers(t) for t in node.types)
    return isinstance(node, inspect.ListType | inspect.VarTupleType) and _is_number(node.item_type)


def _is_plain(node: inspect.Type) -> bool:
    """Tell whether the type can hold no number, however deep."""
    if isinstance(node, inspect.UnionType):
        return all(_is_plain(t) for t in node.types)
    if isinstance(node, inspect.ListType | inspect.VarTupleType):
        return _is_plain(node.item_type)
    return isinstance(
        node,
        inspect.StrType
        | inspect.BytesType
        | inspect.NoneType
        | inspect.LiteralType
        | inspect.EnumType
        | inspect.DateTimeType
        | inspect.DateType
        | inspect.UUIDType,
    )
