"""U2: keys, allowances, lock-outs and passes, each by itself."""

from __future__ import annotations

import json
import stat
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.api.config import ORIGINS, ServeSettings, is_address, is_loopback, origins_of
from onefold.api.security import (
    FREE_FAILURES,
    LOCKED_MAX_S,
    REMEMBERED,
    Buckets,
    Keys,
    Lockout,
    Passes,
    Role,
)
from onefold.domain.errors import ConfigError


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


def test_a_key_is_known_by_all_who_read_the_file_and_is_not_in_it(keys: Keys) -> None:
    key = keys.add("ann", "risk")
    caller = Keys(keys.path).authenticate(key)
    assert caller is not None
    assert (caller.name, caller.role) == ("ann", Role.RISK)
    secret = key.rpartition("_")[2] if key.count("_") == 2 else key.split("_", 2)[2]
    assert len(secret) >= 43  # 256 bits in base64
    assert secret not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600


def test_keys_are_never_the_same_and_neither_are_salts(keys: Keys) -> None:
    made = {keys.add(f"n{number}", "viewer") for number in range(20)}
    content = json.loads(keys.path.read_text())["keys"]
    assert len(made) == 20
    assert len({one["salt"] for one in content}) == len({one["hash"] for one in content}) == 20


def test_every_wrong_key_is_nobodys(keys: Keys) -> None:
    key = keys.add("ann", "admin")
    wrong = [key[:n] + ("a" if key[n] != "a" else "b") + key[n + 1 :] for n in range(len(key))]
    wrong += ["", key[:-1], key + "a", key.upper(), f" {key}", key.replace("onefold", "twofold")]
    wrong += ["onefold__", "onefold_0000000000_", "\ud800", "onefold_" + key.split("_")[1] + "_é"]
    assert [text for text in wrong if keys.authenticate(text) is not None] == []
    assert keys.authenticate(key) is not None


@given(st.text(max_size=100))
def test_no_text_is_a_key_by_chance(text: str) -> None:
    assert Keys(Path("/nonexistent/keys.json")).authenticate(text) is None


def test_a_revoked_key_counts_no_more_at_once(keys: Keys) -> None:
    one, other = keys.add("ann", "viewer"), keys.add("bob", "viewer")
    reader = Keys(keys.path)
    caller = reader.authenticate(one)
    assert caller is not None
    keys.revoke("ann")
    assert reader.authenticate(one) is None
    assert reader.caller(caller.id) is None
    assert reader.authenticate(other) is not None


def test_without_a_key_nothing_can_begin(keys: Keys) -> None:
    with pytest.raises(ConfigError, match=r"there is no API key .* onefold keys add NAME"):
        keys.check()
    keys.add("ann", "viewer")
    keys.check()
    keys.revoke("ann")
    with pytest.raises(ConfigError, match="there is no API key"):
        keys.check()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_that_others_can_read_is_refused(keys: Keys, mode: int) -> None:
    key = keys.add("ann", "viewer")
    keys.path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        Keys(keys.path).authenticate(key)


@pytest.mark.parametrize(
    ("field", "value"),
    [("hash", "ab"), ("hash", ""), ("salt", ""), ("role", "root"), ("name", "A b"), ("more", 1)],
)
def test_a_file_that_was_made_weaker_is_refused(keys: Keys, field: str, value: object) -> None:
    keys.add("ann", "viewer")
    content = json.loads(keys.path.read_text())
    content["keys"][0][field] = value
    keys.path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="no file of keys"):
        Keys(keys.path).check()


@pytest.mark.parametrize("name", ["governor", "engine", "operator", "", "A", "a b", "1a", "a" * 33])
def test_names_that_could_be_taken_for_others_are_refused(keys: Keys, name: str) -> None:
    with pytest.raises(ConfigError):
        keys.add(name, "viewer")
    assert keys.facts() == []


def test_a_name_has_one_key_and_a_role_is_one_of_four(keys: Keys) -> None:
    keys.add("ann", "viewer")
    with pytest.raises(ConfigError, match="there is a key 'ann' already"):
        keys.add("ann", "admin")
    with pytest.raises(ConfigError, match="did you mean 'viewer'"):
        keys.add("bob", "viewr")
    with pytest.raises(ConfigError, match="there is no key 'an'; did you mean 'ann'"):
        keys.revoke("an")


# --- how often -----------------------------------------------------------------------------------


def test_a_bucket_gives_what_it_holds_and_fills_again() -> None:
    clock = Clock()
    buckets = Buckets(2.0, 5, now=clock)
    assert [buckets.take("a") for _ in range(5)] == [0.0] * 5
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("b") == 0.0
    clock.now += 1.0
    assert [buckets.take("a") > 0 for _ in range(3)] == [False, False, True]


@given(st.lists(st.floats(0, 3), max_size=60))
def test_no_one_gets_more_than_the_rate_and_the_burst(pauses: list[float]) -> None:
    clock = Clock()
    buckets = Buckets(3.0, 4, now=clock)
    began, taken = clock.now, 0
    for pause in pauses:
        clock.now += pause
        taken += buckets.take("a") == 0.0
        assert taken <= 4 + 3.0 * (clock.now - began) + 1e-9


def test_only_so_many_clients_are_remembered() -> None:
    buckets, lockout, passes = Buckets(1.0, 1), Lockout(), Passes(1.0)
    for number in range(REMEMBERED + 50):
        buckets.take(number)
        lockout.failed(str(number))
        passes.issue("x")
    assert len(buckets._of) == len(lockout._of) == len(passes._of) == REMEMBERED


def test_wrong_keys_wait_longer_each_time() -> None:
    clock = Clock()
    lockout = Lockout(now=clock)
    waits = []
    for _ in range(20):
        waits.append(lockout.failed("a"))
        clock.now += waits[-1]
    assert waits[: FREE_FAILURES - 1] == [0.0] * (FREE_FAILURES - 1)
    assert waits[FREE_FAILURES - 1 : FREE_FAILURES + 3] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LOCKED_MAX_S
    assert lockout.failed("b") == 0.0
    lockout.succeeded("a")
    assert lockout.failed("a") == 0.0


def test_a_pass_is_good_for_a_while_and_a_ticket_once() -> None:
    clock = Clock()
    passes = Passes(30.0, now=clock)
    made, other = passes.issue("ann"), passes.issue("bob")
    assert passes.holder(made) == passes.holder(made) == "ann"
    assert passes.holder(made, once=True) == "ann"
    assert passes.holder(made) is None
    assert passes.holder(other + "x") is passes.holder("") is None
    clock.now += 30.1
    assert passes.holder(other) is None


# --- where it listens ----------------------------------------------------------------------------


EVERYWHERE = "0.0.0.0"  # noqa: S104 - it is what is refused


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.168.1.5", "a.org"])
def test_beyond_this_machine_it_listens_only_when_told_so(host: str) -> None:
    with pytest.raises(ValueError, match="beyond this machine"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, public=True).host == host
    assert ServeSettings(host=host, tls_certificate=Path("a"), tls_key=Path("b")).has_tls


def test_by_default_it_is_this_machine_alone() -> None:
    settings = ServeSettings()
    assert is_loopback(settings.host)
    assert not settings.public
    assert not is_loopback(EVERYWHERE)
    assert is_loopback("::1")
    with pytest.raises(ValueError, match="give both"):
        ServeSettings(tls_key=Path("b"))
    with pytest.raises(ValueError, match="no name of a host"):
        ServeSettings(hosts=("*.example.org",))


def test_origins_are_exact() -> None:
    assert origins_of(None) == ORIGINS == ("http://localhost:3000",)
    assert origins_of("") == ()
    assert origins_of("https://a.org, http://b:80/") == ("https://a.org", "http://b:80")
    for text in (
        "*",
        "https://*.org",
        "a.org",
        "https://a.org/x",
        "null",
        "file:///x",
        "https://u@a",
    ):
        with pytest.raises(ConfigError, match="no origin"):
            origins_of(text)


@pytest.mark.parametrize("text", ["127.0.0.1", "[::1]", "10.1.2.3"])
def test_an_address_is_no_name(text: str) -> None:
    assert is_address(text)
    assert not any(
        map(is_address, ("localhost", "127.0.0.1.example.org", "", *string.ascii_letters))
    )
