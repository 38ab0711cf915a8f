"""A live journal's simulated twin is what a simulation of the same inputs gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from onefold.domain.records import Action
from onefold.engine.diverge import diverge, recalled, twin
from support import at

from .live_twin import Broker, Saying, trade_live
from .test_diverge import Slow, Thin, Worse, learned, plain, simulated_journal


@pytest.mark.parametrize(
    "broker", [Worse(nth=3, price=0.5, fee=2.0), Slow(nth=3, slippage=0.01), Thin()]
)
def test_a_twin_is_what_the_simulation_of_the_same_bars_is(tmp_path: Path, broker: Broker) -> None:
    one = plain(inputs=[Action(at(20), "dividend", 0.5, "ABC")])
    back = recalled(simulated_journal(one, tmp_path / "back"), one.plan)
    journal = trade_live(one.plan, one.feed(), tmp_path / "live", broker)
    ran = recalled(journal, one.plan)
    found = diverge(ran, twin(journal, one.plan))
    assert found == diverge(ran, back)
    assert found.total.difference != 0.0


def test_a_twin_hears_what_the_model_said_in_the_live_run(tmp_path: Path) -> None:
    one = learned()
    said = Saying(lambda n, value: 0.0 if n % 7 == 0 else value)
    journal = trade_live(one.plan, one.feed(), tmp_path / "live", inference=said)
    found = diverge(recalled(journal, one.plan), twin(journal, one.plan))
    assert found.total.one != 0.0
    assert found.total.difference == 0.0
    assert found.comparison.differences == []
