"""The dashboard as a process of its own over a folder, with an office that behaves as it is told.

NiceGUI has one application in a process, so that each server under test is a process. Run as
`python dashboard_process.py FOLDER OFFICE IDLE_S`; it prints its port.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import uvicorn

from onefold.api.config import ServeSettings
from onefold.api.dashboard import mount
from onefold.api.schemas import Decision, Model, Page, Position
from onefold.api.security import Keys
from onefold.api.server import create_app
from onefold.app.commands.serve import uvicorn_config
from onefold.app.office import LocalOffice, reader_of
from onefold.app.settings import load_settings

CORPUS = (
    "<img src=x onerror=window.hurt=1>",
    '"><script>window.hurt=1</script>',
    "</script><script>window.hurt=1</script>",
    "{{constructor.constructor('window.hurt=1')()}}",
    "`+(window.hurt=1)+`${window.hurt=1}",
    "javascript:window.hurt=1",
    "' onmouseover='window.hurt=1",
    "<svg><animate onbegin=window.hurt=1 attributeName=x dur=1s>",
    "&lt;img src=x onerror=window.hurt=1&gt;",
    "<iframe srcdoc='<script>parent.hurt=1</script>'>",
    "](javascript:window.hurt=1)",
)


class Failing:
    """An office of which nothing can be had; what is raised tells of a bug, or says why."""

    def __init__(self, office: Any) -> None:
        self._office = office

    def __getattr__(self, name: str) -> Any:
        async def fails(*_: Any, **__: Any) -> Any:
            if name in ("equity", "decisions", "models"):
                raise RuntimeError("secret detail of a bug")
            from onefold.domain.errors import ConfigError

            raise ConfigError(f"the file of {name} is damaged")

        return self._office.close if name == "close" else fails


class Slow:
    """An office that takes long for its equity and its decisions."""

    def __init__(self, office: Any) -> None:
        self._office = office

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._office, name)

        async def late(*given: Any, **more: Any) -> Any:
            await asyncio.sleep(4.0)
            return await found(*given, **more)

        return late if name in ("equity", "decisions") else found


class Hostile:
    """An office whose every text wants to be markup."""

    def __init__(self, office: Any) -> None:
        self._office = office

    def __getattr__(self, name: str) -> Any:
        return getattr(self._office, name)

    async def accounts(self) -> Any:
        found = await self._office.accounts()
        bad = {"why_not": " ".join(CORPUS), "trouble": CORPUS[0], "mode": CORPUS[1]}
        return [
            one.model_copy(update={**bad, "can_enter": False, "feeds": {CORPUS[0]: CORPUS[2]}})
            for one in found
        ]

    async def positions(self, account: str = "") -> list[Position]:
        return [
            Position(
                account="paper",
                strategy=text,
                symbol=text,
                lots=number + 1,
                entry_time=10**18,
                entry_price=1.0,
                mark=1.0,
                value=1.0,
                pnl=1.0,
            )
            for number, text in enumerate(CORPUS)
        ]

    async def decisions(self, account: str = "", **_: Any) -> Page[Decision]:
        items = [
            Decision(
                account=text,
                id=number + 1,
                time=10**18,
                strategy=text,
                symbol=text,
                purpose=text,
                side="buy",
                lots=1,
                price=1.0,
                confidence=0.5,
                score=0.5,
                blocked=[text],
                order=0,
            )
            for number, text in enumerate(CORPUS)
        ]
        return Page[Decision](items=items)

    async def models(self) -> list[Model]:
        return [
            Model(
                name=text,
                version=1,
                is_active=True,
                format=text,
                target=text,
                features=[text],
                trained=text,
                expires=text,
                sha256=text,
                metrics={text: text},
                verdict=text,
                drift={text: text},
            )
            for text in CORPUS
        ]


class Old:
    """An office whose heartbeats are of a while ago, though the sessions are said to run."""

    def __init__(self, office: Any) -> None:
        self._office = office

    def __getattr__(self, name: str) -> Any:
        return getattr(self._office, name)

    async def accounts(self) -> Any:
        found = await self._office.accounts()
        return [one.model_copy(update={"state": "running", "age_s": 95.0}) for one in found]


OFFICES = {"plain": lambda office: office, "failing": Failing, "slow": Slow, "hostile": Hostile}
OFFICES["old"] = Old


def main(folder: Path, office_name: str, idle_s: float) -> None:
    """Serve until it is ended, with the log on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    loaded = load_settings(folder / "onefold.yaml")
    reader, file = reader_of(loaded)
    settings = ServeSettings.model_validate({**loaded.settings.serve.model_dump(), "port": 0})
    office = OFFICES[office_name](LocalOffice(loaded, reader, file=file, explain_s=60))
    keys = Keys(folder / "keys.json")
    app = create_app(office, settings, keys, root=folder)
    mount(app, office, settings, keys, idle_s=idle_s)
    server = uvicorn.Server(uvicorn_config(app, loaded, settings))

    async def served() -> None:
        task = asyncio.create_task(server.serve())
        while not (server.started or task.done()):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        if server.started:
            print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await task

    asyncio.run(served())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
