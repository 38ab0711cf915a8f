"""Market data from files and frames."""

from onefold.adapters.files.config import BarsConfig, FileConfig
from onefold.adapters.files.feed import FileFeed, load, load_frame, merge_events
from onefold.adapters.files.parse import LoadedBars
from onefold.adapters.files.report import DataReport, report, report_frame
from onefold.adapters.files.ticks import read_ticks

__all__ = [
    "BarsConfig",
    "DataReport",
    "FileConfig",
    "FileFeed",
    "LoadedBars",
    "load",
    "load_frame",
    "merge_events",
    "read_ticks",
    "report",
    "report_frame",
]
