"""Which journal is meant when a command names none."""

from __future__ import annotations

from pathlib import Path

from onefold.domain.errors import ConfigError


def newest_journal(parent: Path) -> Path:
    """Return the journal in a folder, or in an account's folder there, that was written last.

    Raises ConfigError for none.
    """
    folders = [x for depth in ("*", "*/*") for x in parent.glob(depth) if x.is_dir()]
    written = [
        (max(f.stat().st_mtime for f in s), x) for x in folders if (s := [*x.glob("*.jsonl")])
    ]
    if not written:
        raise ConfigError(f"there is no journal in {parent.resolve()}; name one with --journal")
    return max(written)[1]
