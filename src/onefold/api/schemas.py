"""What goes over the wire, both ways; every field is there on purpose, and none beside them."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from onefold.ops.redaction import looks_like_key

T = TypeVar("T")

# No control characters, no separators of lines, no marks that turn the direction of writing.
PLAIN = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]*$"


def _no_key(text: str) -> str:
    if looks_like_key(text):
        raise PydanticCustomError("key", KEY_GIVEN)
    return text


KEY_GIVEN = "that looks like an API key: it would stand in the record for good"
Name = Annotated[str, Field(max_length=64, pattern=PLAIN), AfterValidator(_no_key)]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=PLAIN), AfterValidator(_no_key)]
Nanoseconds = Annotated[int, Field(description="Nanoseconds since 1970, UTC.")]


class Wire(BaseModel):
    """The base of everything that is sent or taken: unknown fields are refused, numbers finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Page(Wire, Generic[T]):
    """Some of many, the newest first; `next` is the `before` of the page after, empty at the end.

    `total` counts all that match.
    """

    items: list[T]
    next: str = ""
    total: int | None = None


class AccountStatus(Wire):
    """How an account stands.

    `state` is running, stuck, stopped or not running; `age_s` how old its heartbeat is. `can_enter`
    says whether it may take new risk, `why_not` why it may not; `missing` why `exposure` is not
    known, where the database cannot be read.
    """

    account: str
    mode: str
    state: Literal["running", "stuck", "stopped", "not running"]
    age_s: float | None
    can_enter: bool
    why_not: str
    killed: bool
    kill_switches: dict[str, str]
    reduce_only: bool
    reconciled: bool | None
    currency: str
    equity: float | None
    pnl: float | None
    pnl_today: float | None
    exposure: float | None
    missing: str = ""
    open_orders: int
    positions: dict[str, int]
    counts: dict[str, int]
    feeds: dict[str, str]
    trouble: str
    mandate: int
    journal: str
    heartbeat: dict[str, Any] = Field(description="All that the session says of itself.")


class Position(Wire):
    """What a strategy holds of a symbol; money is in the account's currency."""

    account: str
    strategy: str
    symbol: str
    lots: int
    entry_time: Nanoseconds
    entry_price: float | None
    mark: float | None
    value: float | None
    pnl: float | None


class Order(Wire):
    """An order and what became of it."""

    account: str
    id: int
    time: Nanoseconds
    strategy: str
    symbol: str
    purpose: str
    side: Literal["buy", "sell"]
    lots: int
    kind: str
    price: float | None
    state: str
    filled: int
    average: float | None
    reason: str


class Trade(Wire):
    """A round trip, from flat to flat; one that runs has no exit."""

    id: int
    account: str
    strategy: str
    symbol: str
    side: Literal["long", "short"]
    entry_time: Nanoseconds
    entry_price: float | None
    entry_size: int
    exit_time: Nanoseconds | None
    exit_price: float | None
    exit_size: int
    pnl: float
    pnl_percent: float | None
    fees: float
    exit_reason: str | None
    ml_score: float | None
    ibs_entry: float | None
    ibs_exit: float | None


class Decision(Wire):
    """One verdict: an order, or the gates that prevented it; the first of them is the reason."""

    account: str
    id: int
    time: Nanoseconds
    strategy: str
    symbol: str
    purpose: str
    side: Literal["buy", "sell"]
    lots: int
    price: float | None
    confidence: float | None
    score: float | None
    blocked: list[str]
    order: int


class Signal(Wire):
    """What a strategy wanted at a bar."""

    account: str
    time: Nanoseconds
    strategy: str
    symbol: str
    side: Literal["long", "short", "flat"]
    confidence: float
    score: float | None
    models: list[str]


class EquityPoint(Wire):
    """The equity at a time, and how far below its highest it was, as a share."""

    time: Nanoseconds
    equity: float
    drawdown: float


class Bar(Wire):
    """A bar by the time at which it closed."""

    time: Nanoseconds
    open: float
    high: float
    low: float
    close: float
    volume: float | None


class GateCount(Wire):
    """How often a gate was the reason, and how often it would have said no as well."""

    gate: str
    first: int
    also: int


class GateLine(Wire):
    """One gate of one decision: what it measured, what it was held against, what it said."""

    gate: str
    measures: str
    value: float | None
    threshold: float | None
    passes_when: str
    verdict: str


class Explanation(Wire):
    """Why something was decided, or was not."""

    account: str
    decision: int | None
    time: str
    strategy: str
    symbol: str
    after: str
    close: float | None
    wants: str
    held_lots: int
    features: dict[str, float | None]
    score: float | None
    models: list[str]
    conclusion: str
    gates: list[GateLine]
    own_gates: list[GateLine]
    mandates: list[str]


class Strategy(Wire):
    """A strategy of an account: what it is, where it stands, what it has done."""

    account: str
    name: str
    kind: str
    symbols: list[str]
    stage: str
    held: str = Field(description="Why it enters nothing, empty where it may.")
    conf_min: dict[str, float]
    models: list[str]
    trades: int
    won: int
    pnl: float


class Model(Wire):
    """A version of a model in the store."""

    name: str
    version: int
    is_active: bool
    format: str
    target: str
    features: list[str]
    trained: str
    expires: str
    sha256: str
    metrics: dict[str, Any]
    verdict: str
    drift: dict[str, str] | None


class Change(Wire):
    """One value that a version changes."""

    mandate: str
    strategy: str
    symbol: str
    before: float | None
    value: float


class ParameterVersion(Wire):
    """One version of an account's parameters; a proposed one waits for approval."""

    account: str
    version: int
    time: Nanoseconds
    by: str
    cause: str
    status: Literal["applied", "proposed"]
    approves: int
    changes: list[Change]
    became: str = Field("", description="What has become of it in a session that runs.")


class Governance(Wire):
    """The parameters of an account: what is in force, every version, what waits.

    `doubt` says why the file cannot be trusted, empty where it can.
    """

    account: str
    is_live: bool
    doubt: str
    values: list[Change]
    versions: list[ParameterVersion]
    waiting: list[int]


class Review(Wire):
    """What a person, or a transition, has taken out of trading or marked."""

    account: str
    action: Literal["suppress", "watch"]
    holder: str
    strategy: str
    symbol: str
    by: str
    reason: str
    since: Nanoseconds
    until: Nanoseconds | None


class Criterion(Wire):
    """One criterion of a transition."""

    name: str
    value: str
    wanted: str
    passes: bool


class Evidence(Wire):
    """One check of a transition, as it was kept and signed."""

    account: str
    name: str
    strategy: str
    stage: str
    time: str
    passed: bool
    verified: bool
    criteria: list[Criterion]


class Readiness(Wire):
    """A report of a day or a week."""

    account: str
    kind: Literal["daily", "weekly"]
    day: str
    is_stable: bool
    stable_days: int
    markdown: str


class JournalState(Wire):
    """A journal's head, how far the database has come, and what a verification said."""

    account: str
    folder: str
    seq: int
    hash: str
    projected: int | None
    verified: str = Field("", description="What a verification found, empty before one.")


class Check(Wire):
    """One check of health."""

    name: str
    status: Literal["healthy", "degraded", "unhealthy"]
    detail: str


class Failure(Wire):
    """Failures of a component that were survived."""

    component: str
    count: int
    last: str
    last_time: str
    context: dict[str, Any]


class Health(Wire):
    """Whether all is well, check by check."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    checks: list[Check]
    failures: list[Failure]


class Backtest(Wire):
    """The results of a backtest; `numbers` are those of its summary."""

    name: str
    title: str
    time: str
    numbers: dict[str, float | int | str | None]


class Answer(Wire):
    """What became of a command in one account."""

    account: str
    said: str
    done: bool


class CommandBody(Wire):
    """A command to sessions; resuming and adopting need a reason, and resuming is confirmed."""

    command: Literal["kill", "flatten", "reduce_only", "resume", "stop", "adopt"]
    account: Name = ""
    strategy: Name = ""
    symbol: Name = ""
    reason: Reason


class ScopeBody(Wire):
    """What a command is for, and why; empty means everything."""

    account: Name = ""
    strategy: Name = ""
    symbol: Name = ""
    reason: Reason

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"account": "paper", "reason": "the feed looks wrong"}]}
    )


class SetBody(Wire):
    """A threshold or limit to set."""

    mandate: Name
    value: Annotated[float, Field(ge=0, le=1e15, strict=True)]
    strategy: Name = ""
    symbol: Name = ""
    reason: Reason


class ReasonBody(Wire):
    """Why something is done."""

    reason: Reason

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "looked at with the desk, all is in order"}]}
    )


class ReviewBody(Wire):
    """A review: what is done with what, why, and until when."""

    action: Literal["suppress", "watch", "release"]
    strategy: Name = ""
    symbol: Name = ""
    reason: Reason
    until: Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""


class HoldBody(Wire):
    """What is suppressed or watched, why, and until when."""

    strategy: Name = ""
    symbol: Name = ""
    reason: Reason
    until: Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""


class ReleaseBody(Wire):
    """What is let go, and why."""

    strategy: Name = ""
    symbol: Name = ""
    reason: Reason


class KeyBody(Wire):
    """The caller's key once more."""

    key: Annotated[str, Field(min_length=1, max_length=200)]


class Pass(Wire):
    """A text that stands for the caller's key for some seconds."""

    value: str
    lasts_s: float


class ApiKey(Wire):
    """A key, without what is secret of it."""

    id: str
    name: str
    role: Literal["viewer", "operator", "risk", "admin"]
    created: str


class Status(Wire):
    """The version that serves, the time here, and how every account stands."""

    version: str
    time: Nanoseconds
    accounts: list[AccountStatus]


class Pong(Wire):
    """That the server answers."""

    pong: Literal[True]


class Ready(Wire):
    """That requests can be answered."""

    ready: Literal[True]


class Verdicts(Wire):
    """Whether all is well, and the verdict of each check by its name."""

    status: Literal["healthy", "degraded", "unhealthy"]
    checks: dict[str, Literal["healthy", "degraded", "unhealthy"]]


class Problem(Wire):
    """What went wrong: a word for programs, a sentence for people, the fields that are wrong.

    `request` names the request in the log.
    """

    code: str
    message: str
    fields: dict[str, str] = {}
    request: str
