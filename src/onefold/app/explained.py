"""Say what is wrong with settings in the words of the person who wrote them.

The validator speaks of inputs, tags and unions; people think of the keys in their file. Here its
findings become lines such as `strategies.trend.sizing.fraction: must be greater than 0 (got -1)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from onefold.domain.errors import did_you_mean

GIVEN_MAX = 60
"""Characters of a wrong value that an error shows."""

INJECTED = frozenset({"instrument", "symbol"})
"""Fields that are filled in from elsewhere, and not to be suggested."""


class Member(NamedTuple):
    """One thing that may stand at a place: its tag in a union ("" for none), and its type."""

    tag: str
    type: Any


class Place(NamedTuple):
    """A place in the settings: its path as written, and what may stand there."""

    path: str
    members: list[Member]


def explained(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return a line for everything that is wrong, each beginning with the path of its key."""
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        path, text = _line(detail, locate(model, detail["loc"]))
        # A plain union tells of every member that did not fit; the first is the one to explain.
        lines.setdefault(path, text)
    return [f"{path}: {text}" if path else text for path, text in lines.items()]


def locate(model: type[BaseModel], loc: Sequence[int | str]) -> Place:
    """Return a validator's location as the path that the user wrote."""
    path, members = "", [Member("", model)]
    for number, element in enumerate(loc):
        tagged = [m for m in members if m.tag == element] if len(members) > 1 else []
        inner = None if tagged else _inside(members, element)
        if tagged:
            members = tagged  # nobody wrote the tag of a union as a key of its own
            continue
        is_unknown_key = inner is None and number == len(loc) - 1 and _keys(members)
        if inner is not None or (is_unknown_key and element != "[key]"):
            path += f"[{element}]" if isinstance(element, int) else f".{element}"
        members = inner or members
    return Place(path.removeprefix("."), members)


def members_of(annotation: Any) -> list[Member]:
    """Return the members of a union, or the annotation itself as the only one."""
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        tags = [x.tag for x in extra if isinstance(x, Tag)]
        return [Member(tags[0], m.type) if tags else m for m in members_of(inner)]
    if get_origin(annotation) in (Union, UnionType):
        return [m for part in get_args(annotation) for m in members_of(part)]
    return [Member(_kind(annotation), annotation)]


def fields_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return a model's fields by the names under which they are written."""
    return {field.alias or name: field for name, field in kind.model_fields.items()}


def is_model(kind: Any) -> bool:
    """Return whether a type is a model with fields of its own."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _kind(annotation: Any) -> str:
    """Return the value of a model's literal `kind`, by which a union tells its members apart."""
    if not is_model(annotation) or "kind" not in annotation.model_fields:
        return ""
    kind = annotation.model_fields["kind"].annotation
    return str(get_args(kind)[0]) if get_origin(kind) is Literal else ""


def _inside(members: list[Member], element: int | str) -> list[Member] | None:
    """Return what may stand at one element further in, or None where the element is no key."""
    for _, kind in members:
        if is_model(kind) and element in fields_of(kind):
            return members_of(fields_of(kind)[str(element)].annotation)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (dict, Mapping) and element != "[key]":
            return members_of(arguments[1])
        if origin in (tuple, list) and isinstance(element, int):
            return members_of(arguments[0])
    return None


def _keys(members: list[Member]) -> list[str]:
    kinds = [m.type for m in members if is_model(m.type)]
    return [name for kind in kinds for name in fields_of(kind) if name not in INJECTED]


def _line(detail: Any, place: Place) -> tuple[str, str]:
    """Return path and text of one finding."""
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{place.path}.kind", _about_kind(detail, [tag for tag, _ in place.members])
    return place.path, _about(detail, place)


def _about_kind(detail: Any, known: list[str]) -> str:
    if detail["type"] == "union_tag_not_found":
        return f"must be given: {', '.join(known)}"
    given = detail["ctx"]["tag"]
    return f"there is no {given!r}{did_you_mean(given, known)}"


def _about(detail: Any, place: Place) -> str:
    last, given = str(detail["loc"][-1]) if detail["loc"] else "", _given(detail["input"])
    text = _plain(str(detail["msg"]))
    match detail["type"]:
        case "extra_forbidden":
            text = f"there is no such setting{did_you_mean(last, _keys(place.members))}"
        case "missing":
            text = "must be given"
        case "string_pattern_mismatch" if last == "[key]":
            text = "a name is lower-case letters, digits and _ (at most 32)"
        case "value_error":
            pass  # a rule of ours, which says what was given where that helps
        case "model_type" | "model_attributes_type" | "dict_type":
            text = f"must have keys of its own{given}"
        case "tuple_type" | "list_type":
            text = f"must be a list{given}"
        case _:
            text += given
    return text


def _plain(message: str) -> str:
    """Return a validator's message as a demand on the setting."""
    own = message.removeprefix("Value error, ")
    if own != message:
        return own
    for start in ("Input should ", "String should ", "Value should ", "Tuple should "):
        if message.startswith(start):
            message = "must " + message.removeprefix(start)
    return message.partition(", unable")[0].partition(", got")[0]


def _given(value: object) -> str:
    if isinstance(value, (dict, list, tuple)):
        return f" (got {'keys' if isinstance(value, dict) else 'a list'})"
    text = repr(value)
    return f" (got {text if len(text) <= GIVEN_MAX else text[:GIVEN_MAX] + '...'})"
