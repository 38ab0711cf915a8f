"""What all commands have in common: plain help, and an answer to a misspelt command."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from onefold.domain.errors import ConfigError, did_you_mean

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class Group(TyperGroup):
    """A group that answers a misspelt command with the nearest name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name. Raises ConfigError for an unknown one."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            hint = did_you_mean(name, self.list_commands(ctx))
            raise ConfigError(f"there is no command {name!r}{hint}")
        return super().resolve_command(ctx, args)


def new_app(cls: type[Group] | None = None, text: str | None = None) -> typer.Typer:
    """Return an application for one command, or with `cls` for a group of them."""
    return typer.Typer(
        cls=cls,
        help=text,
        no_args_is_help=cls is not None,
        add_completion=False,
        # Plain help: rich would double the time that --help takes.
        rich_markup_mode=None,
        context_settings=HELP_OPTIONS,
    )
