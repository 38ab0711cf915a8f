"""`onefold check`: proof that what a user wrote can neither see the future nor other rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from onefold.adapters.files import FileConfig, load
from onefold.adapters.synthetic import SyntheticConfig, generate
from onefold.app.group import new_app
from onefold.app.output import Json, emit, progress, refuse, say, show, table
from onefold.app.settings import load_settings
from onefold.app.vet import ROWS_MAX
from onefold.app.wiring import Wired, read_source
from onefold.data import sample_path
from onefold.domain.columns import Bars
from onefold.domain.errors import SignalError
from onefold.domain.instruments import Instrument, Kind
from onefold.signals.check import Finding, check_strategy, raise_for
from onefold.signals.registry import build_strategy, strategies_from_source
from onefold.signals.strategy import Strategy

app = new_app()

YAML = (".yaml", ".yml")


class Case(NamedTuple):
    """A strategy and the bars that it is checked on."""

    name: str
    strategy: Strategy
    data: str
    bars: Bars


@app.command()
def check(
    file: Annotated[
        Path,
        typer.Argument(help="A Python file, or a configuration.", show_default=False),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Bars to check on; a Python file's default: the sample and made minutes."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Prove a file's features causal and its strategies elementwise.

    Later bars are changed and removed, rows are evaluated alone and shuffled, and streams compared
    with batches; no bit may differ. A configuration's strategies are checked with their parameters
    on their own data. Findings name feature and row, and end with code 4.
    """
    is_config = file.suffix.lower() in YAML
    cases = _configured(file) if is_config else _written(file, data)
    findings: list[tuple[Case, Finding]] = []
    with progress("check", len(cases)) as advance:
        for done, case in enumerate(cases, start=1):
            findings += [(case, x) for x in check_strategy(case.strategy, case.bars)]
            advance(done)
    document = _document(file, cases, findings)
    if not json_:
        rows = [
            (c["strategy"], c["data"], c["bars"], c["features"], c["verdict"])
            for c in document["checks"]
        ]
        show(table(("strategy", "data", "bars", "features", "verdict"), rows, text=5))
        for case, finding in findings:
            say(f"{case.name} on {case.data}: {finding}")
    try:
        raise_for([finding for _, finding in findings])
    except SignalError as error:
        refuse(error, document if json_ else None)
    if json_:
        emit(document)


def _configured(file: Path) -> list[Case]:
    wired = Wired(load_settings(file))
    return [
        Case(one.name, one.strategy, symbol, wired.bars[symbol].slice(0, ROWS_MAX))
        for one in wired.plan.placements
        for symbol in one.symbols
    ]


def _written(file: Path, data: Path | None) -> list[Case]:
    kinds = strategies_from_source(read_source(file), str(file))
    made = {kind: build_strategy(kind, {}, path=kind, kinds=kinds) for kind in kinds}
    return [
        Case(kind, strategy, name, bars)
        for kind, strategy in made.items()
        for name, bars in _bars(data).items()
    ]


def _bars(data: Path | None) -> dict[str, Bars]:
    """Return bars of a file, or of two markets: real daily ones, and made minutes with gaps."""
    index = Instrument(symbol="CHECK", kind=Kind.INDEX)
    if data is not None:
        return {data.name: load(FileConfig(path=data, instrument=index)).bars.slice(0, ROWS_MAX)}
    daily = load(FileConfig(path=sample_path("sp500"), instrument=index)).bars
    minutes = generate(SyntheticConfig(instrument=index, seed=1, bars=ROWS_MAX, gap_rate=0.02))
    return {"sp500": daily.slice(0, ROWS_MAX), "synthetic": minutes}


def _document(
    file: Path, cases: list[Case], findings: list[tuple[Case, Finding]]
) -> dict[str, Any]:
    """Return what was checked and found."""
    checks = []
    for case in cases:
        own = [finding for one, finding in findings if one is case]
        checks.append(
            {
                "strategy": case.name,
                "data": case.data,
                "bars": case.bars.rows,
                "features": len(case.strategy.features),
                "verdict": "proved" if not own else f"{len(own)} findings",
                "findings": [{**finding._asdict(), "text": str(finding)} for finding in own],
            }
        )
    return {"file": str(file), "ok": not findings, "checks": checks}
