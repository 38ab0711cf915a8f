from __future__ import annotations

from onefold.adapters.recent import Recent


def test_only_the_last_are_kept() -> None:
    recent: Recent[int, str] = Recent(most=3)
    for n in range(5):
        recent[n] = str(n)
    recent[3] = "again"
    assert list(recent.items()) == [(2, "2"), (3, "again"), (4, "4")]
