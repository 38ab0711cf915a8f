"""The table of all settings, made from the models, so that it cannot differ from them.

`python -m onefold.app.settings_doc docs/configuration.md` writes it into a document, between two
marks; a test compares the document with what this would write. `onefold settings --env` writes the
same as variables of the environment, which is `.env.example`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from onefold.app.explained import INJECTED, Member, fields_of, is_model, members_of
from onefold.app.settings import PREFIX, Settings

ENV_HEAD = (
    "# Every setting as a variable of the environment. Copy what you need to .env beside the",
    "# configuration, mode 600, and keep that out of version control. A variable overrides the",
    "# file; NAME stands for the name of a strategy, a model, an account or a channel there.",
    "# Made by `onefold settings --env`.",
    "",
    "# Begin with everything stopped, whatever happens; `onefold resume` lets it trade.",
    "# POLICY_KILLSWITCH=true",
    "",
    "# Origins of pages that may ask the server, separated by commas.",
    "# CORS_ORIGINS=http://localhost:3000",
)
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"
KEYS = {
    "strategies": "NAME",
    "training": "NAME",
    "sweeps": "NAME",
    "models": "NAME",
    "accounts": "NAME",
    "own_gates": "GATE",
    "channels": "NAME",
}
"""What the keys of a section are; in all others they are symbols."""


class SettingRow(NamedTuple):
    """One setting: its path, its type and default as text, and what it means."""

    path: str
    type: str
    default: str
    meaning: str


def setting_rows() -> list[SettingRow]:
    """Return all settings, in the order of the models."""
    return list(_rows(Settings, ""))


def markdown_table() -> str:
    """Return the table of all settings in Markdown."""
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for row in setting_rows():
        kind, meaning = (text.replace("|", "\\|") for text in (row.type, row.meaning))
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.path}` | {kind} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def env_example() -> str:
    """Return all settings as variables, each as a comment that gives its default.

    Those below a symbol or a gate are left out: they are written in the file.
    """
    lines = [*ENV_HEAD]
    section = ""
    for row in setting_rows():
        parts = row.path.split(".")
        if not {"SYMBOL", "GATE"}.isdisjoint(parts) or parts[-1] == "kind" or not row.type:
            continue
        if row.type.startswith("keys"):
            continue
        if parts[0] != section:
            section = parts[0]
            lines += ["", f"# -- {section} " + "-" * (72 - len(section)), ""]
        name = "__".join(part if part == "NAME" else part.upper() for part in parts)
        lines += [f"# {row.meaning}", f"# {PREFIX}{name}={row.default}"]
    return "\n".join(lines) + "\n"


def with_table(document: str) -> str:
    """Return a document with the table between its marks renewed."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{markdown_table()}\n{end}{after}"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[SettingRow]:
    for name, field in fields_of(model).items():
        if name in INJECTED and prefix:
            continue
        path = f"{prefix}{name}"
        members = [m for m in members_of(field.annotation) if m.type is not NoneType]
        inner = _inner(members, name)
        if not inner:
            default = (
                "" if field.is_required() else _text(field.get_default(call_default_factory=True))
            )
            yield SettingRow(path, _type_of(members), default, field.description or "")
            continue
        if field.description:
            yield SettingRow(path, _type_of(members), "", field.description)
        for tag, key, kind in inner:
            head = f"{path}.{key}" if key else path
            if tag and tag not in {"file", "sample", "synthetic"}:
                yield SettingRow(f"{head}.kind", tag, "", _first_line(kind))
            skipped = (r for r in _rows(kind, f"{head}.") if not (tag and r.path == f"{head}.kind"))
            yield from skipped


def _inner(members: list[Member], name: str) -> list[tuple[str, str, type[BaseModel]]]:
    """Return the models below a field: tag, placeholder of the key, model."""
    found = []
    for tag, kind in members:
        if is_model(kind):
            found.append((tag, "", kind))
        elif get_origin(kind) is dict:
            key = KEYS.get(name, "SYMBOL")
            inside = members_of(get_args(kind)[1])
            found += [(m.tag, key, m.type) for m in inside if is_model(m.type)]
    return found


def _first_line(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _type_of(members: list[Member]) -> str:
    return " or ".join(dict.fromkeys(_name(m.type) for m in members))


def _name(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(str(x) for x in arguments)
    if origin is dict:
        inside = _type_of(members_of(arguments[1]))
        return "keys" if "keys" in inside or inside == "anything" else f"keys with {inside}"
    if origin is tuple:
        return f"list of {_type_of(members_of(arguments[0]))}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(str(x.value) for x in kind)
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    names |= {"Path": "path", "datetime": "time", "date": "date"}
    return "keys" if is_model(kind) else names.get(getattr(kind, "__name__", ""), "anything")


def _text(value: object) -> str:
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, Enum):
        return str(value.value)
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=str).strip('"')


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_table(file.read_text(encoding="utf-8")), encoding="utf-8")
