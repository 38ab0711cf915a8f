"""YAML without surprises, errors with their place, references to variables."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onefold.app.configfile import parse_value, read_yaml, resolve, yaml_text
from onefold.domain.errors import ConfigError


def read(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("6E", "6E"),
        ("true", True),
        ("False", False),
        ("1e5", 1e5),
        ("-1.5", -1.5),
        (".5", 0.5),
        ("12", 12),
        ("1_000", 1000),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2020-12-31", date(2020, 12, 31)),
        ("null", None),
        ("", None),
    ],
)
def test_scalars_mean_what_people_take_them_for(tmp_path: Path, text: str, value: object) -> None:
    found = read(tmp_path, f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_texts(tmp_path: Path) -> None:
    assert read(tmp_path, "NO: 1\n600519: 2\ntrue: 3\n") == {"NO": 1, "600519": 2, "true": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is there twice"),
        ("a:\n  x: 1\n  x: 2\n", "line 3, column 3: the key 'x' is there twice"),
        ("a: [1\nb: 2\n", "line 2, column 2"),
        ("a: 1\n b: 2\n", "line 2, column 3"),
        ("a: 2020-13-01\n", "line 1, column 4: 2020-13-01 is no date"),
        ("a: b\x01\n", "line 1, column 5: special characters are not allowed"),
        ("? [1, 2]\n: 3\n", "line 1, column 3: a key must be a plain text"),
        ("- 1\n- 2\n", "expected keys such as `account:`"),
        ("", "is empty"),
        ("a: {b: ${B}}\n", 'in quotes: "${NAME}"'),
    ],
)
def test_errors_name_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert said in str(error.value)
    assert str(tmp_path / "c.yaml") in str(error.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        read_yaml(tmp_path)
    (tmp_path / "onefold.yaml").touch()
    with pytest.raises(ConfigError, match=r"did you mean 'onefold\.yaml'"):
        read_yaml(tmp_path / "onefald.yaml")
    with pytest.raises(ConfigError, match="there is no folder"):
        read_yaml(tmp_path / "x" / "onefold.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text: byte 3"):
        read_yaml(tmp_path / "latin.yaml")


def test_no_code_is_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        read(tmp_path, "a: !!python/object/apply:os.getcwd []\n")


def test_references() -> None:
    variables = {"A": "1", "EMPTY": ""}
    given = {"x": "${A}", "y": ["p${A}q${B:-${A}"], "z": {"w": "${EMPTY:-d}${EMPTY}$${A} $5"}}
    assert resolve({**given, "y": ["p${A}q${B:-b}"]}, variables) == {
        "x": "1",
        "y": ["p1qb"],
        "z": {"w": "d${A} $5"},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${NOT_SET}", "a.b[1]: the environment variable NOT_SET is not set"),
        ("${NOT", "a.b[1]: '${NOT' is no reference"),
        ("${}", "a.b[1]: '${}' is no reference"),
        ("${A B}", "is no reference"),
    ],
)
def test_wrong_references_name_their_key(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve({"a": {"b": ["fine", text]}}, {})
    assert said in str(error.value)


def test_a_variable_cannot_change_the_structure() -> None:
    assert resolve({"a": "${A}"}, {"A": "x\nb: 1"}) == {"a": "x\nb: 1"}


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain |= st.dates() | st.text(st.characters(exclude_categories=["C"]), max_size=10)


@example({"a": "0E0"})
@example({"a": "1e5", "b": "NO", "c": "010", "d": "2020-12-31"})
@given(st.dictionaries(st.text("abcNOyes019_", min_size=1), plain, min_size=1, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory: Any, content: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("y") / "c.yaml"
    path.write_text(yaml_text(content), encoding="utf-8")
    assert read_yaml(path) == content


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("[a, b]", ["a", "b"]), ("null", None), ("a: [", "a: [")]
)
def test_values(text: str, value: object) -> None:
    assert parse_value(text) == value
