"""Between records and rows nothing is lost, absent stays absent, wrong names are refused kindly."""

from __future__ import annotations

from typing import Any

import pytest

from onefold.domain.errors import ConfigError
from onefold.domain.records import Action, Command, Mandate
from onefold.domain.words import ActionKind, CommandKind, MandateKind
from support import Desk, account_of, at, bar, future, rules_of, share


def test_a_decision_says_everything_by_name() -> None:
    desk = Desk(rules_of(sizing={"kind": "fixed", "lots": 3}), instruments=(share("XYZ"),))
    desk.tell(bar(0, 99.5, symbol="XYZ"))
    (decision,) = desk.signal(0, -1, confidence=0.7, score=0.25)
    said = (decision.id, decision.ts, decision.instrument, decision.strategy, decision.purpose)
    assert said == (1, at(0), "XYZ", "s0", "entry")
    assert (decision.side, decision.qty, decision.price, decision.order) == (-1, 3, 99.5, 1)
    assert (decision.confidence, decision.score) == (0.7, 0.25)
    assert (decision.equity, decision.position) == (100_000.0, 0)
    (order,) = desk.orders
    assert (order.side, order.qty, order.price, order.order_kind) == (-1, 3, None, "market")
    assert (order.time_in_force, order.expire_ts, order.reduce_only) == ("gtc", None, False)


def test_what_is_absent_stays_absent() -> None:
    desk = Desk()
    desk.tell(bar(0))
    (decision,) = desk.signal(0)
    assert decision.score is None


def test_more_records_at_once_than_the_inbox_began_with() -> None:
    desk = Desk()
    desk.tell(*(bar(n, 100.0 + n) for n in range(500)))
    assert desk.state.instruments["mark"][0] == 599.0


@pytest.mark.parametrize(
    ("record", "hint"),
    [
        (Command(at(0), "kil"), "'kill'"),
        (Command(at(0), "kill", strategy="s1"), "known: s0"),
        (Command(at(0), "kill", instrument="ABD"), "'ABC'"),
        (Mandate(at(0), 1, "conf_mn", 0.5), "'conf_min'"),
        (Action(at(0), "splitt", 2.0, "ABC"), "'split'"),
        (Action(at(0), "split", 2.0, "ABX"), "'ABC'"),
        (Action(at(0), "rate", 2.0, currency="USX"), "'USD'"),
        (Action(at(0), "dividend", 2.0), "does not say of what"),
        (Action(at(0), "rate", 2.0, instrument="ABC"), "does not say of what"),
    ],
)
def test_a_name_that_is_not_known_is_refused_with_the_nearest(record: Any, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        Desk().tell(record)


@pytest.mark.parametrize(
    ("mandate", "said"),
    [
        (Mandate(at(0), 1, "drawdown", 0.1, strategy="s"), "for the whole account only"),
        (Mandate(at(0), 1, "max_position", 1.0, instrument="ABC"), "cannot be for one instrument"),
        (Mandate(at(0), 1, "conf_min", float("nan")), "nan is no limit"),
        (Mandate(at(0), 1, "gross_exposure", -1.0), "-1.0 is no limit"),
    ],
)
def test_a_mandate_that_means_nothing_is_refused(mandate: Mandate, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Desk().tell(mandate)


def test_every_word_can_be_said() -> None:
    for command in CommandKind:
        Desk().tell(Command(at(0), command.name.lower()))
    for mandate in MandateKind:
        Desk().tell(Mandate(at(0), 1, mandate.name.lower(), 0.5))
    for action in ActionKind:
        desk = Desk(instruments=(share(), share("XYZ", currency="EUR")), rates={"EUR": 1.1})
        currency = "EUR" if action in {ActionKind.RATE, ActionKind.PAYMENT} else ""
        desk.tell(Action(at(0), action.name.lower(), 1.0, "ABC", currency))


def test_the_base_currency_is_worth_one() -> None:
    with pytest.raises(ConfigError, match="USD is the base currency"):
        Desk().tell(Action(at(0), "rate", 1.2, currency="USD"))
    with pytest.raises(ConfigError, match="USD is the base currency"):
        Desk(rate_pairs={"ABC": "USD"})


@pytest.mark.parametrize(
    ("rules", "hint"),
    [
        ({"sizing": {"kind": "risk", "fraction": 0.01}}, "exits.stop"),
        ({"entry": {"order": "limit", "time_in_force": "gtd"}}, "valid_for_s"),
    ],
)
def test_rules_that_lack_something_are_refused(rules: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        Desk(rules_of(**rules))


def test_a_currency_needs_a_rate() -> None:
    with pytest.raises(ConfigError, match="EUR"):
        Desk(instruments=(share(currency="EUR"),))
    with pytest.raises(ConfigError, match="EUR"):
        Desk(instruments=(share(currency="EUR"), future("EURUSD")))
    Desk(instruments=(share(currency="EUR"),), account=account_of(currency="EUR"))


def test_a_pair_may_be_quoted_the_other_way_round() -> None:
    pair = future("USDJPY", multiplier=1.0, tick=0.001)
    desk = Desk(instruments=(share(currency="JPY"), pair), rate_pairs={"USDJPY": "-JPY"})
    desk.tell(bar(0, 125.0, symbol="USDJPY"))
    assert desk.state.currencies["rate"].tolist() == [1.0, 0.008]


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("split", 0.0), ("split", -2.0), ("rate", 0.0), ("rate", float("nan")),
        ("dividend", float("inf")), ("funding", float("nan")), ("roll", float("nan")),
    ],
)  # fmt: skip
def test_an_action_without_a_sensible_number_never_reaches_the_books(
    action: str, value: float
) -> None:
    desk = Desk()
    desk.hold(1)
    with pytest.raises(ConfigError, match="needs a number"):
        desk.tell(Action(at(1), action, value, "ABC", "USD"))
    desk.tell(bar(1))
    assert desk.account("equity") == 100_000.0
