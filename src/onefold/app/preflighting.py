"""Preflight of a configuration: which checks there are for what it says.

Kept apart from the other checks, since it loads strategies, models and data, and with `online`
opens feeds and venues, none of which the server may ever do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from onefold.app.accounts import Account, today
from onefold.app.checking import has_database, logs_folder
from onefold.app.configfile import env_files
from onefold.app.live import venue_of
from onefold.app.settings import (
    Loaded,
    accounts_of,
    check_secrets,
    load_settings,
)
from onefold.app.sources import live_source
from onefold.app.wiring import chosen_of, load_bars, read_sources, store_of
from onefold.domain.errors import ConfigError, OnefoldError
from onefold.ops import preflight as pf
from onefold.ops.log_settings import LogSettings
from onefold.ops.preflight import Check, PreflightSettings, Summary, Verdict, worst

OPTIONAL_SECRETS = {"passphrase"}
"""Secrets that a venue may do without."""
KEYLESS_FEEDS = {"ccxt", "yfinance"}
"""Sources that give bars to anybody."""
OFFLINE = Verdict("not applicable", "servers are asked with --online only")
"""What is said of servers that nobody asks."""
ZONES = ("UTC", "America/New_York")
"""The zones that weeks of currencies and calendars need."""


def preflight(config: Path, *, online: bool = False) -> Summary:
    """Look at everything that a configuration needs, and write the result beside it.

    One that cannot be read blocks, because nobody knows what it meant. Raises `ConfigError` where
    the result cannot be written.
    """
    try:
        loaded = load_settings(config)
    except ConfigError as error:
        said = str(error)

        def unread() -> Verdict:
            return Verdict("failed", said)

        summary = pf.run_checks({"config": unread}, "production")
        pf.write_summary(config.parent / LogSettings().folder / pf.SUMMARY, summary)
        return summary
    return preflight_of(loaded, online=online)


def preflight_of(loaded: Loaded, *, online: bool = False) -> Summary:
    """Look at everything that loaded settings need, and write the result beside them."""
    rules = loaded.settings.preflight
    summary = pf.run_checks(checks_of(loaded, online=online), rules.environment)
    pf.write_summary(logs_folder(loaded) / pf.SUMMARY, summary)
    return summary


def require_preflight(loaded: Loaded) -> Summary:
    """Let live trading begin only when nothing blocks it; servers are asked by the session itself.

    Raises `PreflightFailed` with every reason.
    """
    summary = preflight_of(loaded)
    pf.require(summary)
    return summary


def checks_of(loaded: Loaded, *, online: bool) -> Mapping[str, Check]:
    """Return the checks of a configuration by name, in the order in which they are made."""
    rules, paths = loaded.settings.preflight, loaded.settings.paths
    names = [name for name, one in accounts_of(loaded.settings).items() if one.enabled]
    folders = {name: loaded.account_folder(name) for name in names}
    written = [loaded.resolve(path) for path in (paths.journal, paths.governance)]
    written.append(logs_folder(loaded))
    governed = {name: written[1] / f"{name}.jsonl" for name in names}
    clock = partial(pf.clock, _files(loaded), rules.clock_s_max)
    return {
        "config": partial(_config, loaded),
        "credentials": partial(_credentials, loaded),
        "models": partial(_models, loaded),
        "data": partial(_data, loaded),
        "feeds": partial(_feeds, loaded) if online else _offline(bool(loaded.settings.feeds)),
        "venues": partial(_venues, loaded) if online else _offline(bool(_venue_accounts(loaded))),
        "database": partial(_database, loaded),
        "services": partial(_services, rules),
        "disk": partial(pf.disk, written, rules.disk_mb_min),
        "clock": partial(_clock_online, clock, rules) if online else clock,
        "permissions": partial(pf.permissions, written),
        "libraries": partial(pf.libraries, _extras(loaded)),
        "time_zone": partial(pf.time_zone, ZONES),
        "governance": partial(pf.governance, governed),
        "journals": partial(pf.journals, folders),
    }


def _offline(is_wanted: bool) -> Check:
    none = Verdict("not applicable", "there are none")
    return lambda: OFFLINE if is_wanted else none


# -- what is written ------------------------------------------------------------------------------


def _config(loaded: Loaded) -> Verdict:
    """Judge what is set: strategies and gates are made of it, and nothing runs without any."""
    settings = loaded.settings
    enabled = [name for name, one in accounts_of(settings).items() if one.enabled]
    if not enabled:
        return Verdict("failed", "no account is enabled")
    if not settings.strategies:
        return Verdict("failed", "there are no strategies")
    if not settings.data and not settings.feeds:
        return Verdict("failed", "there are neither data nor feeds")
    read_sources(loaded)
    return Verdict("passed", f"{len(settings.strategies)} strategies in {', '.join(enabled)}")


def _credentials(loaded: Loaded) -> Verdict:
    """Judge whether secrets are there, and nobody else's."""
    check_secrets(loaded.path.parent)
    found: list[Verdict] = []
    for symbol, feed in loaded.settings.feeds.items():
        missing = [] if feed.source in KEYLESS_FEEDS else _missing(feed.config)
        found += [
            Verdict("failed", f"feeds.{symbol}.{feed.source}.{name} is empty") for name in missing
        ]
    for name, one in accounts_of(loaded.settings).items():
        if one.enabled and one.venue is not None:
            outcome: pf.Outcome = "failed" if one.approved.strip() else "warned"
            where = f"accounts.{name}.venue.{one.venue.kind}"
            found += [
                Verdict(outcome, f"{where}.{secret} is empty")
                for secret in _missing(one.venue.config)
            ]
    files = len(env_files(loaded.path.parent))
    said = "a .env that is nobody else's" if files else "no .env"
    return worst(found, f"every secret is set; {said}")


def _missing(config: Any) -> list[str]:
    return [
        name
        for name in type(config).model_fields
        if name not in OPTIONAL_SECRETS
        and isinstance(secret := getattr(config, name), SecretStr)
        and not secret.get_secret_value().strip()
    ]


def _models(loaded: Loaded) -> Verdict:
    """Judge the models that strategies ask: each is loaded, hashed, proved, and has time left."""
    rules = loaded.settings.preflight
    found: list[Verdict] = []
    asked = set()
    now = date.fromisoformat(today())
    for name, one in accounts_of(loaded.settings).items():
        if not one.enabled:
            continue
        wanted = one.strategies or tuple(loaded.settings.strategies)
        strategies = {n: loaded.settings.strategies[n] for n in wanted}
        mine = loaded.settings.model_copy(update={"strategies": strategies})
        is_live = bool(one.venue and one.approved.strip())
        store = store_of(loaded, today=now.isoformat(), live=is_live)
        chosen = chosen_of(mine, read_sources(loaded), store)
        found += [
            Verdict("failed", f"{name}: strategy {strategy}: {why}")
            for strategy, why in chosen.disabled.items()
        ]
        for model in chosen.models.values():
            asked.add(model.identity)
            if not model.expires_on:
                continue
            left = (date.fromisoformat(model.expires_on) - now).days
            if left <= rules.model_days_min:
                found.append(Verdict("warned", f"{model.identity} expires on {model.expires_on}"))
    if not asked and not found:
        return Verdict("not applicable", "no strategy asks a model")
    return worst(dict.fromkeys(found), f"{len(asked)} models have proved themselves")


# -- bars -----------------------------------------------------------------------------------------


def _data(loaded: Loaded) -> Verdict:
    """Judge recorded bars: files are there, and what they hold is plausible."""
    if not loaded.settings.data:
        return Verdict("not applicable", "there is no recorded data")
    bars = load_bars(loaded)
    limit = loaded.settings.preflight.quarantine_max
    found: list[Verdict] = []
    for symbol, one in bars.items():
        refused = len(one.quarantined)
        if not one.bars.rows:
            found.append(Verdict("failed", f"{symbol}: there is no plausible bar in {one.source}"))
        elif refused > limit * one.rows:
            said = f"{symbol}: {refused:,} of {one.rows:,} rows of {one.source} are refused"
            found.append(Verdict("failed", said))
    rows = sum(one.bars.rows for one in bars.values())
    return worst(found, f"{rows:,} bars of {len(bars)} symbols")


def _feeds(loaded: Loaded) -> Verdict:
    """Judge sources of live bars by opening each."""
    settings = loaded.settings
    if not settings.feeds:
        return Verdict("not applicable", "there are none")
    found = []
    for feed, symbols in live_source(settings, settings.feeds).feeds:
        why = _opened(feed, settings.preflight.deadline_s)
        if why:
            found.append(Verdict("failed", f"{', '.join(symbols)}: {why}"))
    return worst(found, f"{len(settings.feeds)} symbols can be had")


# -- servers --------------------------------------------------------------------------------------


def _venue_accounts(loaded: Loaded) -> list[str]:
    accounts = accounts_of(loaded.settings)
    return [name for name, one in accounts.items() if one.enabled and one.venue is not None]


def _venues(loaded: Loaded) -> Verdict:
    """Judge venues by logging in to each; nothing is ordered."""
    accounts = accounts_of(loaded.settings)
    names = _venue_accounts(loaded)
    if not names:
        return Verdict("not applicable", "there are none")
    found = []
    for name in names:
        account = Account(loaded, name, accounts[name], "paper")
        traded = {
            symbol: loaded.settings.instruments[symbol]
            for symbol in account.symbols
            if symbol not in loaded.settings.rate_pairs
        }
        why = _opened(venue_of(account, traded), loaded.settings.preflight.deadline_s)
        if why:
            found.append(Verdict("failed", f"{name}: {why}"))
    return worst(found, f"{len(names)} accounts can log in")


def _opened(door: Any, deadline_s: float) -> str:
    """Open and close a feed or a venue; return why it cannot be opened, or nothing."""

    async def tried() -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await door.open()
        finally:
            await door.close()

    try:
        asyncio.run(tried())
    except TimeoutError:
        return f"no answer within {deadline_s:g} s"
    except (OnefoldError, OSError) as error:
        return str(error)
    return ""


def _services(rules: PreflightSettings) -> Verdict:
    if not rules.services:
        return Verdict("not applicable", "no server is named under preflight.services")
    found = {
        name: pf.service(url.get_secret_value(), rules.deadline_s)
        for name, url in rules.services.items()
    }
    bad = (one._replace(reason=f"{name}: {one.reason}") for name, one in found.items())
    return worst(bad, "; ".join(f"{name}: {one.reason}" for name, one in found.items()))


def _database(loaded: Loaded) -> Verdict:
    """Judge the database: that it answers, and has this version's tables."""
    if not has_database(loaded):
        return Verdict("not applicable", "there is none yet; `onefold db follow` makes it")
    try:
        # An extra, which those need that have a database.
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

        from onefold.ops.database.connection import connected, url_of  # noqa: PLC0415
        from onefold.ops.database.reading import unreadable  # noqa: PLC0415
        from onefold.ops.database.schema import newest, revision  # noqa: PLC0415
    except ImportError as error:
        said = f"{error.name} is not installed: pip install 'onefold[ops]'"
        return Verdict("failed", said)

    settings = loaded.settings
    url = url_of(settings.database.url, loaded.resolve(settings.paths.database))

    async def asked() -> str:
        engine = connected(url, read_only=True)
        try:
            async with asyncio.timeout(settings.preflight.deadline_s):
                return await revision(engine)
        finally:
            await engine.dispose()

    try:
        found = asyncio.run(asked())
    except TimeoutError:
        return Verdict("failed", "the database does not answer")
    except (DBAPIError, OSError) as error:
        return Verdict("failed", str(unreadable(error)))
    if found != newest():
        said = f"it has revision {found or 'none'}, and {newest()} is needed: onefold db upgrade"
        return Verdict("failed", said)
    return Verdict("passed", f"it answers, and has revision {found}")


def _clock_online(offline: Check, rules: PreflightSettings) -> Verdict:
    there = pf.clock_against(rules.clock_url, rules.clock_s_max, rules.deadline_s)
    return worst((offline(), there), there.reason)


def _files(loaded: Loaded) -> Iterator[Path]:
    yield loaded.path
    for name in accounts_of(loaded.settings):
        folder = loaded.account_folder(name)
        yield from folder.glob("*.json")
        yield from folder.glob("*/*.jsonl")


def _extras(loaded: Loaded) -> set[str]:
    """Return the extras that a configuration needs."""
    settings = loaded.settings
    extras = {"live"} if settings.feeds or _venue_accounts(loaded) else set()
    if any(loaded.resolve(settings.paths.models).glob("*/")):
        extras.add("ml")
    if settings.database.url.startswith("postgres"):
        extras |= {"ops", "postgres"}
    return extras
