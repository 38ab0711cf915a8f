"""What the server is given: the settings without the venues' secrets, and a child to look after.

The server cannot send an order: it has nothing that a venue would believe. Its own secrets, such as
the database's, stay. The child is `onefold db follow`; it is started again when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onefold.app import leashed
from onefold.app.configfile import environment, read_yaml, resolve
from onefold.app.settings import PREFIX, Loaded, merged, overrides, settings_of
from onefold.domain.errors import ConfigError

log = logging.getLogger("onefold.serve")

SECRET_WORDS = ("key", "secret", "token", "passphrase", "password", "webhook")
WITHHELD = "withheld"
WITHHELD_HOOK = "https://withheld.invalid/trading/webhook/withheld/withheld"
BACKOFF_S, BACKOFF_MAX_S = 1.0, 60.0
WELL_S = 60.0
"""A child that has run so long began well, so that its next end is the first again."""
END_S = 10.0


def served_settings(path: Path) -> Loaded:
    """Read a configuration without what venues and feeds keep secret. Raises `ConfigError`."""
    written = without_secrets(read_yaml(path))
    variables = {k: v for k, v in environment(path.parent).items() if not _is_secret(k)}
    try:
        raw = merged(resolve(written, variables), overrides(written, variables))
        return Loaded(settings_of(raw), path)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _is_secret(variable: str) -> bool:
    """Return whether a variable sets something of a venue or a feed that is kept secret."""
    name = variable.upper()
    section = name.startswith((f"{PREFIX}FEEDS__", f"{PREFIX}ACCOUNTS__"))
    return section and any(word.upper() in name.rpartition("__")[2] for word in SECRET_WORDS)


def without_secrets(written: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as written, with the secrets of venues and feeds taken out."""
    accounts = written.get("accounts")
    feeds = written.get("feeds")
    found = dict(written)
    if isinstance(accounts, dict):
        found["accounts"] = {
            name: {**one, "venue": _bare(one["venue"])}
            if isinstance(one, dict) and "venue" in one
            else one
            for name, one in accounts.items()
        }
    if isinstance(feeds, dict):
        found["feeds"] = _bare(feeds)
    return found


def _bare(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _bare(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, str) and any(word in key.lower() for word in SECRET_WORDS):
        return WITHHELD_HOOK if key.lower() == "webhook" else WITHHELD
    return value


class Child:
    """A process that is started again, later and later, when it ends by itself."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._task: asyncio.Task[None] | None = None
        self.process: asyncio.subprocess.Process | None = None

    def start(self) -> None:
        """Begin to look after it."""
        self._task = asyncio.create_task(self._look_after())

    async def close(self) -> None:
        """End it in good order, or else at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _look_after(self) -> None:
        delay_s = BACKOFF_S
        while True:
            began = time.monotonic()
            try:
                self.process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,  # its leash
                    stdout=asyncio.subprocess.DEVNULL,
                )
                code = await self.process.wait()
            except OSError as error:
                log.warning("the projector cannot be started: %s", error.strerror)
            else:
                log.warning("the projector ended with code %s; starting it again", code)
            if time.monotonic() - began > WELL_S:
                delay_s = BACKOFF_S
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)


def follower_of(config: Path) -> Child:
    """Return the process that keeps the database up to date."""
    return Child([sys.executable, "-m", leashed.__name__, "db", "follow", str(config)])
