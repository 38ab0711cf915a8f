"""U1, U2: the stream: tickets, origins, roles, slow readers, and every record once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from app.paper_session import PaperSession
from onefold.api import stream
from onefold.domain.records import Bar, SessionStart
from onefold.journal import Journal
from support import today

from .served import PATIENCE_S, Served, started


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path, stream_queue=50, streams=3)
    yield found
    found.close()


def journal_of(served: Served) -> Journal:
    folder = served.folder / "journal" / "paper" / "paper-1"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Journal.open(folder, today=today)


def bar(ts: int) -> Bar:
    return Bar("BTCUSD", ts, ts - 1, 1.0, 1.0, 1.0, 1.0)


def url(served: Served, role: str = "viewer") -> str:
    with served.client(role) as client:
        ticket = client.post("/api/v1/stream/tickets").json()["value"]
    return f"ws://127.0.0.1:{served.port}/api/v1/stream?ticket={ticket}"


async def next_of(listener: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message: dict[str, Any] = json.loads(await listener.recv())
            if message["type"] == kind:
                return message


def test_records_come_once_in_order_as_they_are_sealed(served: Served) -> None:
    async def main() -> list[int]:
        with journal_of(served) as journal:
            journal.append(bar(1))
            journal.commit()
            async with connect(url(served)) as listener:
                status = await next_of(listener, "status")
                assert status["accounts"][0]["account"] == "paper"
                await asyncio.sleep(0.3)
                for ts in range(2, 12):
                    journal.append(bar(ts))
                    journal.commit()
                found = [await next_of(listener, "record") for _ in range(10)]
        assert {one["account"] for one in found} == {"paper"}
        assert {one["kind"] for one in found} == {"bar"}
        return [one["record"]["ts"] for one in found]

    assert asyncio.run(main()) == list(range(2, 12))


def test_what_a_role_may_not_see_is_not_sent(served: Served) -> None:
    start = SessionStart(1, "paper", "v", "b", "h", {"sources": {"a.py": "secret code"}})

    async def main() -> tuple[list[str], list[str]]:
        with journal_of(served) as journal:
            async with connect(url(served)) as viewer, connect(url(served, "admin")) as admin:
                await next_of(viewer, "status")
                await next_of(admin, "status")
                await asyncio.sleep(0.3)
                journal.append(start)
                journal.append(bar(2))
                journal.commit()
                one = (await next_of(viewer, "record"))["kind"]
                two = [(await next_of(admin, "record"))["kind"] for _ in range(2)]
        return [one], two

    assert asyncio.run(main()) == (["bar"], ["session", "bar"])


def refused(address: str, **options: Any) -> None:
    async def main() -> None:
        with pytest.raises(websockets.exceptions.InvalidStatus) as error:
            async with connect(address, **options):
                pass
        assert error.value.response.status_code == 403

    asyncio.run(main())


def test_a_ticket_is_needed_and_good_once(served: Served) -> None:
    base = f"ws://127.0.0.1:{served.port}/api/v1/stream"
    refused(base)
    refused(f"{base}?ticket=")
    refused(f"{base}?ticket={served.key['admin']}")
    good = url(served)
    refused(f"{url(served)}&more=1")

    async def open_() -> None:
        async with connect(good) as listener:
            await next_of(listener, "status")

    asyncio.run(open_())
    refused(good)


def test_a_ticket_runs_out(served: Served) -> None:
    good = url(served)
    served.app.state.services.tickets._now = lambda: 10.0**9
    refused(good)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_pages_of_foreign_origins_are_not_listened_to(served: Served, origin: str) -> None:
    refused(url(served), origin=origin)


def test_pages_of_the_own_and_the_configured_origins_are(served: Served) -> None:
    async def main(origin: str) -> None:
        async with connect(url(served), origin=origin) as listener:  # type: ignore[arg-type]
            await next_of(listener, "status")

    for origin in ("http://localhost:3000", f"http://127.0.0.1:{served.port}"):
        asyncio.run(main(origin))


def test_other_hosts_do_not_lead_to_the_stream(served: Served) -> None:
    path = url(served).partition("/api")[2]
    request = (
        f"GET /api{path} HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), 10) as one:
        one.sendall(request.encode())
        assert one.recv(1_000).startswith(b"HTTP/1.1 403")


async def close_code(listener: ClientConnection) -> int:
    """Read to the end, and return the code that it came with, 0 for none."""
    try:
        while True:
            await listener.recv()
    except websockets.exceptions.ConnectionClosed as error:
        return 0 if error.rcvd is None else error.rcvd.code


def closed(served: Served, act: Callable[[ClientConnection], Any]) -> int:
    async def main() -> int:
        async with connect(url(served), close_timeout=1) as listener:
            await next_of(listener, "status")
            await act(listener)
            async with asyncio.timeout(PATIENCE_S):
                return await close_code(listener)

    return asyncio.run(main())


def test_a_revoked_key_sees_no_more(served: Served) -> None:
    async def revoke(_: ClientConnection) -> None:
        await asyncio.to_thread(served.keys.revoke, "viewer1")

    assert closed(served, revoke) == stream.REVOKED


def test_a_stalled_reader_is_dropped_and_the_others_go_on(served: Served) -> None:
    big = "x" * 60_000

    async def main() -> int:
        from onefold.domain.records import Quarantined

        with journal_of(served) as journal:
            async with (
                connect(url(served), max_queue=1, close_timeout=1) as stalled,
                connect(url(served)) as other,
            ):
                await next_of(other, "status")
                await asyncio.sleep(0.3)

                async def write() -> None:
                    for ts in range(2_000):
                        journal.append(Quarantined("BTCUSD", ts, "test", big))
                        journal.commit()
                        if ts % 10 == 0:
                            await asyncio.sleep(0.02)

                writing = asyncio.create_task(write())
                async with asyncio.timeout(PATIENCE_S):
                    while len(served.app.state.hub._clients) != 1:
                        await next_of(other, "record")
                writing.cancel()
                assert await close_code(stalled) in (0, stream.TOO_SLOW)
        return len(served.app.state.hub._clients)

    assert asyncio.run(main()) <= 1


def test_only_so_many_listen(served: Served) -> None:
    async def main() -> None:
        async with connect(url(served)), connect(url(served)), connect(url(served)) as third:
            await next_of(third, "status")
            async with connect(url(served)) as late:
                await late.wait_closed()
                assert late.close_code == stream.TOO_MANY

    asyncio.run(main())


def test_no_key_takes_all_streams(tmp_path: Path) -> None:
    served = Served(tmp_path, streams_per_key=2)

    async def main() -> None:
        async with connect(url(served)), connect(url(served)) as second:
            await next_of(second, "status")
            async with connect(url(served)) as late:
                await late.wait_closed()
                assert late.close_code == stream.TOO_MANY
            async with connect(url(served, "operator")) as other:
                await next_of(other, "status")

    try:
        asyncio.run(main())
    finally:
        served.close()


def test_nothing_is_read_when_nobody_listens(served: Served) -> None:
    hub = served.app.state.hub

    async def main() -> None:
        async with connect(url(served)) as listener:
            await next_of(listener, "status")
            assert hub._task is not None
        async with asyncio.timeout(PATIENCE_S):
            while hub._task is not None:  # noqa: ASYNC110 - in another thread
                await asyncio.sleep(0.02)

    asyncio.run(main())


def test_a_session_that_trades_is_followed(tmp_path: Path) -> None:
    session = started(PaperSession(tmp_path))
    text = (tmp_path / "onefold.yaml").read_text()
    served = Served(tmp_path, text=text)

    async def main() -> list[int]:
        async with connect(url(served)) as listener:
            return [(await next_of(listener, "record"))["seq"] for _ in range(40)]

    try:
        found = asyncio.run(main())
        assert found == list(range(found[0], found[0] + 40))
    finally:
        served.close()
        session.close()


def test_a_quiet_stream_is_not_cut_by_the_limits_of_connections(tmp_path: Path) -> None:
    served = Served(tmp_path, headers_s=0.5, connections=4)

    async def main() -> None:
        async with connect(url(served)) as listener:
            await next_of(listener, "status")
            silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(8)]
            await asyncio.sleep(1.5)
            await listener.ping()
            pong = await listener.ping()
            await asyncio.wait_for(pong, 10)
            for one in silent:
                one.close()

    try:
        asyncio.run(main())
    finally:
        served.close()
