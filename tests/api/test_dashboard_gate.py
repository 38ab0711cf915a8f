"""The dashboard's door: sessions, cookies, origins, policy, and the file with the secret."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import websockets

from app.world import write_config
from onefold.api.dashboard.gate import local
from onefold.api.dashboard.sessions import COOKIE, LASTS_S, Sessions
from onefold.api.security import DeniedError, Keys, Role
from onefold.domain.errors import ConfigError

from .dashboards import PAGES, Dashboard
from .served import CONFIG, ONEFOLD


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """Keys of two people, and sessions over a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.keys = Keys(folder / "keys.json")
        self.ann = self.keys.authenticate(self.keys.add("ann", "operator"))
        self.bob = self.keys.authenticate(self.keys.add("bob", "risk"))

    @property
    def file(self) -> Path:
        return self.folder / "dashboard.json"

    def sessions(self) -> Sessions:
        return Sessions(self.file, self.keys, idle_s=60, confirm_s=10, now=self.clock)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_session_is_found_by_its_cookie_also_after_a_restart(world: World) -> None:
    sessions = world.sessions()
    cookie = sessions.cookie(sessions.open(world.ann))
    found = sessions.find(cookie)
    assert found is not None
    assert sessions.caller(found).name == "ann"
    again = world.sessions().find(cookie)
    assert again is not None
    assert again.id == found.id


def test_a_cookie_that_was_changed_is_nobodys(world: World) -> None:
    sessions = world.sessions()
    cookie = sessions.cookie(sessions.open(world.ann))
    for place in range(len(cookie)):
        changed = cookie[:place] + ("0" if cookie[place] != "0" else "1") + cookie[place + 1 :]
        assert sessions.find(changed) is None, place
    for wrong in ("", ".", "a.b.c.d.e", cookie + "0", "é" * 90, "." * 300, cookie.upper()):
        assert sessions.find(wrong) is None, wrong
    other = World.__new__(World)
    other.folder, other.clock, other.keys = world.folder / "other", world.clock, world.keys
    other.folder.mkdir()
    assert other.sessions().find(cookie) is None  # another secret


def test_it_ends_when_unused_and_in_any_case(world: World) -> None:
    sessions = world.sessions()
    session = sessions.open(world.ann)
    cookie = sessions.cookie(session)
    world.clock.now += 59
    assert sessions.find(cookie) is not None  # looking is no use
    world.clock.now += 2
    assert sessions.find(cookie) is None
    assert world.sessions().find(cookie) is None
    session = sessions.open(world.ann)
    until = world.clock.now + LASTS_S
    while world.clock.now < until:
        assert sessions.find(sessions.cookie(session)) is not None
        world.clock.now += 50
        sessions.use(session)
    world.clock.now += 50
    assert sessions.find(sessions.cookie(session)) is None


def test_signing_out_counts_after_a_restart_too(world: World) -> None:
    sessions = world.sessions()
    session = sessions.open(world.ann)
    cookie = sessions.cookie(session)
    sessions.close(session)
    assert sessions.find(cookie) is None
    assert world.sessions().find(cookie) is None
    with pytest.raises(DeniedError, match="signed out"):
        sessions.allowed(session, Role.VIEWER)


def test_a_key_counts_as_it_is_now(world: World) -> None:
    sessions = world.sessions()
    session = sessions.open(world.ann)
    assert sessions.allowed(session, Role.OPERATOR).name == "ann"
    with pytest.raises(DeniedError, match="takes the role risk; the key 'ann' is operator"):
        sessions.allowed(session, Role.RISK)
    world.keys.revoke("ann")
    assert sessions.find(sessions.cookie(session)) is None
    with pytest.raises(DeniedError, match="signed out"):
        sessions.allowed(session, Role.VIEWER)


def test_a_confirmation_is_ones_own_and_short(world: World) -> None:
    sessions = world.sessions()
    session = sessions.open(world.bob)
    assert not sessions.is_confirmed(session)  # signing in is none
    with pytest.raises(DeniedError, match="not the key that is signed in"):
        sessions.confirm(session, world.ann)
    assert not sessions.is_confirmed(session)
    sessions.confirm(session, world.bob)
    assert sessions.is_confirmed(session)
    world.clock.now += 11
    assert not sessions.is_confirmed(session)


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_the_secret_is_for_its_owner_alone(world: World) -> None:
    world.sessions()
    assert stat.S_IMODE(world.file.stat().st_mode) == 0o600
    assert re.search(r"[0-9a-f]{64}", world.file.read_text())
    world.file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"can be read by others: chmod 600"):
        world.sessions()
    world.file.chmod(0o600)
    world.file.write_text("{}")
    with pytest.raises(ConfigError, match="is not what was written"):
        world.sessions()


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "", "/login",
     "/a\r\nSet-Cookie: x=1", "http:evil", "/\u2028", "\\\\evil"],
)  # fmt: skip
def test_one_is_led_nowhere_else(elsewhere: str) -> None:
    assert local(elsewhere) == "/"
    assert local("/explain?decision=4") == "/explain?decision=4"


# --- over the wire -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("gate")
    write_config(folder, CONFIG)
    found = Dashboard(folder)
    yield found
    found.close()


def sign_in(dashboard: Dashboard, role: str = "viewer", **more: Any) -> httpx.Response:
    headers = {"Origin": dashboard.url, **more.pop("headers", {})}
    data = {"key": dashboard.key[role], **more}
    return httpx.post(f"{dashboard.url}/dashboard/login", data=data, headers=headers)


def cookies(dashboard: Dashboard, role: str = "viewer") -> dict[str, str]:
    return {COOKIE: sign_in(dashboard, role).cookies[COOKIE]}


def test_nothing_is_reached_without_a_session(dashboard: Dashboard) -> None:
    with httpx.Client(base_url=dashboard.url) as client:
        for path in PAGES:
            found = client.get(f"/dashboard/{path}")
            assert (found.status_code, found.text) == (303, ""), path
            assert found.headers["location"].startswith("/dashboard/login?next=%2F")
        inner = httpx.get(f"{dashboard.url}/dashboard/", cookies=cookies(dashboard)).text
        static = re.findall(r'(/dashboard/_nicegui/[^"]+\.js)', inner)
        assert len(static) > 5
        for path in static:
            assert client.get(path).status_code == 401, path
        for path in ("report/x", "nothing", "_nicegui_ws/socket.io/?EIO=4&transport=polling"):
            assert client.get(f"/dashboard/{path}").status_code in (303, 401, 404), path
        assert client.get("/dashboard/assets/style.css").status_code == 200
        assert client.get("/dashboard/assets/..%2fgate.py").status_code == 404
        assert client.get("/dashboard/assets/table.js").status_code == 404


def test_the_cookie_is_kept_from_scripts_and_other_sites(dashboard: Dashboard) -> None:
    response = sign_in(dashboard)
    assert response.status_code == 303
    assert response.headers["location"] == "/dashboard/"
    said = response.headers["set-cookie"]
    for flag in ("HttpOnly", "SameSite=Strict", "Path=/dashboard", "Max-Age=43200"):
        assert flag in said, flag
    secret = dashboard.key["viewer"].split("_", 2)[2]
    assert secret not in said
    assert secret not in (dashboard.folder / "dashboard.json").read_text()
    page = httpx.get(f"{dashboard.url}/dashboard/", cookies=cookies(dashboard))
    assert secret not in page.text


def test_wrong_keys_and_forms_from_elsewhere_are_refused(dashboard: Dashboard) -> None:
    assert sign_in(dashboard, key="onefold_0000000000_wrong").status_code in (401, 429)
    for origin in ("https://evil.example", "null", "", dashboard.url.replace("127", "128")):
        found = sign_in(dashboard, headers={"Origin": origin})
        assert found.status_code == 403, origin
        assert "set-cookie" not in found.headers
    hurt = sign_in(dashboard, key="<script>alert(1)</script>")
    assert "<script>alert" not in hurt.text
    again = httpx.get(
        f"{dashboard.url}/dashboard/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
    )
    assert "<script>alert" not in again.text
    for _ in range(12):
        locked = sign_in(dashboard, key="onefold_0000000000_wrong")
    assert locked.status_code == 429
    assert sign_in(dashboard).status_code == 303  # a right key is let in all the same


def test_pages_bear_a_strict_policy(dashboard: Dashboard) -> None:
    known = cookies(dashboard)
    first, second = (
        httpx.get(f"{dashboard.url}/dashboard/", cookies=known) for _ in range(2)
    )  # fmt: skip
    policy = first.headers["content-security-policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert rules["frame-ancestors"] == ["'none'"]
    assert rules["base-uri"] == ["'none'"]
    assert rules["connect-src"] == ["'self'"]
    assert "'unsafe-inline'" not in rules["script-src"]
    [nonce] = [one for one in rules["script-src"] if one.startswith("'nonce-")]
    assert nonce not in second.headers["content-security-policy"]
    scripts = re.findall(r"<script([^>]*)>", first.text)
    plain = [one for one in scripts if "/assets/early.js" not in one]
    assert len(plain) > 5
    assert all(f'nonce="{nonce[7:-1]}"' in one for one in plain)
    assert "http" not in policy
    assert first.headers["x-frame-options"] == "DENY"
    assert first.headers["cache-control"] == "no-store"
    asset = re.search(r"/dashboard/_nicegui/[^\"]+\.js", first.text)
    assert asset is not None
    kept = httpx.get(dashboard.url + asset[0], cookies=known)
    assert "immutable" in kept.headers["cache-control"]


def test_the_socket_is_for_pages_of_this_server(dashboard: Dashboard) -> None:
    known = "; ".join(f"{name}={value}" for name, value in cookies(dashboard).items())
    url = dashboard.url.replace("http", "ws") + "/dashboard/_nicegui_ws/socket.io/"
    url += "?EIO=4&transport=websocket&client_id=none&implicit_handshake=false"

    async def opens(origin: str | None, cookie: str) -> bool:
        headers = {"Cookie": cookie} if cookie else {}
        try:
            async with websockets.connect(
                url, origin=origin, additional_headers=headers, proxy=None
            ) as socket:
                return str(await asyncio.wait_for(socket.recv(), 20)).startswith("0")
        except websockets.exceptions.InvalidStatus:
            return False

    async def tried() -> None:
        assert await opens(dashboard.url, known)
        assert not await opens("https://evil.example", known)
        assert not await opens("null", known)
        assert not await opens(None, known)
        assert not await opens(dashboard.url, "")
        assert not await opens(dashboard.url, f"{COOKIE}=forged")

    asyncio.run(tried())


def test_signing_out_ends_the_session_for_good(dashboard: Dashboard) -> None:
    known = cookies(dashboard, "operator")
    url = f"{dashboard.url}/dashboard/"
    assert httpx.get(url, cookies=known).status_code == 200
    away = httpx.post(f"{url}logout", cookies=known, headers={"Origin": "https://evil.example"})
    assert away.status_code == 303
    assert "set-cookie" not in away.headers
    assert httpx.get(url, cookies=known).status_code == 200  # it was not the visitor who asked
    httpx.post(f"{url}logout", cookies=known, headers={"Origin": dashboard.url})
    assert httpx.get(url, cookies=known).status_code == 303


def test_a_cookie_is_no_key_for_the_interface(dashboard: Dashboard) -> None:
    known = cookies(dashboard, "admin")
    assert httpx.get(f"{dashboard.url}/api/v1/accounts", cookies=known).status_code == 401
    headers = {"Authorization": f"Bearer {known[COOKIE]}"}
    assert httpx.get(f"{dashboard.url}/api/v1/accounts", headers=headers).status_code == 401
    missing = httpx.get(f"{dashboard.url}/api/v1/nothing")
    assert missing.json()["code"] == "not_found"


def test_a_report_is_shut_off_from_everything(dashboard: Dashboard) -> None:
    folder = dashboard.folder / "runs" / "bt-hurt"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text('{"sharpe": 1.0}')
    (folder / "report.html").write_text("<script>top.hurt = 1</script><p>a report</p>")
    url = f"{dashboard.url}/dashboard/report/bt-hurt"
    assert httpx.get(url).status_code == 404
    known = cookies(dashboard)
    found = httpx.get(url, cookies=known)
    assert "a report" in found.text
    policy = found.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert found.headers["x-frame-options"] == "SAMEORIGIN"
    assert httpx.get(f"{url}/../../keys.json", cookies=known).status_code == 404
    assert httpx.get(f"{dashboard.url}/dashboard/report/none", cookies=known).status_code == 404


def test_serve_has_it_and_can_leave_it_out(tmp_path: Path) -> None:
    write_config(tmp_path, CONFIG)
    Keys(tmp_path / "keys.json").add("ann", "viewer")
    for wanted in ("true", "false"):
        process = subprocess.Popen(
            [*ONEFOLD, "serve", "--port", "0", "--no-follow"],
            cwd=tmp_path,
            env={**os.environ, "ONEFOLD_SERVE__DASHBOARD": wanted},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            url = ""
            while not url and (line := process.stderr.readline()):
                url = line.partition("serving on ")[2].strip()
            found = httpx.get(f"{url}/", timeout=30)
            assert found.status_code == (307 if wanted == "true" else 404)
            login = httpx.get(f"{url}/dashboard/login", timeout=30)
            assert login.status_code == (200 if wanted == "true" else 404)
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert not (tmp_path / ".nicegui").exists()


def test_what_is_done_stands_in_the_audit_log(dashboard: Dashboard) -> None:
    sign_in(dashboard, "admin")
    deadline = time.monotonic() + 20
    while "sign in" not in (said := (dashboard.folder / "dashboard.err").read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    line = next(one for one in said.splitlines() if "admin1" in one)
    assert '"action": "sign in"' in line
    assert dashboard.key["admin"] not in said


# --- the socket of a page ------------------------------------------------------------------------

OTHER = "00000000-0000-4000-8000-000000000000"


def opened(dashboard: Dashboard, role: str, key: str = "") -> tuple[str, str]:
    """Sign in and open a page; return the cookie and the page's name for itself."""
    data, headers = {"key": key or dashboard.key[role]}, {"Origin": dashboard.url}
    signed = httpx.post(f"{dashboard.url}/dashboard/login", data=data, headers=headers)
    cookie = f"{COOKIE}={signed.cookies[COOKIE]}"
    page = httpx.get(f"{dashboard.url}/dashboard/journal", headers={"Cookie": cookie}, timeout=60)
    found = re.search(r"'client_id': '([0-9a-f-]{36})'", page.text)
    assert found is not None
    return cookie, found[1]


def wire(dashboard: Dashboard, cookie: str, client: str, **more: str) -> Any:
    asked = {
        "EIO": "4",
        "transport": "websocket",
        "client_id": client,
        "tab_id": str(uuid.uuid4()),
        "document_id": str(uuid.uuid4()),
        "old_tab_id": "null",
        "next_message_id": "0",
        "implicit_handshake": "true",
        **more,
    }
    return websockets.connect(
        f"{dashboard.url.replace('http', 'ws')}/dashboard/_nicegui_ws/socket.io/?"
        + urlencode(asked),
        origin=dashboard.url,
        additional_headers={"Cookie": cookie},
        max_size=None,
        proxy=None,
    )


async def begun(socket: Any) -> None:
    await socket.recv()
    await socket.send("40")
    while not (await asyncio.wait_for(socket.recv(), 60)).startswith("40"):
        pass


async def last_words(socket: Any) -> tuple[str, int | None]:
    """Return what a socket said last, and the code with which the server ended it."""
    said = ""
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        async with asyncio.timeout(30):
            while True:
                if (said := await socket.recv()) == "2":
                    await socket.send("3")
    return str(said), socket.close_code


TO_LOGIN = '42["open",{"path":"/login","new_tab":false}]'


@pytest.mark.parametrize("how", ["revoked", "signed out"])
def test_an_open_page_ends_with_its_session(dashboard: Dashboard, how: str) -> None:
    keys = Keys(dashboard.folder / "keys.json")
    key = keys.add("eve", "viewer")
    cookie, client = opened(dashboard, "", key)

    async def main() -> None:
        async with wire(dashboard, cookie, client) as socket:
            await begun(socket)
            if how == "revoked":
                await asyncio.to_thread(keys.revoke, "eve")
            else:
                async with httpx.AsyncClient(
                    headers={"Cookie": cookie, "Origin": dashboard.url}
                ) as visitor:
                    await visitor.post(f"{dashboard.url}/dashboard/logout")
            began = time.monotonic()
            # The page says nothing more and does nothing: it is the server that ends it.
            assert await last_words(socket) == (TO_LOGIN, 4001)
            assert time.monotonic() - began < 10

    asyncio.run(main())
    with contextlib.suppress(ConfigError):
        keys.revoke("eve")


def test_pages_of_others_are_not_spoken_for(dashboard: Dashboard) -> None:
    cookie, client = opened(dashboard, "viewer")
    _, theirs = opened(dashboard, "operator")

    async def main() -> None:
        with pytest.raises(websockets.exceptions.InvalidStatus):
            async with wire(dashboard, cookie, theirs):
                pass
        for wrong in ({"next_message_id": "EVIL"}, {"tab_id": "EVIL"}):
            with pytest.raises(websockets.exceptions.InvalidStatus):
                async with wire(dashboard, cookie, client, **wrong):
                    pass
        async with wire(dashboard, cookie, client) as socket:
            await begun(socket)
            ack = {"client_id": theirs, "next_message_id": 0}
            await socket.send("42" + json.dumps(["ack", ack]))  # not heard, and no reason to end
            await socket.send("42" + json.dumps(["ack", {**ack, "client_id": client}]))
            await socket.send("1")
            assert (await last_words(socket))[1] != 1008

    asyncio.run(main())


EVENT = {"id": 4, "listener_id": OTHER, "args": []}
WRONG = (
    'EVIL["x"]',
    '42["EVIL",{}]',
    '42["event","EVIL"]',
    '42["event",{"client_id":"EVIL"}]',
    '42["ack",{"client_id":"%s","next_message_id":"EVIL"}]',
    '42["event",{"client_id":"%s","id":4,"listener_id":"EVIL","args":[]}]',
    '42["event",{"client_id":"%s","id":4,"listener_id":"' + OTHER + '","args":["{EVIL"]}]',
    '451-["EVIL",{"_placeholder":true,"num":0}]',
)


def test_nothing_that_a_page_says_goes_into_the_log(dashboard: Dashboard) -> None:
    cookie, client = opened(dashboard, "viewer")

    async def main() -> None:
        async with wire(dashboard, cookie, client) as socket:
            await begun(socket)
            said = {"client_id": client, "level": "error", "message": "EVIL"}
            await socket.send("42" + json.dumps(["log", said]))
            await socket.send("42" + json.dumps(["event", {"client_id": client, **EVENT}]))
            await socket.send("42" + json.dumps(["event", {"client_id": OTHER, **EVENT}]))
            await asyncio.sleep(1)
            await socket.send("1")
        for wrong in WRONG:
            cookie2, client2 = opened(dashboard, "viewer")
            async with wire(dashboard, cookie2, client2) as socket:
                await begun(socket)
                await socket.send(wrong.replace("%s", client2))
                assert (await last_words(socket))[1] == 1008, wrong

    asyncio.run(main())
    said = (dashboard.folder / "dashboard.err").read_text()
    assert "EVIL" not in said
    assert "Traceback" not in said
    assert OTHER not in said
