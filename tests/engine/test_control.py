"""X7: people reach a session through files that outlive it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.domain.errors import ConfigError, VenueRefused
from onefold.domain.records import Order
from onefold.engine.control import EVERYTHING, Control, Request, Scope, killed_by, scope_of

NAMES = st.one_of(st.just(""), st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))


def order(strategy: str = "trend", instrument: str = "ES", **facts: object) -> Order:
    return Order(1, 1, instrument, strategy, facts.pop("purpose", "entry"), 1, 1, **facts)  # type: ignore[arg-type]


@given(strategy=NAMES, instrument=NAMES)
def test_every_scope_has_a_file_name_of_its_own(strategy: str, instrument: str) -> None:
    scope = Scope(strategy, instrument)
    assert scope_of(scope.file_name) == scope
    assert "/" not in scope.file_name
    assert "\\" not in scope.file_name


def test_a_file_that_a_person_makes_stops_everything(tmp_path: Path) -> None:
    control = Control(tmp_path)
    control.look(order())
    (tmp_path / "control" / "KILL").touch()
    with pytest.raises(VenueRefused, match="kill switch KILL is on"):
        control.look(order())
    assert control.switches() == {EVERYTHING: ""}
    control.release(EVERYTHING)
    control.look(order())


@pytest.mark.parametrize(
    ("scope", "stopped"),
    [
        (Scope("trend", ""), {("trend", "ES"), ("trend", "GC")}),
        (Scope("", "ES"), {("trend", "ES"), ("other", "ES")}),
        (Scope("trend", "ES"), {("trend", "ES")}),
    ],
)
def test_a_switch_covers_its_scope(
    tmp_path: Path, scope: Scope, stopped: set[tuple[str, str]]
) -> None:
    control = Control(tmp_path)
    control.kill(scope, "reason")
    for strategy in ("trend", "other"):
        for instrument in ("ES", "GC"):
            try:
                control.look(order(strategy, instrument))
                passed = True
            except VenueRefused:
                passed = False
            assert passed == ((strategy, instrument) not in stopped)


def test_what_an_operator_orders_and_what_protects_may_leave(tmp_path: Path) -> None:
    control = Control(tmp_path)
    control.kill(EVERYTHING, "")
    control.look(order(purpose="command", reduce_only=True))
    control.look(order(purpose="stop", order_kind="stop", price=1.0, reduce_only=True))
    with pytest.raises(VenueRefused):
        control.look(order(purpose="signal", reduce_only=True))


def test_a_folder_that_cannot_be_read_is_a_switch_that_is_on(tmp_path: Path) -> None:
    control = Control(tmp_path)
    (tmp_path / "control").rename(tmp_path / "gone")
    with pytest.raises(VenueRefused):
        control.look(order())


def test_requests_wait_in_order_until_they_are_done(tmp_path: Path) -> None:
    control = Control(tmp_path)
    for ts, command in ((2, "resume"), (1, "kill"), (3, "flatten")):
        control.ask(Request(f"id{ts}", command, ts, reason="r"))
    (tmp_path / "control" / "inbox" / "9-x.json").write_text("{half")
    found = list(control.requests())
    assert [r.command for _, r in found if isinstance(r, Request)] == ["kill", "resume", "flatten"]
    path, broken = found[-1]
    assert isinstance(broken, str)
    control.refuse(path, "half")
    control.done(found[0][0])
    assert len(list(control.requests())) == 2
    assert (tmp_path / "control" / "inbox" / "refused" / "9-x.json").read_text() == "{half"


def test_a_command_that_is_not_known_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'kill'"):
        Control(tmp_path).ask(Request("x", "kil", 1))


def test_the_environment_can_stop_everything() -> None:
    for value in ("true", "1", "YES", " yes "):
        assert killed_by({"POLICY_KILLSWITCH": value})
    for value in ("", "0", "false", "no"):
        assert not killed_by({"POLICY_KILLSWITCH": value})
    assert not killed_by({})
