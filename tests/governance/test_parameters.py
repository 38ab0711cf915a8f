"""G2, G3: what governance has changed is one chain, and the fold ends up with what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefold.domain.errors import ConfigError
from onefold.domain.records import Mandate
from onefold.domain.rules import Limits
from onefold.domain.words import Mode
from onefold.fold.codec import Inbox
from onefold.fold.state import Out, State
from onefold.governance.parameters import LINE_MAX, Parameters, read_parameters
from onefold.governance.versions import (
    CONF_MIN,
    STAGES,
    SUPPRESS,
    Entry,
    Hold,
    Key,
    Look,
    Runs,
    Version,
    looser_limits,
    sealed,
    stricter,
)
from onefold.sim.plan import Placement, Plan
from support import FLAT, MINUTE_NS, Scripted, account_of, rules_of, share

STRATEGIES, SYMBOLS = ("s0", "s1"), ("ABC", "DEF")
SLEEVES = [(s, i) for s in STRATEGIES for i in SYMBOLS]
CONFIGURED = 0.5


def configured(key: Key) -> float | None:
    return CONFIGURED if key.mandate == CONF_MIN else None


def entry(n: int, cause: str = "a reason") -> Entry:
    return Entry(n * 1_000_000_000, "a person", cause)


def plan() -> Plan:
    rules = rules_of(gates={"conf_min": CONFIGURED})
    return Plan(
        account_of(),
        tuple(share(s) for s in SYMBOLS),
        tuple(Placement(s, Scripted(side=(FLAT,)), rules, SYMBOLS) for s in STRATEGIES),
        (MINUTE_NS,) * len(SYMBOLS),
    )


def folded(mandates: Iterable[Mandate]) -> State:
    """Return what the fold makes of mandates."""
    made = plan()
    state, out, inbox = made.state(Mode.LIVE), Out(256), Inbox(made.names)
    for mandate in mandates:
        inbox.mandate(mandate)
        inbox.fold(state, out)
    return state


def lines(parameters: Parameters) -> bytes:
    return b"".join(msgspec.json.encode(v) + b"\n" for v in parameters.versions)


scopes = st.tuples(st.sampled_from(("", *STRATEGIES)), st.sampled_from(("", *SYMBOLS)))
staged_steps = st.tuples(
    st.sampled_from(["suppress", "release"]),
    st.sampled_from([("s0", ""), ("s1", "")]),
    st.just("stage"),
)
holds = st.one_of(
    st.tuples(
        st.sampled_from(["suppress", "suppress", "release", "watch"]),
        st.sampled_from([("", ""), ("s0", ""), ("s0", "ABC"), ("", "ABC")]),
        st.just("review"),
    ),
    staged_steps,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(SLEEVES), st.sampled_from([0.5, 0.6, 0.7, 0.8])),
        st.tuples(st.sampled_from(["suppress", "watch", "release"]), scopes, st.just("review")),
        staged_steps,
        st.tuples(st.just("propose"), st.sampled_from(SLEEVES), st.just(0.55)),
        st.tuples(st.just("approve"), st.integers(1, 12), st.none()),
        st.tuples(st.just("roll back"), st.integers(0, 12), st.none()),
    ),
    max_size=14,
)


def stepped(parameters: Parameters, n: int, step: tuple[str, Any, Any]) -> Version:
    what, where, how = step
    if what in ("set", "propose"):
        wanted = [(Key(CONF_MIN, *where), how)]
        return parameters.changed(wanted, configured, entry(n), proposed=what == "propose")
    if what == "approve":
        return parameters.approved(where, entry(n))
    if what == "roll back":
        return parameters.rolled_back(where, configured, entry(n))
    stage = "" if how == "review" else "shadow" if what == "suppress" else "live"
    return parameters.held(Hold(what, how, *where), entry(n), stage=stage)


def chain(taken: Iterable[tuple[str, Any, Any]]) -> Parameters:
    parameters = Parameters()
    for n, step in enumerate(taken, 1):
        try:
            parameters = parameters.extended(stepped(parameters, n, step))
        except ConfigError:
            continue
    return parameters


@given(st.one_of(steps, st.lists(holds, min_size=2, max_size=10)))
def test_the_fold_ends_with_what_the_chain_says(taken: list[tuple[str, Any, Any]]) -> None:
    parameters = chain(taken)
    state = folded(parameters.mandates())
    held = [h for h in parameters.holds if h.action == "suppress"]
    for n, (strategy, instrument) in enumerate(SLEEVES):
        wanted = parameters.values.get(Key(CONF_MIN, strategy, instrument), CONFIGURED)
        assert state.sleeves["conf_min"][n] == wanted
        covered = any(h.covers(Hold("suppress", h.holder, strategy, instrument)) for h in held)
        assert bool(state.sleeves["suppressed"][n]) == covered, parameters.versions


@given(steps, st.integers(0, 20))
def test_a_session_that_knew_a_part_comes_to_the_same(
    taken: list[tuple[str, Any, Any]], known: int
) -> None:
    parameters = chain(taken)
    everything = parameters.mandates()
    first = [m for m in everything if m.version <= known]
    again = folded([*first, *parameters.mandates(known)])
    assert again.sleeves.tobytes() == folded(everything).sleeves.tobytes()
    # What is told twice, or late, changes nothing.
    assert folded([*everything, *first]).sleeves.tobytes() == again.sleeves.tobytes()


@given(steps)
def test_a_chain_is_read_as_it_was_written(taken: list[tuple[str, Any, Any]]) -> None:
    parameters = chain(taken)
    assert read_parameters(lines(parameters), "here") == parameters


HASHES = ("h1", "h2")
stage_steps = st.tuples(
    st.sampled_from(["take back", "promote", "suppress", "release"]),
    st.sampled_from([("s0", ""), ("s1", ""), ("", "ABC"), ("s0", "ABC")]),
    st.tuples(st.sampled_from(["shadow", "paper", "live"]), st.sampled_from(HASHES)),
)


def staged(taken: Iterable[tuple[str, tuple[str, str], tuple[str, str]]]) -> Parameters:
    """Return a chain of promotions, demotions and reviews."""
    parameters = Parameters()
    for n, (what, scope, (stage, of)) in enumerate(taken, 1):
        action: Any = {"take back": "suppress", "promote": "release"}.get(what, what)
        made_by = entry(n)._replace(evidence=f"{of}/bundle")
        try:
            if what == action:
                made = parameters.held(Hold(action, "review", *scope), made_by)
            else:
                strategy = scope[0] or "s0"
                made = parameters.held(Hold(action, "stage", strategy), made_by, stage=stage)
        except (ConfigError, IndexError):  # nobody is taken back to live
            continue
        parameters = parameters.extended(made)
    return parameters


def shut_in(parameters: Parameters, runs: Runs) -> set[str]:
    """Return what is taken back in a session, said once more in other words."""
    shut = set()
    for version in parameters.applied:
        if version.hold is None or not version.stage:
            continue
        name, of = version.hold.strategy, version.evidence.split("/")[0]
        reaches = STAGES.index(version.stage) >= STAGES.index(runs.mode)
        if version.hold.action == "suppress":
            if STAGES.index(runs.mode) > STAGES.index(version.stage):
                shut.add(name)
        elif reaches and (runs.mode != "live" or of == runs.strategies[name]):
            shut.discard(name)
    return shut


@given(
    st.lists(stage_steps, min_size=2, max_size=12),
    st.sampled_from(STAGES),
    st.sampled_from(HASHES),
    st.integers(0, 20),
)
def test_a_strategy_trades_where_a_promotion_reaches_and_nobody_holds_it(
    taken: list[Any], mode: str, of: str, known: int
) -> None:
    """G6: in each mode the fold suppresses what was taken back there, and what reviews hold."""
    parameters = staged(taken)
    runs = Runs(mode, dict.fromkeys(STRATEGIES, of))
    told = parameters.mandates(runs=runs)
    state, shut = folded(told), shut_in(parameters, runs)
    assert parameters.shut(runs) == shut
    held = [h for h in parameters.holds if h.holder == "review" and h.action == "suppress"]
    for n, (strategy, instrument) in enumerate(SLEEVES):
        covered = any(h.covers(Hold("suppress", "review", strategy, instrument)) for h in held)
        assert bool(state.sleeves["suppressed"][n]) == (covered or strategy in shut)
    first = [m for m in told if m.version <= known]
    again = folded([*first, *parameters.mandates(known, runs=runs)])
    assert again.sleeves.tobytes() == state.sleeves.tobytes()
    assert read_parameters(lines(parameters), "here") == parameters


def test_a_promotion_reaches_as_far_as_its_stage_and_is_of_one_strategy() -> None:
    taken = [
        ("take back", ("s0", ""), ("shadow", "h1")),
        ("promote", ("s0", ""), ("paper", "h1")),
    ]
    for mode, expected in {"shadow": 0, "paper": 1, "live": 1}.items():
        told = staged(taken[:1]).mandates(runs=Runs(mode, {"s0": "h1"}))
        state = folded(told).sleeves["suppressed"].tolist()
        assert state == [expected, expected, 0, 0], "where it was taken back to, it proves itself"
    for more, shut in (
        ([], {"shadow": 0, "paper": 0, "live": 1}),
        ([("promote", ("s0", ""), ("live", "h2"))], {"shadow": 0, "paper": 0, "live": 1}),
        ([("promote", ("s0", ""), ("live", "h1"))], {"shadow": 0, "paper": 0, "live": 0}),
    ):
        parameters = staged([*taken, *more])
        for mode, expected in shut.items():
            told = parameters.mandates(runs=Runs(mode, {"s0": "h1"}))
            assert folded(told).sleeves["suppressed"].tolist() == [expected, expected, 0, 0]


def test_a_wide_release_of_a_chain_of_before_lets_nobody_go_who_was_taken_back() -> None:
    """It lacks what shuts them again; no session may take it then."""
    parameters = staged(
        [
            ("take back", ("s0", ""), ("shadow", "h1")),
            ("promote", ("s0", ""), ("paper", "h1")),
            ("suppress", ("", "ABC"), ("live", "h1")),
            ("release", ("", "ABC"), ("live", "h1")),
        ]
    )
    last = parameters.versions[-1]
    assert [(c.strategy, c.value, c.shut) for c in last.changes] == [
        ("", 0, False),
        ("s0", 1, True),
    ]
    assert Key(SUPPRESS, "s0", "ABC") not in parameters.values
    before = sealed(msgspec.structs.replace(last, changes=last.changes[:1]))
    live = Runs("live", {"s0": "h1"})
    for chain_, suppressed in (
        (parameters, [1, 1, 0, 0]),
        (Parameters((*parameters.versions[:-1], before)), [1, 1, 1, 0]),
    ):
        told = chain_.mandates(runs=live)
        assert folded(told).sleeves["suppressed"].tolist() == suppressed


def test_a_line_that_nobody_has_written_is_no_version() -> None:
    nested = b'{"version":1,"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
    with pytest.raises(ConfigError, match="here, line 1: this is no version"):
        read_parameters(nested, "here")
    with pytest.raises(ConfigError, match="here, line 1: it has 8,000,001 bytes"):
        read_parameters(b" " * (LINE_MAX + 1) + b"\n", "here")


def some() -> Parameters:
    return chain(
        [
            ("set", ("s0", "ABC"), 0.6),
            ("suppress", ("s1", ""), "review"),
            ("set", ("s0", "ABC"), 0.7),
            ("propose", ("s0", "DEF"), 0.55),
        ]
    )


def test_every_altered_byte_is_noticed() -> None:
    raw = lines(some())
    for at in range(len(raw) - 1):
        altered = bytearray(raw)
        altered[at] ^= 1
        if altered[at] == ord("\n"):
            continue
        with pytest.raises(ConfigError, match="here, line"):
            read_parameters(bytes(altered), "here")


def test_a_missing_or_exchanged_version_is_noticed() -> None:
    one, two, three, four = lines(some()).splitlines(keepends=True)
    for wrong in (two + three + four, one + three + four, two + one + three, one + one):
        with pytest.raises(ConfigError, match="here, line"):
            read_parameters(wrong, "here")


def test_what_a_crash_left_unfinished_is_not_there() -> None:
    raw = lines(some())
    last = raw.splitlines(keepends=True)[-1]
    whole = read_parameters(raw[: -len(last)], "here")
    for cut in range(1, len(last)):
        assert read_parameters(raw[:-cut], "here") == whole


def test_a_resealed_version_with_other_numbers_is_noticed() -> None:
    parameters = some()
    first = parameters.versions[0]
    change = msgspec.structs.replace(first.changes[0], number=7)
    forged = sealed(msgspec.structs.replace(first, changes=[change]))
    with pytest.raises(ConfigError, match="not numbered from 1"):
        read_parameters(msgspec.json.encode(forged) + b"\n", "here")


def test_a_clock_that_moved_back_adds_nothing() -> None:
    parameters = some()
    with pytest.raises(ConfigError, match="the clock says 1970-01-01T00:00:01Z"):
        stepped(parameters, 1, ("set", ("s0", "ABC"), 0.8))


def test_a_rollback_returns_to_the_values_of_then_and_keeps_what_is_suppressed() -> None:
    parameters = some()
    back = parameters.extended(parameters.rolled_back(1, configured, entry(9)))
    assert back.values[Key(CONF_MIN, "s0", "ABC")] == 0.6
    assert back.holds == parameters.holds
    start = back.extended(back.rolled_back(0, configured, entry(10)))
    assert start.values[Key(CONF_MIN, "s0", "ABC")] == CONFIGURED
    with pytest.raises(ConfigError, match="there is no version 99"):
        back.rolled_back(99, configured, entry(11))


def test_a_rollback_to_the_configuration_is_to_the_one_of_now() -> None:
    """What the configuration was when governance began is not what it says today."""
    parameters = some()
    now = {Key(CONF_MIN, "s0", "ABC"): 0.75}
    back = parameters.extended(parameters.rolled_back(0, now.get, entry(9)))
    assert back.values[Key(CONF_MIN, "s0", "ABC")] == 0.75


def test_looks_are_counted_by_the_chain_and_change_nothing() -> None:
    parameters = some()
    before = parameters.mandates()
    for number in (1, 2, 3):
        look = Look("s0", "live", number)
        parameters = parameters.extended(parameters.looked(look, entry(8 + number)))
    assert parameters.looks("s0", "live") == 3
    assert parameters.looks("s0", "paper") == parameters.looks("s1", "live") == 0
    assert parameters.mandates() == before
    assert "s0" not in parameters.stages
    assert read_parameters(lines(parameters), "here") == parameters


def test_what_others_hold_too_is_told_when_one_lets_go() -> None:
    """The journal has to know that this one has ended, though nothing trades again."""
    parameters = Parameters()
    for n, hold in enumerate(
        (
            Hold("suppress", "review", "s0", ""),
            Hold("suppress", "review", "s0", "ABC"),
            Hold("release", "review", "s0", "ABC"),
        ),
        1,
    ):
        parameters = parameters.extended(parameters.held(hold, entry(n)))
    assert [m.value for m in parameters.mandates()] == [1.0, 1.0, 1.0]
    assert folded(parameters.mandates()).sleeves["suppressed"].tolist() == [1, 1, 0, 0]


def test_a_look_at_an_earlier_stage_takes_nothing_away() -> None:
    """A strategy in live stays there; as another one it begins anew."""
    live = staged([("promote", ("s0", ""), ("live", "h1"))])
    for stage, of, refused in (
        ("paper", "h1", True),
        ("paper", "h2", False),
        ("live", "h1", False),  # on other evidence
    ):
        made_by = entry(5)._replace(evidence=f"{of}/another")
        hold = Hold("release", "stage", "s0")
        if refused:
            with pytest.raises(ConfigError, match="s0 is in live already"):
                live.held(hold, made_by, stage=stage)
        else:
            assert live.held(hold, made_by, stage=stage).stage == stage
    back = staged([("promote", ("s0", ""), ("shadow", "h1"))])
    with pytest.raises(ConfigError, match="s0 is in shadow: it cannot be taken back to paper"):
        back.held(Hold("suppress", "stage", "s0"), entry(5), stage="paper")


@pytest.mark.parametrize(
    ("now", "then", "looser"),
    [
        ({"gross_exposure": 2.0}, {"gross_exposure": 2.0}, []),
        ({"gross_exposure": 2.0}, {"gross_exposure": 1.0}, ["gross_exposure"]),
        ({"gross_exposure": 1.0}, {"gross_exposure": 2.0}, []),
        ({}, {"gross_exposure": 2.0}, ["gross_exposure"]),
        ({"daily_loss": 0.1, "session_hours": False}, {"session_hours": True}, ["session_hours"]),
        ({"free_slot": "sent"}, {}, ["free_slot"]),
    ],
)
def test_limits_are_looser_where_more_may_be_traded(
    now: dict[str, Any], then: dict[str, Any], looser: list[str]
) -> None:
    recorded = Limits.model_validate(then).model_dump(mode="json")
    assert looser_limits(Limits.model_validate(now), recorded) == looser


@pytest.mark.parametrize(
    ("mandate", "one", "other", "wanted"),
    [
        (CONF_MIN, 0.6, 0.5, 0.6),
        ("daily_loss", 0.02, 0.05, 0.02),
        ("daily_loss", None, 0.05, 0.05),
        ("daily_loss", None, None, None),
    ],
)
def test_the_stricter_of_two_lets_less_be_traded(
    mandate: str, one: float | None, other: float | None, wanted: float | None
) -> None:
    assert stricter(mandate, one, other) == stricter(mandate, other, one) == wanted


def test_a_limit_that_was_not_there_cannot_come_back() -> None:
    wanted = [(Key("daily_loss"), 0.02)]
    one = Parameters().changed(wanted, configured, entry(1))
    with pytest.raises(ConfigError, match="change the configuration"):
        Parameters((one,)).rolled_back(0, configured, entry(2))


def test_a_proposal_waits_and_goes_out_of_date() -> None:
    parameters = some()
    assert [v.version for v in parameters.waiting] == [4]
    assert Key(CONF_MIN, "s0", "DEF") not in parameters.values
    approved = parameters.extended(parameters.approved(4, entry(5)))
    assert approved.values[Key(CONF_MIN, "s0", "DEF")] == 0.55
    assert not approved.waiting
    with pytest.raises(ConfigError, match="approved already"):
        approved.approved(4, entry(6))
    overtaken = parameters.extended(stepped(parameters, 5, ("set", ("s0", "DEF"), 0.8)))
    assert not overtaken.waiting
    with pytest.raises(ConfigError, match="out of date"):
        overtaken.approved(4, entry(6))
    with pytest.raises(ConfigError, match="those that wait: none"):
        overtaken.approved(1, entry(6))


def test_with_a_second_person_nobody_approves_what_they_proposed() -> None:
    parameters = some()
    proposer = parameters.versions[3].by
    with pytest.raises(ConfigError, match="another person"):
        parameters.approved(4, entry(5)._replace(by=proposer), second_person=True)
    other = entry(5)._replace(by=f"not {proposer}")
    assert parameters.extended(parameters.approved(4, other, second_person=True)).values


def test_what_two_have_suppressed_is_let_go_when_the_last_lets_go() -> None:
    held = chain([("suppress", ("s0", ""), "stage"), ("suppress", ("s0", "ABC"), "review")])
    released = held.extended(held.held(Hold("release", "review", "s0", "ABC"), entry(3)))
    assert folded(released.mandates()).sleeves["suppressed"].tolist() == [1, 1, 0, 0]
    promotion = Hold("release", "stage", "s0")
    both = released.extended(released.held(promotion, entry(4), stage="live"))
    assert not folded(both.mandates()).sleeves["suppressed"].any()


def test_each_scope_is_let_go_by_itself() -> None:
    held = chain([("suppress", ("s0", ""), "review")])
    with pytest.raises(ConfigError, match="held as part of s0: release that"):
        held.held(Hold("release", "review", "s0", "ABC"), entry(3))
    with pytest.raises(ConfigError, match="no review holds s1"):
        held.held(Hold("release", "review", "s1"), entry(3))
    narrow = chain([("suppress", ("s0", "ABC"), "review"), ("watch", ("s0", ""), "review")])
    after = narrow.extended(narrow.held(Hold("release", "review", "s0"), entry(3)))
    assert folded(after.mandates()).sleeves["suppressed"].tolist() == [1, 0, 0, 0]
    wide = chain([("suppress", ("s0", "ABC"), "review"), ("suppress", ("", "ABC"), "review")])
    after = wide.extended(wide.held(Hold("release", "review", "", "ABC"), entry(3)))
    assert folded(after.mandates()).sleeves["suppressed"].tolist() == [1, 0, 0, 0]
    with pytest.raises(ConfigError, match="no review holds s0 as a whole, but s0/ABC"):
        after.held(Hold("release", "review", "s0"), entry(4))


def test_a_journal_knows_of_a_promotion_that_a_review_keeps_from_trading() -> None:
    parameters = chain([("suppress", ("s0", ""), "review"), ("suppress", ("s0", ""), "stage")])
    made_by = entry(3)._replace(evidence="h1/bundle")
    made = parameters.held(Hold("release", "stage", "s0"), made_by, stage="live")
    parameters = parameters.extended(made)
    told = parameters.mandates(runs=Runs("live", {"s0": "h1"}))
    assert told[-1].version == made.changes[0].number
    assert folded(told).sleeves["suppressed"].tolist() == [1, 1, 0, 0]


def test_a_suppression_is_not_shortened_by_another() -> None:
    """Who may suppress and not release must not let go by it."""
    day = 86_400_000_000_000

    def until(days: int) -> Hold:
        return Hold("suppress", "review", "s0", "", days * day)

    parameters = chain([("suppress", ("s0", ""), "review")])
    with pytest.raises(ConfigError, match="s0 is suppressed without an end: release it before"):
        parameters.held(until(2), entry(2))
    dated = Parameters((Parameters().held(until(2), entry(1)),))
    with pytest.raises(ConfigError, match="suppressed until 1970-01-03"):
        dated.held(until(1), entry(2))
    for longer in (until(2), until(3), until(0)):
        assert dated.held(longer, entry(2)).hold == longer


def test_what_was_taken_back_needs_the_stage_beyond() -> None:
    def staged(parameters: Parameters, action: Any, stage: str, n: int) -> Parameters:
        made = parameters.held(Hold(action, "stage", "s0"), entry(n), stage=stage)
        return parameters.extended(made)

    back = staged(staged(Parameters(), "release", "live", 1), "suppress", "paper", 2)
    for stage in ("shadow", "paper"):
        with pytest.raises(ConfigError, match="only a check for live lets it trade again"):
            staged(back, "release", stage, 3)
    assert not staged(back, "release", "live", 3).holds


def test_mandates_that_the_fold_would_refuse_are_no_parameters() -> None:
    first = some().versions[0]
    for wrong in ({"mandate": "drawdown"}, {"value": -1.0}, {"mandate": "moon", "strategy": ""}):
        change = msgspec.structs.replace(first.changes[0], **wrong)
        forged = sealed(msgspec.structs.replace(first, changes=[change]))
        with pytest.raises(ConfigError, match="here: mandate 1: "):
            read_parameters(msgspec.json.encode(forged) + b"\n", "here")


def test_a_threshold_of_confidence_belongs_to_a_sleeve() -> None:
    with pytest.raises(ConfigError, match="belongs to one strategy in one instrument"):
        Parameters().changed([(Key(CONF_MIN, "s0"), 0.6)], configured, entry(1))
    with pytest.raises(ConfigError, match="nothing would change"):
        Parameters().changed([(Key(CONF_MIN, "s0", "ABC"), CONFIGURED)], configured, entry(1))


def test_what_loosens_is_known() -> None:
    change = some().versions[0].changes[0]
    assert not change.loosens
    assert msgspec.structs.replace(change, value=0.4).loosens
    limit = msgspec.structs.replace(change, mandate="daily_loss", before=0.02, value=0.03)
    assert limit.loosens
    assert not msgspec.structs.replace(limit, value=0.01).loosens
    assert msgspec.structs.replace(change, mandate=SUPPRESS, before=1.0, value=0.0).loosens


def test_a_version_is_json_that_people_read() -> None:
    found = json.loads(lines(some()).splitlines()[0])
    assert found["by"] == "a person"
    assert found["timestamp"] == "1970-01-01T00:00:01Z"
    assert found["changes"] == [
        {
            "mandate": "conf_min",
            "value": 0.6,
            "before": 0.5,
            "number": 1,
            "strategy": "s0",
            "instrument": "ABC",
        }
    ]
