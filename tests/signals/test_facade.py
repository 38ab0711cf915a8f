"""The public names of the package."""

from __future__ import annotations

import onefold.signals


def test_every_public_name_is_there_and_explains_itself() -> None:
    names = onefold.signals.__all__
    assert len(set(names)) == len(names)
    assert [n for n in names if not n[0].isupper()] == sorted(n for n in names if n[0].islower())
    for name in names:
        value = getattr(onefold.signals, name)
        assert not callable(value) or value.__doc__ or name == "BarKind", name
