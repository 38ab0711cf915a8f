"""Which accounts a command for a strategy or an instrument is meant for.

A session that finds a kill switch with a name that it does not know stops everything, since nobody
can be asked what was meant. Whoever gives a command can be: a name that no account has is refused
with the nearest one, and accounts that do not have it are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from onefold.app.configfile import resolve
from onefold.domain.errors import ConfigError, did_you_mean

OVERRIDING = tuple(f"ONEFOLD_{name}__" for name in ("ACCOUNTS", "STRATEGIES", "DATA", "FEEDS"))
"""Variables under which the file alone does not say what an account has."""


class Names(NamedTuple):
    """The strategies and instruments of an account; none known means that it may have any."""

    strategies: frozenset[str] = frozenset()
    instruments: frozenset[str] = frozenset()

    def lacks(self, strategy: str, instrument: str) -> str:
        """Return which name it does not have, in words, nothing when it may have both."""
        if strategy and self.strategies and strategy not in self.strategies:
            return f"no strategy {strategy!r}"
        if instrument and self.instruments and instrument not in self.instruments:
            return f"no instrument {instrument!r}"
        return ""

    def as_running(self, beat: Mapping[str, Any] | None) -> Names:
        """Return the same, as the session says that runs: it may know another configuration."""
        if beat is None:
            return self
        strategies = beat.get("strategies")
        seen = {
            str(symbol)
            for field in ("last_bars", "positions", "feeds")
            if isinstance(one := beat.get(field), dict)
            for symbol in one
        }
        return Names(
            frozenset(map(str, strategies)) if isinstance(strategies, dict) else self.strategies,
            self.instruments | seen if self.instruments else self.instruments,
        )


def names_of(
    strategies: Iterable[str], everything: Iterable[str], instruments: Callable[[str], Any]
) -> Names:
    """Return the names of an account; a strategy without `instruments` trades everything."""
    wanted, all_ = list(strategies), list(everything)
    return Names(frozenset(wanted), frozenset(s for n in wanted for s in instruments(n) or all_))


def names_written(raw: Mapping[str, Any], variables: Mapping[str, str], account: str) -> Names:
    """Return an account's names from the file itself, which may be broken; none where it is."""
    if any(variable.upper().startswith(OVERRIDING) for variable in variables):
        return Names()
    try:
        one = raw["accounts"][account] if raw.get("accounts") else {}
        every: dict[str, Any] = raw["strategies"]
        wanted = resolve(one.get("strategies") or list(every), variables)
        everything = [*(raw.get("data") or ()), *(raw.get("feeds") or ())]
        return names_of(
            wanted, everything, lambda name: resolve(every[name].get("instruments"), variables)
        )
    except (ConfigError, KeyError, TypeError, AttributeError):
        return Names()


def left_alone(known: Mapping[str, Names], strategy: str, instrument: str) -> dict[str, str]:
    """Return the accounts that do not have a name, with what they lack.

    Raises `ConfigError` when none of them has it.
    """
    lacking = {n: what for n, one in known.items() if (what := one.lacks(strategy, instrument))}
    if not lacking or len(lacking) < len(known):
        return lacking
    strategies = {name for one in known.values() for name in one.strategies}
    instruments = {name for one in known.values() for name in one.instruments}
    who = f"account {next(iter(known))!r} has" if len(known) == 1 else "no account has"
    none = "no " if len(known) == 1 else ""
    if strategy and strategy not in strategies:
        hint = did_you_mean(strategy, strategies)
        raise ConfigError(f"{who} {none}strategy {strategy!r}{hint}")
    if instrument and instrument not in instruments:
        hint = did_you_mean(instrument, instruments)
        raise ConfigError(f"{who} {none}instrument {instrument!r}{hint}")
    raise ConfigError(f"no account has both strategy {strategy!r} and instrument {instrument!r}")
