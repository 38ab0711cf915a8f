"""The sample that ships: readable, clean, small, and with its licence beside it."""

from __future__ import annotations

import pytest

from onefold.adapters.files import FileConfig, load, report
from onefold.data import SAMPLES, sample_path
from onefold.domain.errors import DataError


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(name: str) -> None:
    path = sample_path(name)
    assert path.stat().st_size < 300_000
    found = report(FileConfig(path=path, instrument={"symbol": name, "kind": "index"}))
    assert found.clean
    assert found.bars == 5_031
    assert (found.first, found.last) == ("1999-01-04T00:00:00Z", "2019-01-01T00:00:00Z")
    assert found.interval == "1d"


def test_prices_are_those_of_history() -> None:
    # The S&P 500 closed at 676.53 on 2009-03-09, its lowest close of the crisis.
    bars = load(
        FileConfig(path=sample_path("sp500"), instrument={"symbol": "SPX", "kind": "index"})
    ).bars
    assert bars.close.min() == pytest.approx(676.53, abs=0.005)


def test_licence_is_there() -> None:
    text = sample_path("sp500").with_name("ARCH-LICENSE.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Kevin Sheppard" in text
    assert "THE SOFTWARE IS PROVIDED" in text


def test_unknown_sample() -> None:
    with pytest.raises(DataError, match="no sample 'sp5000'; did you mean 'sp500'"):
        sample_path("sp5000")
