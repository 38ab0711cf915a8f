"""O7: people are told by real HTTP, within limits, and trading never waits for it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onefold.app.main import run
from onefold.app.settings import settings_of
from onefold.domain.errors import ConfigError
from onefold.ops import notifications
from onefold.ops.channels import KINDS, NotificationSettings
from onefold.ops.notices import Level, Notice, plain
from onefold.ops.notifications import Notifications, Pile, try_out

from .messenger import (
    DISCORD,
    SECRETS,
    SLACK,
    TELEGRAM,
    Asked,
    Messenger,
    point_at,
    serving,
    too_many,
    well,
)

ALL = {"discord": DISCORD, "slack": SLACK, "telegram": TELEGRAM}


@pytest.fixture
def messenger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Messenger]:
    with serving() as one:
        point_at(one.port, monkeypatch.setattr)
        # The services' own pauses between messages are not what is tested here.
        from apprise.plugins.slack import NotifySlack
        from apprise.plugins.telegram import NotifyTelegram

        monkeypatch.setattr(NotifySlack, "request_rate_per_sec", 0)
        monkeypatch.setattr(NotifyTelegram, "request_rate_per_sec", 0)
        monkeypatch.setattr(notifications, "RETRY_S", 0.05)
        yield one


@pytest.fixture
def closing() -> Iterator[list[Notifications]]:
    """Close what a test has opened."""
    opened: list[Notifications] = []
    yield opened
    for one in opened:
        one.close()


Start = Callable[..., Notifications]


@pytest.fixture
def start(closing: list[Notifications]) -> Start:
    def begin(channels: dict[str, Any] | None = None, **common: Any) -> Notifications:
        given = {
            n: one if isinstance(one, dict) else {"url": one}
            for n, one in (channels or {"discord": DISCORD}).items()
        }
        alerts: list[str] = []
        one = Notifications(settings_for(given, **common), alerts.append)
        one.alerts = alerts  # type: ignore[attr-defined]
        closing.append(one)
        return one

    return begin


def settings_for(channels: dict[str, Any], **common: Any) -> NotificationSettings:
    return NotificationSettings.model_validate({"channels": channels, "drain_s": 1.0, **common})


def notice(
    number: int = 0, kind: str = "entry", level: Level = Level.INFO, account: str = "paper"
) -> Notice:
    return Notice(
        account, kind, level, 1_577_923_200_000_000_000, f"title {number}", f"text {number}"
    )


def told(asked: list[Asked]) -> list[str]:
    """Return the titles that came to Discord, without the account."""
    return [a.body["content"].split("\r\n")[0].replace("paper: ", "") for a in asked]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


# -- content --------------------------------------------------------------------------------------


def test_every_kind_reaches_every_service(messenger: Messenger, start: Start) -> None:
    one = start(ALL, per_minute=100)
    for number, kind in enumerate(KINDS):
        one.tell(notice(number, kind))
    asked = messenger.wait_for(3 * len(KINDS))
    for service in ALL:
        mine = [a.text for a in asked if a.path.startswith(f"/{service}/")]
        assert len(mine) == len(KINDS)
        for number, text in enumerate(mine):  # in their order
            assert f"title {number}" in text
            assert f"text {number}" in text
            assert "2020-01-02 00:00:00 UTC" in text


def test_urgency_is_written_out(messenger: Messenger, start: Start) -> None:
    one = start()
    one.tell(notice(1, level=Level.EMERGENCY))
    messenger.wait_for(1)
    one.tell(notice(2, level=Level.WARNING))
    assert told(messenger.wait_for(2)) == ["EMERGENCY: title 1", "warning: title 2"]


@pytest.mark.parametrize("service", ALL)
def test_text_from_outside_mentions_nobody_and_links_nowhere(
    service: str, messenger: Messenger, start: Start
) -> None:
    evil = "@everyone <!channel> <@1> [x](https://evil.example) **b** <a href='x'>y</a>"
    one = start({"one": ALL[service]})
    one.tell(Notice("paper", "kill", Level.INFO, 1, plain(evil), plain(evil)))
    [asked] = messenger.wait_for(1)
    for forbidden in ("@", "<!", "<a", "](", "://", "**"):
        assert forbidden not in asked.text.replace("<b>", "").replace("</b>", "")


def test_redirects_are_not_followed(messenger: Messenger, start: Start) -> None:
    target = f"http://127.0.0.1:{messenger.port}/elsewhere"
    messenger.answers = lambda _: (302, {"Location": target}, b"")
    one = start(ALL)
    one.tell(notice())
    messenger.wait_for(6)
    assert all(not a.path.startswith("/elsewhere") for a in messenger.asked)
    assert all(s["delivered"] == 0 for s in one.status().values())


# -- who is told of what --------------------------------------------------------------------------


def test_channels_choose_by_level_kind_and_account(messenger: Messenger, start: Start) -> None:
    one = start(
        {
            "all": {"url": f"{DISCORD}?thread=1"},
            "urgent": {"url": SLACK, "level": "warning"},
            "exits": {"url": TELEGRAM, "kinds": ["exit"], "accounts": ["main"]},
        }
    )
    one.tell(notice(1, "exit", account="main"))
    one.tell(notice(2, "exit"))
    one.tell(notice(3, "halt", Level.EMERGENCY))
    one.tell(notice(4, "feed", Level.WARNING, account="main"))
    messenger.wait_for(7)
    numbers = {
        service: sorted(
            n for n in range(1, 5) for a in messenger.asked
            if a.path.startswith(f"/{service}/") and f"title {n}" in a.text
        )
        for service in ALL
    }  # fmt: skip
    assert numbers == {"discord": [1, 2, 3, 4], "slack": [3, 4], "telegram": [1]}


# -- limits ---------------------------------------------------------------------------------------


def test_a_flood_is_told_in_one_message(messenger: Messenger, start: Start) -> None:
    one = start(per_minute=5)
    for number in range(1_000):
        one.tell(notice(number, "exit" if number % 4 == 0 else "entry"))
    asked = messenger.wait_for(5)
    until(lambda: one.status()["discord"]["waiting"] == 0 or len(messenger.asked) > 5)
    singles = [t for t in told(asked) if t.startswith("title")]
    digests = [a.body["content"] for a in asked if "notices in one message" in a.text]
    assert singles == [f"title {n}" for n in range(len(singles))]
    assert len(asked) == len(singles) + len(digests) == 5
    # What came while the last message was on its way waits for the next minute.
    left = one.status()["discord"]["waiting"] + one.status()["discord"]["counted"]
    counted = sum(int(d.split(" notices")[0]) for d in digests)
    assert len(singles) + counted + left == 1_000
    one.close()
    whole = [a.body["content"] for a in messenger.asked if "notices in one message" in a.text]
    assert len(singles) + sum(int(d.split(" notices")[0]) for d in whole) == 1_000
    assert "the latest: paper: title 999" in whole[-1]


def test_a_digest_counts_each_kind_and_shows_its_latest(messenger: Messenger, start: Start) -> None:
    hold = threading.Event()
    messenger.answers = lambda path: well(path) if hold.wait(30) else None
    one = start(per_minute=2, queue=100)
    one.tell(notice(0))
    messenger.wait_for(1)
    for number in range(1, 301):
        one.tell(notice(number, "exit" if number % 3 == 0 else "entry"))
    hold.set()
    digest = messenger.wait_for(2)[1].body["content"]
    assert digest.split("\r\n")[0] == "300 notices in one message"
    assert "200 x entry, the latest: paper: title 299" in digest
    assert "100 x exit, the latest: paper: title 300" in digest


def test_an_emergency_goes_first_and_has_places_of_its_own(
    messenger: Messenger, start: Start
) -> None:
    hold = threading.Event()
    messenger.answers = lambda path: well(path) if hold.wait(30) else None
    one = start(per_minute=2)
    one.tell(notice(0))
    messenger.wait_for(1)
    for number in range(1, 50):
        one.tell(notice(number))
    one.tell(notice(99, "halt", Level.EMERGENCY))
    hold.set()
    second, third = told(messenger.wait_for(3))[1:]
    assert second == "EMERGENCY: title 99"
    assert third == "49 notices in one message"
    one.tell(notice(98, "halt", Level.EMERGENCY))
    assert told(messenger.wait_for(4))[3] == "EMERGENCY: title 98"


def test_a_full_queue_counts_the_oldest_and_emergencies_last(
    messenger: Messenger, start: Start
) -> None:
    messenger.answers = lambda _: (500, {}, b"")
    one = start(queue=10)
    one.tell(notice(0, "halt", Level.EMERGENCY))
    messenger.wait_for(1)
    for number in range(1, 41):
        one.tell(notice(number))
    one.tell(notice(41, "halt", Level.EMERGENCY))
    status = one.status()["discord"]
    assert status["waiting"] + status["counted"] == 42
    assert 31 <= status["counted"] <= 32  # one may be on its way
    messenger.answers = well
    one.close()
    title = "notices in one message"
    taken = [t for t in told(messenger.asked) if title in t or t.startswith("EMERGENCY")]
    assert {"EMERGENCY: 2 notices in one message", "40 notices in one message"} == set(taken[-2:])


def test_a_pile_tells_the_worst_first() -> None:
    pile = Pile([notice(1), notice(2, "halt", Level.EMERGENCY), notice(3)])
    title, text, level = pile.message()
    assert (title, level) == ("EMERGENCY: 3 notices in one message", Level.EMERGENCY)
    assert text.splitlines() == [
        "1 x halt, the latest: paper: title 2",
        "2 x entry, the latest: paper: title 3",
    ]


# -- services that are slow, busy or away ---------------------------------------------------------


@pytest.mark.parametrize("service", ALL)
def test_a_service_that_was_asked_too_often_gets_it_later_and_once(
    service: str, messenger: Messenger, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from apprise.plugins.discord import NotifyDiscord

    monkeypatch.setattr(NotifyDiscord, "clock_skew", timedelta(0))
    begun = time.monotonic()
    messenger.answers = lambda path: (
        too_many(path, 1.0) if time.monotonic() < begun + 1.0 else well(path)
    )
    one = start({"one": ALL[service]})
    one.tell(notice(7))
    until(lambda: one.status()["one"]["delivered"] == 1)
    assert one.status()["one"]["waiting"] == 0
    taken = [a for a in messenger.asked if a.at >= begun + 1.0]
    assert len(taken) == 1
    assert "title 7" in taken[0].text


def test_errors_are_tried_again_in_order(messenger: Messenger, start: Start) -> None:
    bad = iter(range(3))
    messenger.answers = lambda path: (
        (500, {}, b"oops") if next(bad, None) is not None else well(path)
    )
    one = start()
    for number in range(3):
        one.tell(notice(number))
    until(lambda: one.status()["discord"]["delivered"] == 3)
    assert told(messenger.asked)[3:] == ["title 0", "title 1", "title 2"]
    assert one.alerts == [  # type: ignore[attr-defined]
        "channel discord takes no messages, tried again: it answered 500",
        "channel discord takes messages again",
    ]


def test_a_service_that_comes_back_is_told_what_was_missed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "RETRY_S", 0.05)
    with serving() as gone:
        port = gone.port
    point_at(port, monkeypatch.setattr)
    one = start(retry_s=1)
    for number in range(3):
        one.tell(notice(number))
    one.tell(notice(9, "halt", Level.EMERGENCY))
    until(lambda: one.status()["discord"]["trouble"] == "no answer, or no connection")
    until(lambda: one.status()["discord"]["counted"] == 3)
    with serving(port) as back:
        back.wait_for(2)
        first, second = told(back.asked)
        assert first == "EMERGENCY: title 9", "an emergency is never given up"
        assert second == "3 notices in one message"


def test_one_channel_does_not_wait_for_another(messenger: Messenger, start: Start) -> None:
    messenger.answers = lambda path: None if path.startswith("/discord") else well(path)
    one = start(ALL)
    one.tell(notice(1))
    one.tell(notice(2))
    until(
        lambda: (
            {n: s["delivered"] for n, s in one.status().items()}
            == {"discord": 0, "slack": 2, "telegram": 2}
        )
    )


def test_the_end_waits_for_a_bounded_time(messenger: Messenger) -> None:
    messenger.answers = lambda _: None
    alerts: list[str] = []
    one = Notifications(settings_for({"d": {"url": DISCORD}}, drain_s=0.3), alerts.append)
    for number in range(50):
        one.tell(notice(number))
    messenger.wait_for(1)
    begun = time.monotonic()
    one.close()
    assert time.monotonic() - begun < 3.0  # the service itself waits for 4 s
    assert alerts == ["channel d: 50 notices were not delivered"]


def test_the_end_sends_what_is_left(messenger: Messenger, start: Start) -> None:
    one = start(per_minute=2, drain_s=20)
    for number in range(10):
        one.tell(notice(number))
    one.tell(notice(10, "stop"))
    one.close()
    assert one.status()["discord"]["waiting"] == 0
    assert "title 10" in messenger.asked[-1].text
    assert "1 x stop" in messenger.asked[-1].text


def test_telling_never_waits(messenger: Messenger, start: Start) -> None:
    messenger.answers = lambda _: None
    one = start(ALL)
    one.tell(notice())
    messenger.wait_for(3)
    begun = time.monotonic()
    for number in range(3_000):
        one.tell(notice(number))
    took = time.monotonic() - begun
    until(lambda: all(s["failures"] for s in one.status().values()))
    assert took < time.monotonic() - begun, "all was told before one request gave up"


# -- secrets --------------------------------------------------------------------------------------


def test_addresses_are_in_no_log_and_no_text(
    messenger: Messenger, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("apprise", "urllib3", "urllib3.connectionpool", "requests"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    messenger.answers = lambda path: (401, {}, path.encode())
    one = start(ALL)
    one.tell(notice())
    until(lambda: all(s["failures"] for s in one.status().values()))
    shown = f"{caplog.text}{one.status()}{one.alerts}{settings_for({'d': {'url': DISCORD}})!r}"  # type: ignore[attr-defined]
    assert "it answered 401" in shown
    for secret in SECRETS:
        assert secret not in shown


@pytest.mark.parametrize("url", ["discord://12345/", "slack://TOKENA/B", "tgram://hushhush/1/"])
def test_an_address_that_apprise_does_not_take_is_not_shown(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"notifications\.channels\.ops\.url") as refused:
        Notifications(settings_for({"ops": {"url": url}}))
    shown = f"{refused.value}{capfd.readouterr()}"
    for part in ("12345", "TOKENA", "hushhush"):
        assert part not in shown


def test_settings_of_a_file_do_not_show_the_address() -> None:
    raw = {"notifications": {"channels": {"ops": {"url": "dscord://hush/hush"}}}}
    with pytest.raises(ConfigError, match=r"notifications\.channels\.ops\.url") as refused:
        settings_of(raw)
    assert "hush" not in str(refused.value)
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        settings_of(
            {"notifications": {"channels": {"ops": {"url": DISCORD, "accounts": ["papre"]}}}}
        )
    settings = settings_of({"notifications": {"channels": {"ops": {"url": DISCORD}}}})
    written = settings.as_written()
    assert settings_of(written).as_written() == written
    assert not any(secret in str(written) for secret in SECRETS)


def test_trying_out(messenger: Messenger) -> None:
    settings = settings_for({n: {"url": url} for n, url in ALL.items()})
    messenger.answers = lambda path: (404, {}, b"") if path.startswith("/slack") else well(path)
    assert try_out(settings, ()) == {
        "discord": "",
        "slack": "it answered 404",
        "telegram": "",
    }
    assert try_out(settings, ("discord",)) == {"discord": ""}
    with pytest.raises(ConfigError, match="did you mean 'discord'"):
        try_out(settings, ("discrod",))


def test_the_command_says_which_channel_took_it(
    messenger: Messenger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "onefold.yaml"
    channels = "".join(f"    {name}: {{url: '{url}'}}\n" for name, url in ALL.items())
    file.write_text(f"notifications:\n  channels:\n{channels}")
    assert run(["notify", "test", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{name}: delivered" for name in ALL]
    messenger.answers = lambda path: (404, {}, b"") if path.startswith("/slack") else well(path)
    assert run(["notify", "test", str(file), "--json"]) == 8
    document = json.loads(capsys.readouterr().out)
    assert document == {"channels": {"discord": "", "slack": "it answered 404", "telegram": ""}}
    assert run(["notify", "test", str(file), "--channel", "slack"]) == 8
    assert run(["notify", "test", str(file), "--channel", "discord"]) == 0


# -- never in the way -----------------------------------------------------------------------------


def traded(folder: Path, port: int) -> dict[str, str]:
    """Run a session in a process of its own; return what it printed."""
    script = Path(__file__).with_name("told_session.py")
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(port)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_a_service_that_hangs_changes_nothing_of_the_session(tmp_path: Path) -> None:
    with serving() as messenger:
        messenger.answers = lambda _: None
        quiet = traded(tmp_path / "quiet", 0)
        told_ = traded(tmp_path / "told", messenger.port)
        assert messenger.asked, "it was told"
    files = sorted(p.name for p in (tmp_path / "quiet").iterdir() if p.suffix == ".jsonl")
    assert files
    for name in files:
        one, other = ((tmp_path / k / name).read_bytes() for k in ("quiet", "told"))
        assert one == other
    assert quiet["fingerprint"] == told_["fingerprint"]
    assert int(told_["notices"]) > 100
    # Hanging requests give up after 4 s each; a session that waited for one would take longer.
    assert float(told_["slowest_s"]) < 2.0
    assert float(told_["seconds"]) < 5.0 * float(quiet["seconds"]) + 2.0
