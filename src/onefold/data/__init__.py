"""A small real sample that ships with the package, so that the first run needs no download.

Daily prices of two stock indices over twenty years, with two crashes and every kind of calendar
gap. Origin and licence are in `ARCH-LICENSE.md` beside this file.
"""

from __future__ import annotations

from pathlib import Path

from onefold.domain.errors import DataError, did_you_mean

SAMPLES: dict[str, str] = {
    "sp500": "S&P 500, daily, 1999-01-04 to 2018-12-31",
    "nasdaq": "Nasdaq Composite, daily, 1999-01-04 to 2018-12-31",
}
"""The names of the samples and what each holds."""

__all__ = ["SAMPLES", "sample_path"]


def sample_path(name: str) -> Path:
    """Return the Parquet file of a sample; raises `DataError` for an unknown name."""
    if name not in SAMPLES:
        raise DataError(f"there is no sample {name!r}{did_you_mean(name, SAMPLES)}")
    return Path(__file__).with_name(f"{name}_daily.parquet")
