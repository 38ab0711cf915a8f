"""`onefold govern`: let evidence move thresholds, within bounds that cannot harm."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from onefold.app.governing import Account, Governed, governed, newest_of, taken
from onefold.app.group import new_app
from onefold.app.output import ConfigFile, Json, emit, note, show, table
from onefold.app.ruling import Verdict, applied, verdict
from onefold.domain.errors import ConfigError
from onefold.governance.versions import Version, scope_text

app = new_app()

GIT_S = 60.0


@app.command()
def govern(
    config: ConfigFile = Path("onefold.yaml"),
    account: Account = "",
    journal: Annotated[
        Path | None, typer.Option(help="Judge this journal; the account's newest when left out.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change, as without --apply.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Change it; what needs approval waits for that.")
    ] = False,
    commit: Annotated[
        bool, typer.Option("--commit", help="Apply, and commit the parameter file with git.")
    ] = False,
    json_: Json = False,
) -> None:
    """Raise conf_min where results are poor, lower it slightly where they are excellent.

    Also takes back strategies that have left the bounds of their stage, and lets go what a review
    has held until now.
    """
    if dry_run and (apply or commit):
        raise ConfigError("--dry-run changes nothing: leave it out to --apply or --commit")
    one = governed(config, account)
    if commit:
        _git(one, "rev-parse", "--is-inside-work-tree")
    found = verdict(one, journal or newest_of(one))
    made = applied(one, found) if apply or commit else []
    became = {version.version: taken(one, version) for version in made}
    committed = _committed(one, made) if commit and made else ""
    if json_:
        emit(
            {
                "account": one.name,
                "proposals": msgspec.to_builtins(found.proposals),
                "left": msgspec.to_builtins(found.left),
                "demoted": found.demoted,
                "expired": msgspec.to_builtins(found.expired),
                "versions": [msgspec.to_builtins(version) for version in made],
                "became": {str(number): text for number, text in became.items()},
                "commit": committed,
            }
        )
        return
    _print(one, found, made)
    for number, text in became.items():
        note(f"version {number}: {text}")
    if committed:
        note(f"committed as {committed}")


def _print(one: Governed, found: Verdict, made: list[Version]) -> None:
    rows = [
        (
            scope_text(p.strategy, p.instrument),
            f"{p.before:g} -> {p.value:g}",
            "waits for approval" if p.needs_approval else "",
            p.cause,
        )
        for p in found.proposals
    ]
    rows += [(name, "taken back", "", why) for name, why in found.demoted.items()]
    rows += [
        (scope_text(h.strategy, h.instrument), "released", "", f"{h.action} until now")
        for h in found.expired
    ]
    rows += [(scope_text(x.strategy, x.instrument), "stays", "", x.reason) for x in found.left]
    show(table(("what", "conf_min", "", "why"), rows, text=4))
    if found.is_empty:
        note(f"account {one.name}: nothing to change")
    elif not made:
        note("nothing was changed; --apply does it")


def _committed(one: Governed, made: list[Version]) -> str:
    """Commit the parameter file alone, and return the commit's hash."""
    what = "; ".join(f"{version.by}: {version.cause}" for version in made)
    numbers = ", ".join(str(version.version) for version in made)
    _git(one, "add", "--", str(one.file.path.resolve()))
    message = f"Govern {one.name}: version {numbers}\n\n{what}\n"
    _git(one, "commit", "--quiet", "-m", message, "--", str(one.file.path.resolve()))
    return _git(one, "rev-parse", "HEAD")


def _git(one: Governed, *arguments: str) -> str:
    """Run git beside the configuration. Raises `ConfigError` with what it said."""
    folder = one.loaded.path.resolve().parent
    try:
        done = subprocess.run(  # noqa: S603 - our own words, and paths of the configuration
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git
            capture_output=True, text=True, check=True, timeout=GIT_S,
        )  # fmt: skip
    except FileNotFoundError:
        raise ConfigError("--commit needs git, which is not installed") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"git {arguments[0]} did not end within {GIT_S:.0f} s") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()
        raise ConfigError(f"git {arguments[0]}: {said[-1] if said else 'failed'}") from None
    return done.stdout.strip()
