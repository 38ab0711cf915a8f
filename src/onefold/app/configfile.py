"""Read a YAML file as a person wrote it, and say where it is wrong.

YAML is friendly until it guesses: `NO` becomes false, `1e5` a text, a repeated key silently wins.
Here keys are always text, only true and false are truth values, numbers are what everybody takes
for numbers, and a repeated key is an error. References `${NAME}` are replaced after parsing, so
that no variable can change the structure of the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from onefold.domain.errors import ConfigError, did_you_mean

_REFERENCE = re.compile(r"\$(\$)?\{([^}]*)(\})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float"))


class _Loader(yaml.SafeLoader):
    """A safe loader without YAML's surprises."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping with text keys; raises ConstructorError for a repeated one."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong("a key must be a plain text", key)
            if key.value in seen:
                raise _wrong(f"the key {key.value!r} is there twice", key)
            seen.add(key.value)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}

    def construct_time(self, node: yaml.ScalarNode) -> Any:
        """Return a date or a time; raises ConstructorError for a day that no month has."""
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError as error:
            raise _wrong(f"{node.value} is no date: {error}", node) from None


class _Dumper(yaml.SafeDumper):
    """A safe dumper for what `_Loader` and others read."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] not in (_BOOL, _INT, _FLOAT)]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_NUMBER = [*"-+.0123456789"]
_SCALARS = (
    (_BOOL, r"^(?:true|True|TRUE|false|False|FALSE)$", [*"tTfF"]),
    (_INT, r"^[-+]?(?:0|[1-9][0-9_]*)$", _NUMBER),
    (
        _FLOAT,
        r"^[-+]?(?:(?:0|[1-9][0-9_]*)?\.[0-9]+|(?:0|[1-9][0-9_]*)\.?)(?:[eE][-+]?[0-9]+)?$",
        _NUMBER,
    ),
)
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)
    # What is written quotes every text that either kind of reader would take for a number.
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), _first)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_time)
# The base class would read 010 as octal and 1:30 as base 60; such texts do not get that far.


def _wrong(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises ConfigError, with line and column, when it cannot be read as one.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the configuration file in it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist{_nearest_file(path)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: byte {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    content = _parsed(text, str(path))
    if content is None:
        raise ConfigError(f"{path} is empty; `onefold init` writes a working one")
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: expected keys such as `account:` at the top, found a list or text"
        )
    return content


def yaml_text(content: Mapping[str, Any]) -> str:
    """Return plain values as YAML that `read_yaml` reads back to the same."""
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_value(text: str) -> Any:
    """Return what a value means in YAML, or the text itself where it is not YAML."""
    try:
        return _parsed(text, "value")
    except ConfigError:
        return text


def _parsed(text: str, name: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context
        if mark and "${" in text.split("\n")[mark.line]:
            problem = f'{problem}; inside {{...}} or [...] write references in quotes: "${{NAME}}"'
        raise ConfigError(f"{name}{where}: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise ConfigError(f"{name}, line {line}, column {column}: {error.reason}") from None


def _nearest_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder}"
    hint = did_you_mean(
        path.name, [x.name for x in folder.iterdir() if x.suffix in {".yaml", ".yml"}]
    )
    return hint or "; `onefold init` writes a starter folder"


def resolve(value: Any, variables: Mapping[str, str], path: str = "") -> Any:
    """Return a value with `${NAME}` and `${NAME:-default}` replaced in all its texts.

    `$${NAME}` stands for the text itself. Raises ConfigError, naming the key path, for a variable
    that is not set and has no default.
    """
    if isinstance(value, dict):
        return {k: resolve(v, variables, f"{path}.{k}" if path else k) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v, variables, f"{path}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _REFERENCE.sub(lambda match: _replaced(match, variables, path), value)
    return value


def _replaced(match: re.Match[str], variables: Mapping[str, str], path: str) -> str:
    escaped, body, end = match.groups()
    if escaped:
        return match[0][1:]
    name, has_default, default = body.partition(":-")
    if not end or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{path}: {match[0]!r} is no reference; write ${{NAME}} or ${{NAME:-default}}"
        )
    found = variables.get(name, "")
    if found or (name in variables and not has_default):
        return found
    if has_default:
        return default
    raise ConfigError(
        f"{path}: the environment variable {name} is not set; "
        f"set it, put it into .env, or write ${{{name}:-default}}"
    )


def environment(folder: Path = Path()) -> dict[str, str]:
    """Return the environment with what `.env` adds to it: in a folder, then in the working one."""
    added: dict[str, str | None] = {}
    for file in env_files(folder):
        added = {**dotenv_values(file, encoding="utf-8-sig"), **added}
    return {**{k: v for k, v in added.items() if v is not None}, **os.environ}


def env_files(folder: Path) -> list[Path]:
    """Return the files with secrets that are read for a configuration in a folder."""
    files = {path.resolve(): path for path in (Path(".env"), folder / ".env") if path.is_file()}
    return [files[path] for path in sorted(files, key=lambda p: p.parent != folder.resolve())]
