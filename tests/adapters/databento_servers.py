"""Databento by two small servers: history over https, and the live gateway over TCP.

They speak what the real client expects, in its own binary encoding: a login by challenge, a
subscription that may begin in the past, a replay of that, then records as they happen.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import databento_dbn as dbn
import zstandard
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from databento.common.cram import get_challenge_response

KEY = "db-0123456789abcdefghijklmnopqrs"
DATASET = "GLBX.MDP3"
NUMBER = 4711
SECOND_NS = 10**9
FOREVER = 2**63


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine that signs itself; return it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "server.pem", folder / "server.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


def metadata(schema: str | None, symbols: list[str]) -> bytes:
    """Return the head of a file or a stream."""
    return dbn.Metadata(
        dataset=DATASET,
        start=0,
        end=FOREVER,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=None if schema is None else dbn.Schema.from_str(schema),
        symbols=symbols,
    ).encode()


def heartbeat(ts: int) -> dbn.SystemMsg:
    return dbn.SystemMsg(ts, "Heartbeat", dbn.SystemCode.HEARTBEAT)


class Databento:
    """Both servers over one list of records of one symbol, in order of time."""

    def __init__(self, symbol: str, folder: Path) -> None:
        self.symbol = symbol
        self.certificate, self._secret = certificate(folder)
        self.records: list[Any] = []
        self.end_ns = 0
        self.now_ns = 0
        self.lost = False
        self.hangs = False
        self.status = 200
        self.subscribed: list[dict[str, str]] = []
        self.asked: list[dict[str, str]] = []
        self._streams: list[asyncio.StreamWriter] = []
        self._waiting: set[asyncio.StreamWriter] = set()
        self._secured: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None
        self._gateway: asyncio.Server | None = None

    async def start(self) -> tuple[str, str]:
        """Return the URL of history and the address of the gateway."""
        app = web.Application()
        app.router.add_post("/v0/symbology.resolve", self._resolve)
        app.router.add_get("/v0/metadata.get_dataset_range", self._range)
        app.router.add_post("/v0/timeseries.get_range", self._timeseries)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure.load_cert_chain(self.certificate, self._secret)
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=secure).start()
        self._gateway = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        history, live = self._runner.addresses[0][1], self._gateway.sockets[0].getsockname()[1]
        return f"https://127.0.0.1:{history}", f"127.0.0.1:{live}"

    async def stop(self) -> None:
        assert self._gateway is not None
        assert self._runner is not None
        self._gateway.close()
        for writer in (*self._streams, *self._waiting):
            writer.transport.abort()
        for transport in self._secured:
            transport.abort()
        await self._runner.cleanup()
        # Transports are closed by the loop, which ends after this.
        await asyncio.sleep(0.01)

    def send(self, *records: Any) -> None:
        """Have records, and send them to all who listen."""
        self.records += records
        self.tell(*records)

    def tell(self, *records: Any) -> None:
        """Send records that are part of no history, such as heartbeats."""
        if not self.hangs:
            for writer in self._streams:
                writer.writelines(bytes(record) for record in records)

    def lose(self) -> None:
        self.lost = True
        for writer in self._streams:
            writer.transport.abort()
        self._streams.clear()

    # --- history ---------------------------------------------------------------------------------

    async def _form(self, request: web.Request) -> dict[str, str]:
        form = {str(k): str(v) for k, v in (await request.post()).items()}
        self.asked.append({"path": request.path, **form, **dict(request.query)})
        assert isinstance(request.transport, asyncio.Transport)
        self._secured.add(request.transport)
        if self.lost:
            request.transport.abort()
        if self.hangs or self.lost:
            await asyncio.sleep(3_600)
        login = base64.b64decode(request.headers["Authorization"].split()[1]).decode()
        if login != f"{KEY}:":
            self._fail(401, "Authentication failed.")
        if self.status != 200:
            self._fail(self.status, "Trouble.")
        return form

    def _fail(self, status: int, detail: str) -> None:
        body = f'{{"detail": "{detail}"}}'
        kinds = {
            401: web.HTTPUnauthorized,
            422: web.HTTPUnprocessableEntity,
            429: web.HTTPTooManyRequests,
        }
        kind = kinds.get(status, web.HTTPServiceUnavailable)
        headers = {"Retry-After": "60"} if status == 429 else {}
        raise kind(text=body, content_type="application/json", headers=headers)

    async def _resolve(self, request: web.Request) -> web.Response:
        form = await self._form(request)
        asked = form["symbols"].split(",")
        known = [symbol for symbol in asked if symbol == self.symbol]
        days = {"d0": form["start_date"], "d1": form["end_date"], "s": str(NUMBER)}
        unknown = [symbol for symbol in asked if symbol not in known]
        return web.json_response(
            {"result": {s: [days] for s in known}, "partial": [], "not_found": unknown}
        )

    async def _range(self, request: web.Request) -> web.Response:
        await self._form(request)
        end = dt.datetime.fromtimestamp(self.end_ns / SECOND_NS, dt.UTC)
        return web.json_response(
            {"start": "2010-06-06T00:00:00.000000000Z", "end": f"{end:%Y-%m-%dT%H:%M:%S.%f}000Z"}
        )

    async def _timeseries(self, request: web.Request) -> web.Response:
        form = await self._form(request)
        start, end = _moment(form["start"]), _moment(form["end"])
        if end > self.end_ns:
            self._fail(422, "The end is after the available end.")
        found = [one for one in self.records if start <= _indexed(one) < end]
        body = metadata(form["schema"], [self.symbol]) + b"".join(map(bytes, found))
        return web.Response(body=zstandard.compress(body))

    # --- the gateway -----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting.add(writer)
        try:
            await self._session(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.lost:
            writer.transport.abort()
            return
        if self.hangs:
            return
        writer.write(b"lsg_version=0.1.0\ncram=challenge\n")
        login = await _line(reader)
        if login["auth"] != get_challenge_response("challenge", KEY):
            writer.write(b"success=0|error=Authentication failed.\n")
            writer.close()
            return
        writer.write(b"success=1|session_id=1\n")
        subscriptions = []
        while "start_session" not in (line := await _line(reader)):
            subscriptions.append(line)
        self.subscribed += subscriptions
        writer.write(metadata(None, []))
        for one in subscriptions:
            writer.write(bytes(self._subscribed(one)))
            writer.writelines(map(bytes, self._mapped(one["symbols"])))
        start = min(int(one["start"]) for one in subscriptions)
        # The gateway goes by the time of the exchange.
        replay = [record for record in self.records if record.ts_event >= start]
        writer.writelines(bytes(record) for record in [*replay, heartbeat(self.now_ns)])
        self._streams.append(writer)

    def _subscribed(self, one: dict[str, str]) -> dbn.SystemMsg:
        text = f"Subscription request {one['id']} for {one['schema']} data succeeded"
        return dbn.SystemMsg(self.now_ns, text, dbn.SystemCode.SUBSCRIPTION_ACK)

    def _mapped(self, symbols: str) -> Iterable[dbn.SymbolMappingMsg]:
        kind = dbn.SType.RAW_SYMBOL
        for one in symbols.split(","):
            yield dbn.SymbolMappingMsg(0, NUMBER, self.now_ns, kind, one, kind, one, 0, FOREVER)


async def _line(reader: asyncio.StreamReader) -> dict[str, str]:
    line = (await reader.readuntil(b"\n")).decode().strip()
    return dict(part.split("=", 1) for part in line.split("|"))


def _indexed(record: Any) -> int:
    return getattr(record, "ts_recv", record.ts_event)


def _moment(text: str) -> int:
    if text.isdigit():
        return int(text)
    day, _, fraction = text.rstrip("Z").partition(".")
    whole = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    return int(whole.timestamp()) * SECOND_NS + int(fraction.ljust(9, "0") or 0)
