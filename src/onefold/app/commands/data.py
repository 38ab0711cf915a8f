"""`onefold data`: what a file of bars holds, before anyone trades on it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from pydantic import ValidationError

from onefold.adapters.files import DataReport, FileConfig
from onefold.adapters.files import report as report_file
from onefold.adapters.files.report import describe
from onefold.app.configfile import parse_value
from onefold.app.explained import explained
from onefold.app.group import Group, new_app
from onefold.app.output import Json, emit, refuse, say, show
from onefold.app.settings import Loaded, SyntheticData, load_settings
from onefold.app.summary import facts_table
from onefold.app.wiring import file_config, made_bars
from onefold.domain.errors import ConfigError, DataError, did_you_mean
from onefold.domain.instruments import CATALOG, Instrument, Kind, instrument

app = new_app(Group, "Judge market data before anyone trades on it.")

YAML = (".yaml", ".yml")


@app.callback()
def _group() -> None:
    """Judge market data before anyone trades on it."""


@app.command()
def check(
    path: Annotated[
        Path, typer.Argument(help="A file of bars, or a configuration.", show_default=False)
    ],
    symbol: Annotated[
        str | None, typer.Option(help="The instrument, when it is one of the catalogue.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of `data`, such as ts_is=close."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Report what is in a file, and what of it would be refused.

    A configuration's data is reported for every instrument. Ends with code 3 when rows would be
    quarantined, because then a backtest would not see all that the file says.
    """
    now = time.time_ns()
    if path.suffix.lower() in YAML:
        if symbol is not None or setting:
            raise ConfigError("a configuration has its own settings: leave out --symbol and --set")
        reports = _configured(load_settings(path), now)
    else:
        reports = [report_file(_file(path, symbol, setting or []), now=now)]
    document = [_plain(one) for one in reports]
    if not json_:
        for number, one in enumerate(reports):
            if number:
                say()
            show(facts_table(_rows(one)))
    refused = sum(one.rows - one.bars for one in reports)
    if refused:
        rows = sum(one.rows for one in reports)
        message = f"{refused:,} of {rows:,} rows would be quarantined"
        refuse(DataError(f"{message}: {_reasons(reports)}"), document if json_ else None)
    if json_:
        emit(document)


def _configured(loaded: Loaded, now: int) -> list[DataReport]:
    if not loaded.settings.data:
        raise ConfigError(f"{loaded.path}: data: there is no instrument with data")
    return [
        describe(made_bars(source.synthetic))
        if isinstance(source, SyntheticData)
        else report_file(file_config(loaded, source), now=now)
        for source in loaded.settings.data.values()
    ]


def _file(path: Path, symbol: str | None, settings: list[str]) -> FileConfig:
    options: dict[str, Any] = {}
    for text in settings:
        key, has_value, value = text.partition("=")
        if not has_value:
            raise ConfigError(f"--set {text}: write KEY=VALUE")
        if key in ("path", "instrument") or key not in FileConfig.model_fields:
            known = set(FileConfig.model_fields) - {"path", "instrument"}
            raise ConfigError(f"--set {key}: there is no such setting{did_you_mean(key, known)}")
        options[key] = parse_value(value)
    traded = Instrument(symbol=path.stem, kind=Kind.EQUITY)
    if symbol is not None:
        traded = instrument(symbol) if symbol in CATALOG else _unknown(symbol)
    try:
        return FileConfig(path=path, instrument=traded, **options)
    except ValidationError as error:
        raise ConfigError("; ".join(f"--set {x}" for x in explained(error, FileConfig))) from None


def _unknown(symbol: str) -> Instrument:
    raise ConfigError(f"--symbol {symbol!r} is not in the catalogue{did_you_mean(symbol, CATALOG)}")


def _plain(report: DataReport) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return {**plain, "clean": report.clean}


def _reasons(reports: list[DataReport]) -> str:
    counts: dict[str, int] = {}
    for report in reports:
        for reason, refused in report.quarantined.items():
            counts[reason] = counts.get(reason, 0) + refused.count
    return ", ".join(f"{reason} {count:,}" for reason, count in counts.items())


def _rows(report: DataReport) -> list[tuple[str, str]]:
    inferred = " (inferred)" if report.interval_inferred else ""
    jump = "-" if report.jump_max is None else f"{report.jump_max:.2%}"
    rows = [
        (report.instrument, report.source),
        ("rows", f"{report.rows:,}, of which {report.bars:,} are plausible bars"),
        ("from", f"{report.first or '-'} to {report.last or '-'}"),
        ("interval", f"{report.interval}{inferred}"),
        ("gaps", f"{report.gaps_total:,} with {report.missing:,} bars missing"),
        *((f"  {gap.missing:,} bars", f"{gap.start} to {gap.end}") for gap in report.gaps[:3]),
        ("price", f"{_price(report.price_low)} to {_price(report.price_high)}"),
        ("largest change", jump),
        ("volume", f"{report.zero_volume:,} bars with none, {report.unknown_volume:,} unknown"),
        ("off the tick grid", f"{report.off_tick:,} bars"),
    ]
    rows += [
        (f"refused: {k}", f"{v.count:,}, such as {v.example}")
        for k, v in report.quarantined.items()
    ]
    rows += [(name, f"{count:,}") for name, count in report.actions.items()]
    rows += [("note", text) for text in report.notes]
    return rows


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:,.6g}"
