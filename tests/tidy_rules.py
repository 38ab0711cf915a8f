"""The rules of `test_tidy.py` as functions of source text, so that each can be shown to catch.

A rule takes one `Source` (or all of them) and returns findings, each one line with the place, what
is wrong and what to do. Nothing here knows which files exist: that is the test's business.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple


class Source(NamedTuple):
    """One Python file: its path from the root of the repository, its text and its tree."""

    path: str
    text: str
    tree: ast.Module


def source(path: str, text: str) -> Source:
    """Parse a file's text."""
    return Source(path, text, ast.parse(text, path))


# --- what the pure packages may not do -----------------------------------------------------------

INPUT = "time is an input: take `ts` (ns, UTC) from the event"
CHANCE = "chance is an input: take the number or the seed as an argument"
ID = "ids are inputs: derive them from the journal's sequence, or count in the state"
FILE = "files belong to `adapters`, `journal` and `app`: take or return the content"
WORLD = "sockets, processes and threads belong to `adapters` and `engine`"
TALK = "return the fact; `app` prints and logs"
HIDDEN = "import it by name, so that the layers can be checked"

BANNED_MODULES: dict[str, str] = {
    "time": INPUT,
    "sched": INPUT,
    "random": CHANCE,
    "secrets": CHANCE,
    "uuid": ID,
    "os": FILE + "; the environment is read by `app`",
    "io": FILE,
    "glob": FILE,
    "shutil": FILE,
    "tempfile": FILE,
    "sqlite3": FILE,
    "pickle": FILE,
    "filelock": FILE,
    "fcntl": FILE,
    "mmap": FILE,
    "socket": WORLD,
    "ssl": WORLD,
    "select": WORLD,
    "signal": WORLD,
    "asyncio": WORLD,
    "threading": WORLD,
    "concurrent": WORLD,
    "multiprocessing": WORLD,
    "subprocess": WORLD,
    "ctypes": WORLD,
    "http": WORLD,
    "urllib": WORLD,
    "requests": WORLD,
    "httpx": WORLD,
    "aiohttp": WORLD,
    "websockets": WORLD,
    "logging": TALK,
    "structlog": TALK,
    "rich": TALK,
    "importlib": HIDDEN,
}
"""Modules that the pure packages may not import, with what to do instead."""

BANNED_NAMES: dict[str, str] = {
    "open": FILE,
    "print": TALK,
    "input": "input comes as an event",
    "__import__": HIDDEN,
    "numpy.random": CHANCE,
    "numpy.load": FILE,
    "numpy.save": FILE,
    "numpy.savez": FILE,
    "numpy.loadtxt": FILE,
    "numpy.genfromtxt": FILE,
    "numpy.fromfile": FILE,
    "numpy.memmap": FILE,
    "numpy.datetime64.now": INPUT,
    "sys.stdout": TALK,
    "sys.stderr": TALK,
    "pathlib.Path.cwd": FILE,
    "pathlib.Path.home": FILE,
    "jinja2.FileSystemLoader": FILE,
    "jinja2.PackageLoader": FILE,
}
"""Names (and everything below them) that may not be used."""

BANNED_METHODS: dict[str, str] = {
    "now": INPUT,
    "utcnow": INPUT,
    "today": INPUT,
    "perf_counter": INPUT,
    "monotonic": INPUT,
    "sleep": INPUT,
    "urandom": CHANCE,
    "mkdir": FILE,
    "rmdir": FILE,
    "unlink": FILE,
    "touch": FILE,
    "iterdir": FILE,
    "rglob": FILE,
    "exists": FILE,
    "is_file": FILE,
    "is_dir": FILE,
    "stat": FILE,
    "tofile": FILE,
}
"""Methods that may not be called, whatever the object."""

BANNED_METHOD_PREFIXES: dict[str, str] = {
    "read_": FILE,
    "scan_": FILE,
    "write_": FILE,
    "sink_": FILE,
}
"""How the names of methods that read and write files begin, in pathlib, polars and plotly."""


def impurities(file: Source) -> Iterator[tuple[int, str, str]]:
    """Yield line, what is used, and its replacement, for everything that law 2 bans."""
    names = imported_names(file.tree)
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _banned_imports(node)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            name = dotted(node, names)
            if name in BANNED_NAMES:
                yield node.lineno, name, BANNED_NAMES[name]
            if isinstance(node, ast.Attribute):
                yield from _banned_method(node)
        elif isinstance(node, ast.With):
            yield from _opened_here(node)


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what the names that a module imports stand for: `np` for `numpy`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                names[bound] = alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: Mapping[str, str]) -> str:
    """Return `a.b.c` for names and attributes with imports resolved, or an empty text."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _banned_imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[int, str, str]]:
    if isinstance(node, ast.Import):
        imported = [alias.name for alias in node.names]
    else:
        imported = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in imported:
        top = name.partition(".")[0]
        if top in BANNED_MODULES:
            yield node.lineno, top, BANNED_MODULES[top]
        for banned, instead in BANNED_NAMES.items():
            if f"{name}.".startswith(f"{banned}."):
                yield node.lineno, name, instead


def _banned_method(node: ast.Attribute) -> Iterator[tuple[int, str, str]]:
    if node.attr in BANNED_METHODS:
        yield node.lineno, f".{node.attr}", BANNED_METHODS[node.attr]
    for prefix, instead in BANNED_METHOD_PREFIXES.items():
        if node.attr.startswith(prefix):
            yield node.lineno, f".{node.attr}", instead


def _opened_here(node: ast.With) -> Iterator[tuple[int, str, str]]:
    for item in node.items:
        opened = item.context_expr
        method = opened.func if isinstance(opened, ast.Call) else None
        if isinstance(method, ast.Attribute) and method.attr == "open":
            yield opened.lineno, ".open", FILE


# --- lengths -------------------------------------------------------------------------------------

FILE_LINES_MAX = 600
BODY_LINES_MAX = 60


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield all functions and methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the number of lines of a function's body, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def too_long(file: Source, longer: Mapping[str, int]) -> Iterator[str]:
    """Yield files and functions over the limits; `longer` has the files that may shrink only."""
    lines = len(file.text.splitlines())
    allowed = longer.get(file.path, FILE_LINES_MAX)
    if lines > allowed:
        yield f"{file.path}: {lines} lines, at most {allowed}: split it by what it speaks of"
    if file.path in longer and lines < allowed:
        yield (
            f"{file.path}: {lines} lines; it was {allowed}: write the lower number into LONGER"
            f" (or take it out at {FILE_LINES_MAX})"
        )
    for function in functions(file.tree):
        length = body_lines(function)
        if length > BODY_LINES_MAX:
            yield (
                f"{file.path}:{function.lineno}: {function.name} has {length} lines, at most"
                f" {BODY_LINES_MAX}: split it"
            )


# --- docstrings ----------------------------------------------------------------------------------

NOT_IMPERATIVE = re.compile(
    r"(This|These|The function|Returns|Gets|Sets|Makes|Creates|Builds|Computes|Checks|Reads|Writes"
    r"|Yields|Raises|Adds|Gives|Tests|Converts|Runs|Loads|Parses|Method|Function|Helper)\b"
)


def undocumented(file: Source) -> Iterator[str]:
    """Yield modules, public classes and functions without a docstring, or with an odd one."""
    if not ast.get_docstring(file.tree):
        yield f"{file.path}:1: the module needs a docstring: say why it exists"
    for node in _public(file.tree):
        text = ast.get_docstring(node)
        if not text:
            yield f"{file.path}:{node.lineno}: {node.name} needs a docstring"
        elif not isinstance(node, ast.ClassDef) and NOT_IMPERATIVE.match(text):
            first = text.split(maxsplit=1)[0]
            yield f"{file.path}:{node.lineno}: {node.name}: write the imperative, not {first!r}"


def _public(
    owner: ast.Module | ast.ClassDef,
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in owner.body:
        definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if not definition or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


# --- compiled functions --------------------------------------------------------------------------

COMPILERS = {"njit", "kernel", "kernel_part"}
COMPILE = "onefold._compile"


def misnamed_compiled(file: Source) -> Iterator[str]:
    """Yield compiled functions whose name does not end in `_nb`, and others whose name does."""
    names = imported_names(file.tree)
    compilers = {f"{COMPILE}.{name}" for name in COMPILERS}
    for function in functions(file.tree):
        decorators = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
        compiled = any(dotted(decorator, names) in compilers for decorator in decorators)
        place = f"{file.path}:{function.lineno}: {function.name}"
        if compiled and not function.name.endswith("_nb"):
            yield f"{place} is compiled: its name must end in _nb"
        if not compiled and function.name.endswith("_nb"):
            yield f"{place} is not compiled: use njit, kernel or kernel_part of {COMPILE}"


def unfit_for_compiling(file: Source, may_import_numba: Collection[str]) -> Iterator[str]:
    """Yield uses of numba past `onefold._compile`, and anything that says fastmath."""
    for node in ast.walk(file.tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        if file.path not in may_import_numba:
            for module in modules:
                if module.partition(".")[0] == "numba":
                    yield f"{file.path}:{node.lineno}: compile with {COMPILE}, not with numba"
        keyword = node.arg if isinstance(node, ast.keyword) else None
        text = node.value if isinstance(node, ast.Constant) else None
        if "fastmath" in {keyword, text if isinstance(text, str) else None}:
            yield f"{file.path}:{node.lineno}: fastmath stays off: replay is bit for bit"


# --- modules -------------------------------------------------------------------------------------


def module_name(path: str) -> str:
    """Return the dotted name of a file under `src`."""
    parts = path.removeprefix("src/").removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dead_modules(files: Iterable[Source], entry_points: Collection[str]) -> Iterator[str]:
    """Yield modules that no other module imports and that nobody starts."""
    modules = {module_name(file.path): file for file in files}
    used = set(entry_points)
    for name, file in modules.items():
        for target in _imports(file):
            while target:
                if target != name:
                    used.add(target)
                target = target.rpartition(".")[0]  # noqa: PLW2901 - its packages too
    for name, file in sorted(modules.items()):
        if name not in used:
            yield f"{file.path}: nothing imports it: use it or delete it"


def _imports(file: Source) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unsorted_facade(file: Source) -> Iterator[str]:
    """Yield what is wrong with a package's `__all__`: constants, classes, functions, sorted."""
    package = module_name(file.path)
    exported: list[str] | None = None
    imported = []
    for node in file.tree.body:
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            imported += [alias.asname or alias.name for alias in node.names]
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            exported = ast.literal_eval(node.value)
    if exported is None:
        if imported:
            yield f"{file.path}: a package that re-exports names needs __all__"
        return
    if exported != sorted(set(exported), key=_facade_order):
        yield f"{file.path}: __all__ is not sorted: {sorted(set(exported), key=_facade_order)}"
    for name in sorted(set(imported) - set(exported)):
        if not name.startswith("_"):
            yield f"{file.path}: {name} is imported but not in __all__"


def _facade_order(name: str) -> tuple[int, str]:
    if name.isupper() and len(name) > 1:
        return 0, name
    return (1 if name[:1].isupper() else 2), name


# --- text ----------------------------------------------------------------------------------------

UNWANTED: dict[str, str] = {
    r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b": "do it, or put it into docs/roadmap.md",
    r"(?<![\w.~-])/(?:work|root|home|tmp|Users)/\w": "a path of one machine",
    r"py" + r"pi\.org|python" + r"hosted\.org": "name the package, not the host of an index",
}
"""What no file of the project may contain, with the reason."""

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def unwanted_text(path: str, text: str) -> Iterator[str]:
    """Yield marks of unfinished work, paths of machines and hosts of package indices."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, why in UNWANTED.items():
            found = re.search(pattern, line)
            if found:
                yield f"{path}:{number}: {found.group()!r}: {why}"


def links(text: str) -> Iterator[str]:
    """Yield the targets of the relative links of a Markdown text, outside of code."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    for found in LINK.finditer(prose):
        target = found.group(1) or found.group(2)
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(text: str) -> set[str]:
    """Return the anchors of a Markdown text's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+\s+(.*?)\s*$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def mentions_command(text: str, command: str) -> bool:
    """Return whether a text shows a command, as in `onefold journal verify`."""
    return re.search(rf"\bonefold {re.escape(command)}(?![\w-])", text) is not None


def mentions_setting(text: str, name: str) -> bool:
    """Return whether a text explains a setting: in backticks, or as a key of a YAML example."""
    quoted = rf"`(?:[\w.]+\.)?{re.escape(name)}(?:: [^`]*)?`"
    key = rf"^[\s-]*{re.escape(name)}:"
    return re.search(f"{quoted}|{key}", text, flags=re.MULTILINE) is not None
