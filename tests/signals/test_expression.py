"""M2: a feature as text means the same feature, and nothing else can be written."""

from __future__ import annotations

import pytest

from onefold.domain.errors import ConfigError
from onefold.signals import col, fracdiff, higher, ibs, lag, ta, zscore
from onefold.signals.expression import LENGTH_MAX, feature_of
from onefold.signals.feature import Feature

SAME: dict[str, Feature] = {
    "close": col.close,
    "rsi(14)": ta.rsi(14),
    "ta.rsi(14)": ta.rsi(14),
    "ibs()": ibs(),
    "close / sma(20) - 1": col.close / ta.sma(20) - 1,
    "-(high - low) * 0.5": -(col.high - col.low) * 0.5,
    "macd(12, 26, 9).histogram": ta.macd(12, 26, 9).histogram,
    "zscore(10, of=rsi(5))": zscore(10, ta.rsi(5)),
    "lag(3, volume)": lag(3, "volume"),
    'higher(rsi(14), "1d")': higher(ta.rsi(14), "1d"),
    "fracdiff(0.4, of=ln(of=close))": fracdiff(0.4, of=ta.ln(of="close")),
}


@pytest.mark.parametrize("text", SAME)
def test_a_text_means_the_feature(text: str) -> None:
    assert feature_of(text) == SAME[text]
    assert feature_of(text).name == SAME[text].name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rsi(", "is no feature: write it like"),
        ("rsi", "call it, rsi"),
        ("cloze", "did you mean 'close'"),
        ("rsii(14)", "did you mean 'rsi'"),
        ("rsi(14.5)", "whole number"),
        ("rsi(period=14)", "no parameter 'period'"),
        ("macd(12, 26, 9)", "say which of its outputs"),
        ("macd(12, 26, 9).upper", "no output 'upper'"),
        ("1 + 2", "the same at every bar"),
        ("'close'", "the same at every bar"),
        ("close ** 2", "has no meaning here"),
        ("close if close else open", "has no meaning here"),
        ("[c for c in close]", "has no meaning here"),
        ("close.__class__", "has no meaning here"),
        ("__import__('os')", "there is no feature '__import__'"),
        ("ta.__class__('x')", "there is no feature '__class__'"),
        ("(lambda: close)()", "is no function"),
        ("close / 0 - rsi(1 / 0)", "division by zero"),
        ("c" * (LENGTH_MAX + 1), "at most"),
    ],
)
def test_nothing_else_can_be_written(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        feature_of(text)


def test_a_deep_text_is_read_without_harm() -> None:
    assert feature_of("-" * 400 + "close").name.count("*") == 400
