"""What pages are built of: text, tables, charts, fields, dialogs. Each sends only what changed.

Elements are plain HTML under the style of `static/style.css`. Text goes in as text, and values into
attributes by name, so that nothing that is shown can become markup.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from onefold.api.dashboard.cells import Cell

Do = Callable[[], Awaitable[None]]
Heard = Callable[[str], Awaitable[None] | None]

HOLD_MS = 1_200


class Part(TextElement):
    """An element of HTML with text and attributes; `show` changes its text and its classes."""

    def __init__(self, tag: str, text: str = "", classes: str = "", **attributes: str) -> None:
        super().__init__(tag=tag, text=text)
        self._shown = classes
        if classes:
            self.classes(classes)
        for name, value in attributes.items():
            self.props[name.rstrip("_").replace("_", "-")] = value

    def show(self, text: str, classes: str | None = None) -> None:
        """Show a text, and put other classes in the place of those before."""
        if text != self.text:
            self.text = text
        if classes is not None and classes != self._shown:
            self.classes(replace=classes)
            self._shown = classes

    def put(self, name: str, value: str | None) -> None:
        """Set an attribute, or take it away."""
        if value is None:
            self.props.pop(name, None)
        elif self.props.get(name) != value:
            self.props[name] = value


class Column(NamedTuple):
    """A column: `kind` is text, num, time or word; `low` ones are left out on a phone."""

    label: str
    kind: str = "text"
    low: bool = False
    hint: str = ""


class Row(NamedTuple):
    """A row of a table, by an id of its own; `mark` is a class for the whole of it."""

    id: str
    cells: Sequence[Cell]
    mark: str = ""


class Table(Element, component="static/table.js"):
    """A table of text; `picked` hears the id of the row that is chosen."""

    def __init__(
        self,
        caption: str,
        columns: Sequence[Column],
        *,
        empty: str = "Nothing yet.",
        picked: Heard | None = None,
    ) -> None:
        super().__init__()
        self.props["caption"], self.props["empty"] = caption, empty
        self.props["columns"] = [column._asdict() for column in columns]
        self.props["rows"] = []
        self._rows: list[Row] = []
        if picked is not None:
            self.on("pick", lambda event: picked(str(event.args)))

    def show(self, rows: Sequence[Row], *, empty: str = "") -> None:
        """Show rows; nothing is sent when they are the same."""
        if empty and self.props["empty"] != empty:
            self.props["empty"] = empty
        found = list(rows)
        if found != self._rows:
            self._rows = found
            self.props["rows"] = [row._asdict() for row in found]


class Chart(ui.echart):
    """A chart of ECharts as SVG, so that its colours are those of the theme."""

    def __init__(self, label: str, options: dict[str, Any], classes: str = "chart") -> None:
        super().__init__(options, renderer="svg")
        self.classes(classes)
        self.props["role"], self.props["aria-label"] = "img", label

    def show(self, options: dict[str, Any], label: str = "") -> None:
        """Draw other options; nothing is sent when they are the same."""
        if label and self.props["aria-label"] != label:
            self.props["aria-label"] = label
        if self.options != options:
            self.options.clear()
            self.options.update(options)
            self.update()


class Stats:
    """Numbers with their names, side by side."""

    def __init__(self, names: Sequence[str]) -> None:
        self._values: dict[str, tuple[Part, Part]] = {}
        with Part("dl", classes="stats"):
            for name in names:
                with Part("div"):
                    Part("dt", name)
                    self._values[name] = (Part("dd", "\N{EM DASH}"), Part("dd", "", "hint"))

    def show(self, name: str, value: Cell, hint: str = "") -> None:
        """Show a value, and what is said below it."""
        number, below = self._values[name]
        number.show(str(value["text"]), str(value.get("tone", "")) or "plain")
        below.show(hint)


def button(text: str, act: Do, classes: str = "", **attributes: str) -> Part:
    """Return a button that does something."""
    made = Part("button", text, classes, type="button", **attributes)
    made.on("click", lambda _: act(), args=[])
    return made


def hold_button(text: str, act: Do) -> Element:
    """Return a button that acts once it has been held."""
    made = _Hold(text)
    made.on("held", lambda _: act(), args=[])
    return made


class _Hold(Element, component="static/hold.js"):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.props["text"], self.props["ms"] = text, HOLD_MS


def select(
    label: str, options: Sequence[tuple[str, str]], chosen: str, heard: Heard | None, js: str = ""
) -> Part:
    """Return the browser's own list of choices; `heard` hears the value that is chosen."""
    with Part("label", classes="field"):
        Part("span", label)
        made = Part("select")
        with made:
            for value, text in options:
                one = Part("option", text, value=value)
                if value == chosen:
                    one.props["^selected"] = "selected"
    _listen(made, "change", heard, js or "(e) => emit(e.target.value)")
    return made


def entry(label: str, heard: Heard, *, value: str = "", event: str = "input", **more: str) -> Part:
    """Return a field to write in; `heard` hears what stands in it."""
    with Part("label", classes="field"):
        Part("span", label)
        given = {"type": "text", "autocomplete": "off", "spellcheck": "false", **more}
        made = Part("input", **given)
        if value:
            # The attribute is what stands there at first; as a property it would undo typing.
            made.props["^value"] = value
    _listen(made, event, heard, "(e) => emit(e.target.value)")
    return made


def _listen(part: Part, event: str, heard: Heard | None, js: str) -> None:
    if heard is None:
        part.on(event, js_handler=js)
    else:
        part.on(event, lambda given: heard(str(given.args)), js_handler=js)


class Modal(Element, component="static/modal.js"):
    """A dialog; its content is made when it opens, and gone when it is shut."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.props["label"], self.props["open"] = label, False
        self.on("shut", lambda _: self.shut(), args=[])

    def open(self, build: Callable[[], None], label: str = "") -> None:
        """Open it with new content."""
        self.clear()
        if label:
            self.props["label"] = label
        with self:
            build()
        self.props["open"] = True

    def shut(self) -> None:
        """Shut it."""
        self.props["open"] = False
        self.clear()
