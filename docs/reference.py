"""Pages of the site that are made from the code when it is built: the API's routes, and the gates.

MkDocs calls `on_files` (`hooks` in mkdocs.yml); the pages are written nowhere else, so that they
cannot differ from the program.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from onefold.api.config import ServeSettings
from onefold.api.security import Keys
from onefold.api.server import create_app
from onefold.fold.gates import GATES

Tree = dict[str, Any]
SENTENCE = {"at most": "is at most", "at least": "is at least", "below": "is below"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for name, lines in (("reference-api.md", api_page()), ("reference-gates.md", gates_page())):
        files.append(File.generated(config, name, content="\n".join(lines) + "\n"))
    return files


def gates_page() -> Iterator[str]:
    """Yield the gates in their order."""
    yield "# Gates"
    yield ""
    yield "Every reason not to trade, in the order in which they are asked; the first that blocks is *the*"
    yield "reason. A name in the last column is a setting of [strategies or limits](configuration.md);"
    yield "one that is not set blocks nothing. What each was worth says `onefold gates`."
    yield ""
    yield "| | gate | measures | passes when that |"
    yield "|---|---|---|---|"
    for number, gate in enumerate(GATES, 1):
        yield f"| {number} | `{gate.name}` | {gate.measures} | {SENTENCE[gate.compares]} `{gate.against}` |"


def api_page() -> Iterator[str]:
    """Yield every route with its role, what it takes and what it answers."""
    described = openapi()
    schemas = described["components"]["schemas"]
    yield "# API: every route"
    yield ""
    yield "How it is meant to be used is in [HTTP API](api.md), who may do what in [Security](security.md)."
    yield "The same as OpenAPI is served at `/api/v1/openapi.json`."
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation, schemas)
    yield ""
    yield "## Answers and bodies"
    for name, schema in schemas.items():
        if not name.startswith(("Page_", "HTTPValidation", "ValidationError")):
            yield from _schema(name, schema)


def openapi() -> Tree:
    """Return the description of the server, which needs nothing to be there for that."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(Path(folder) / "keys.json")
        keys.add("reader", "viewer")
        return create_app(cast("Any", None), ServeSettings(), keys).openapi()


def _operation(title: str, operation: Tree, schemas: Tree) -> Iterator[str]:
    role = operation["x-role"]
    yield from ("", f"## `{title}`", "", operation.get("description", operation["summary"]))
    yield from ("", "Open to everyone." if role == "open" else f"For the role {role} and those above.")
    rows = [(p["name"], p["schema"], p.get("description", "")) for p in operation.get("parameters", [])]
    body = _content(operation.get("requestBody", {}))
    if body:
        yield from ("", f"Takes {_type(body, schemas)}.")
    if rows:
        yield from ("", "| parameter | | says |", "|---|---|---|")
        for name, schema, says in rows:
            yield f"| `{name}` | {_type(schema, schemas)} | {says} |"
    answer = _content(operation["responses"].get("200", {}))
    if answer:
        yield from ("", f"Answers with {_type(answer, schemas)}.")


def _schema(name: str, schema: Tree) -> Iterator[str]:
    yield from ("", f"### {name}", "", schema.get("description", "").replace("\n", " "))
    if "properties" in schema:
        yield from ("", "| field | | says |", "|---|---|---|")
        for field, one in schema["properties"].items():
            yield f"| `{field}` | {_type(one, {})} | {one.get('description', '')} |"


def _content(part: Tree) -> Tree:
    found: Tree = part.get("content", {}).get("application/json", {}).get("schema", {})
    return found


def _type(schema: Tree, schemas: Tree) -> str:
    """Return a type in words, with a link to what it is made of."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.startswith("Page_"):
            return f"a page of {name.removeprefix('Page_').removesuffix('_')}"
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one, schemas) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"a list of {_type(schema.get('items', {}), schemas)}"
    words = {"integer": "whole number", "string": "text", "boolean": "true or false"}
    kind = schema.get("type", "anything")
    return {**words, "object": "keys", "null": "nothing"}.get(kind, kind)
