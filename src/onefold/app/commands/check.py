"""`onefold check`: proof that what a user wrote can neither see the future nor other rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from onefold.adapters.files import FileConfig, load
from onefold.adapters.synthetic import SyntheticConfig, generate
from onefold.app.group import new_app
from onefold.app.output import Json, emit, note, progress, refuse, say, show, table
from onefold.app.settings import load_settings
from onefold.app.vet import ROWS_MAX
from onefold.app.wiring import Wired, read_source
from onefold.data import sample_path
from onefold.domain.columns import Bars
from onefold.domain.errors import ConfigError, ModelError, SignalError
from onefold.domain.instruments import Instrument, Kind
from onefold.signals.check import Finding, findings_of, raise_for
from onefold.signals.gate import Gate
from onefold.signals.learned import WithModel
from onefold.signals.registry import instance_of, written_in
from onefold.signals.strategy import Strategy
from onefold.sim.plan import Placement

app = new_app()

YAML = (".yaml", ".yml")
NONE = "none"
"""A model's name for strategies that must have one, and get none here."""


class Case(NamedTuple):
    """A strategy or a gate, and the bars that it is checked on."""

    name: str
    subject: Strategy | Gate
    data: str
    bars: Bars

    @property
    def role(self) -> str:
        """Return what it is."""
        return "gate" if isinstance(self.subject, Gate) else "strategy"


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
    """Prove a file's features causal, and its strategies and gates elementwise.

    Later bars are changed and removed, rows are evaluated alone and shuffled, and streams compared
    with batches; no bit may differ. A configuration's strategies are checked with their parameters
    on their own data. Findings name feature and row, and end with code 4.
    """
    is_config = file.suffix.lower() in YAML
    cases = _configured(file) if is_config else _written(file, data)
    findings: list[tuple[Case, Finding]] = []
    with progress("check", len(cases)) as advance:
        for done, case in enumerate(cases, start=1):
            findings += [(case, x) for x in findings_of(case.subject, case.bars)]
            advance(done)
    document = _document(file, cases, findings)
    if not json_:
        rows = [
            (case.role, case.name, c["data"], c["bars"], c["features"], c["verdict"])
            for case, c in zip(cases, document["checks"], strict=True)
        ]
        show(table(("", "name", "data", "bars", "features", "verdict"), rows, text=6))
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
        Case(name, subject, symbol, wired.bars[symbol].slice(0, ROWS_MAX))
        for one in wired.plan.placements
        for name, subject in _subjects(one)
        for symbol in one.symbols
    ]


def _subjects(one: Placement) -> Iterator[tuple[str, Strategy | Gate]]:
    """Yield a strategy and its own gates with their names."""
    yield one.name, one.strategy
    for name, gate in one.own_gates.items():
        yield f"{one.name}.{name}", gate


def _written(file: Path, data: Path | None) -> list[Case]:
    strategies, gates = written_in(read_source(file), str(file))
    made: list[Strategy | Gate] = []
    left = []
    for kind, cls in strategies.items():
        try:
            made.append(_made(kind, cls))
        except ModelError:
            left.append(cls.__name__)
    made += [instance_of(cls, _threshold(cls), path=kind) for kind, cls in gates.items()]
    if left:
        said = (
            f"{file}: {', '.join(left)} asks a model, which a Python file alone does not have: "
            "check the configuration that trades it, onefold check onefold.yaml"
        )
        if not made:
            raise ConfigError(said)
        note(f"left out: {said}")
    return [Case(one.kind, one, name, bars) for one in made for name, bars in _bars(data).items()]


def _made(kind: str, cls: type[Strategy]) -> Strategy:
    """Return a strategy with its own defaults. Raises `ModelError` for one that asks a model."""
    return instance_of(cls, {"model": NONE} if issubclass(cls, WithModel) else {}, path=kind)


def _threshold(cls: type[Gate]) -> dict[str, float]:
    """Return a threshold for a gate that has none by default: what it measures does not need it."""
    own = any(cls.model_fields[name].default is not None for name in ("at_most", "at_least"))
    return {} if own else {"at_most": 0.0}


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
                case.role: case.name,
                "data": case.data,
                "bars": case.bars.rows,
                "features": len(case.subject.features),
                "verdict": "proved" if not own else f"{len(own)} findings",
                "findings": [{**finding._asdict(), "text": str(finding)} for finding in own],
            }
        )
    return {"file": str(file), "ok": not findings, "checks": checks}
