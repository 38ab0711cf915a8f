"""What a visitor may do, as dialogs: stop trading, let it go on, and everything with a reason.

Stopping takes a held button and nothing else. What lets more be traded takes a reason and the key
once more. Whoever has not the role is not shown the buttons, and is refused if they ask all the
same: `Desk.act` looks at the role and the key each time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from onefold.api.dashboard.desk import Desk
from onefold.api.dashboard.parts import Modal, Part, button, entry, hold_button, select
from onefold.api.schemas import Answer, CommandBody
from onefold.api.security import Role
from onefold.domain.errors import OnefoldError

Command = Literal["kill", "flatten", "reduce_only", "resume", "stop", "adopt"]
Done = Callable[[str, Mapping[str, str]], Awaitable[str]]

TYPED = "KILL"
EVERYTHING = "every account"


class Field(NamedTuple):
    """A field of a form; one with options is a list of choices."""

    name: str
    label: str
    value: str = ""
    options: Sequence[tuple[str, str]] = ()
    more: Mapping[str, str] = {}


class Form(NamedTuple):
    """A dialog that asks before something is done.

    `do` gets the name of who does it and what was filled in, and returns what came of it.
    """

    title: str
    text: str
    action: str
    role: Role
    do: Done
    fields: Sequence[Field] = ()
    sensitive: bool = False
    dangerous: bool = False


REASON = Field("reason", "Reason", more={"maxlength": "500", "required": "required"})


def open_form(desk: Desk, modal: Modal, form: Form) -> None:
    """Ask for what a form needs, and do it."""
    values = {field.name: field.value for field in form.fields}
    needs_key = form.sensitive and not desk.shared.sessions.is_confirmed(desk.session)

    def build() -> None:
        Part("h2", form.title)
        Part("p", form.text)
        for field in form.fields:
            _field(field, values)
        if needs_key:
            more = {"type": "password", "autocomplete": "current-password", "maxlength": "200"}
            _field(Field("key", "Your key again", more=more), values)
        said = Part("p", "", "gone", role="alert")

        async def done() -> None:
            await _submit(desk, modal, form, values, said)

        with Part("div", classes="buttons"):
            button("Cancel", _shut(modal))
            button(form.action, done, "danger" if form.dangerous else "primary")

    modal.open(build, form.title)


def _field(field: Field, values: dict[str, str]) -> None:
    def heard(text: str) -> None:
        values[field.name] = text

    if field.options:
        select(field.label, field.options, field.value, heard)
    else:
        entry(field.label, heard, value=field.value, **field.more)


def _shut(modal: Modal) -> Callable[[], Awaitable[None]]:
    async def shut() -> None:
        modal.shut()

    return shut


async def _submit(
    desk: Desk, modal: Modal, form: Form, values: dict[str, str], said: Part
) -> None:  # fmt: skip
    given = {name: text.strip() for name, text in values.items()}
    key = given.pop("key", "")
    told = ", ".join(f"{name}: {text}" for name, text in given.items() if text)
    try:
        found = await desk.act(
            form.role,
            f"{form.title} ({told})",
            lambda who: form.do(who, given),
            sensitive=form.sensitive,
            key=key,
        )
    except ValidationError as error:
        said.show(_wrong(error), "problem")
        return
    except OnefoldError as error:
        said.show(f"{error}.".replace("..", "."), "problem")
        return
    modal.shut()
    desk.tell(found)
    await desk.refresh()


def _wrong(error: ValidationError) -> str:
    """Return what is wrong with what was filled in, in words."""
    found = error.errors()[0]
    name = str(found["loc"][-1]) if found["loc"] else "it"
    if found["type"] == "string_too_short":
        return f"Give a {name}."
    return f"{name.capitalize()}: {found['msg']}."


# --- commands to sessions ------------------------------------------------------------------------


def account_options(desk: Desk) -> tuple[tuple[str, str], ...]:
    """Return the accounts to choose from: what is chosen is among them, known or not.

    The browser shows the first choice where none is chosen, and what it shows is what is stopped.
    """
    chosen = [desk.account] if desk.account else []
    names = dict.fromkeys((*desk.names, *chosen))
    return (("", EVERYTHING.capitalize()), *((name, name) for name in names))


def open_kill(desk: Desk, modal: Modal) -> None:
    """Ask whether trading is to stop: by holding a button, or by typing a word."""
    values = {"account": desk.account, "reason": "", "typed": ""}

    def build() -> None:
        Part("h2", "Stop trading")
        Part(
            "p",
            "Working entries are cancelled at once. No new order goes out, entry or exit, until "
            "somebody resumes. Positions stay, and so do the stops and targets that rest.",
        )
        _field(Field("account", "What stops", values["account"], account_options(desk)), values)
        _field(Field("reason", "Reason (may be left out)", more={"maxlength": "500"}), values)
        said = Part("p", "", "gone", role="alert")

        async def kill() -> None:
            await _kill(desk, modal, values, said)

        async def typed(text: str) -> None:
            if text.strip() == TYPED:
                await kill()

        hold_button("Hold to stop trading", kill)
        entry(f"or type {TYPED}", typed, autocapitalize="characters", maxlength="8")
        with Part("div", classes="buttons"):
            button("Cancel", _shut(modal))

    modal.open(build, "Stop trading")


async def _kill(desk: Desk, modal: Modal, values: dict[str, str], said: Part) -> None:
    reason = values["reason"].strip() or "stopped on the dashboard"
    try:
        found = await desk.act(
            Role.OPERATOR,
            f"kill {values['account'] or EVERYTHING}: {reason}",
            lambda who: command(desk, "kill", {**values, "reason": reason}, who),
        )
    except ValidationError as error:
        said.show(_wrong(error), "problem")
    except OnefoldError as error:
        said.show(str(error), "problem")
    else:
        modal.shut()
        desk.tell(found, "bad")
        await desk.refresh()


async def command(desk: Desk, name: Command, given: Mapping[str, str], who: str) -> str:
    """Ask sessions to do something, and return what they said."""
    scope = {key: given.get(key, "") for key in ("account", "strategy", "symbol", "reason")}
    answers = await desk.office.command(CommandBody(command=name, **scope), operator=who)
    return said_by(name, answers)


def said_by(name: str, answers: Sequence[Answer]) -> str:
    """Return what sessions said to a command, in a line."""
    told = ", ".join(f"{answer.account}: {answer.said}" for answer in answers)
    return f"{WORDS[name]}. {told or 'no account runs'}."


WORDS = {
    "kill": "Stop",
    "flatten": "Close everything",
    "reduce_only": "Reduce only",
    "resume": "Resume",
    "stop": "End the session",
    "adopt": "Adopt",
}
TEXTS: dict[str, str] = {
    "flatten": "What is held is closed at the market, and trading stops until somebody resumes.",
    "reduce_only": "Working entries are cancelled; only what makes positions smaller goes out.",
    "resume": "Kill switches are turned off and new positions may be entered again.",
}


def command_form(desk: Desk, name: Command) -> Form:
    """Return the form for a command other than the kill switch."""

    async def do(who: str, given: Mapping[str, str]) -> str:
        return await command(desk, name, given, who)

    is_more = name == "resume"
    return Form(
        title=WORDS[name],
        text=TEXTS[name],
        action=WORDS[name],
        role=Role.RISK if is_more else Role.OPERATOR,
        do=do,
        fields=(Field("account", "Account", desk.account, account_options(desk)), REASON),
        sensitive=is_more,
        dangerous=name == "flatten",
    )


def opener(desk: Desk, modal: Modal, form: Callable[[], Form]) -> Callable[[], Awaitable[None]]:
    """Return what a button does that opens a form."""

    async def opened() -> None:
        open_form(desk, modal, form())

    return opened


def killer(desk: Desk, modal: Modal) -> Callable[[], Awaitable[None]]:
    """Return what a button does that opens the kill switch."""

    async def opened() -> None:
        open_kill(desk, modal)

    return opened


_STOPPING: tuple[Command, ...] = ("reduce_only", "flatten")


def command_buttons(desk: Desk, modal: Modal) -> list[Any]:
    """Build the buttons for commands that the visitor's role may give."""
    made: list[Any] = []
    if desk.may(Role.OPERATOR):
        made += [
            button(WORDS[name], opener(desk, modal, partial(command_form, desk, name)))
            for name in _STOPPING
        ]
    if desk.may(Role.RISK):
        made.append(
            button(WORDS["resume"], opener(desk, modal, partial(command_form, desk, "resume")))
        )
    return made
