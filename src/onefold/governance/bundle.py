"""A bundle of evidence: what a transition was decided on, so that anybody can decide it again.

It holds the numbers and not the data, and names the data by hashes: the journal by its sealed head,
the configuration, the models, the parameters. Whoever has the journal can compute all of it anew;
whoever has the bundle alone can check the verdict and the signature.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from onefold.governance.transitions import (
    Criterion,
    Evidence,
    StabilityRules,
    TransitionRules,
    check_transition,
)
from onefold.governance.versions import Stage

SCHEMA = 1
HASH_BYTES = 16


class Inputs(msgspec.Struct, frozen=True):
    """What the evidence was computed from, by names and hashes, and the account's limits."""

    journal: str
    head_seq: int
    head_hash: str
    mode: str
    data_mode: str
    version: str
    build: str
    config_hash: str
    strategy_hash: str
    parameters_head: str
    models: dict[str, str]
    limits: dict[str, Any]


class Bundle(msgspec.Struct, frozen=True):
    """The evidence of one check, its rules and its verdict, signed."""

    schema: int
    account: str
    stage: Stage
    ts: int
    by: str
    inputs: Inputs
    evidence: Evidence
    rules: dict[str, float]
    stability: dict[str, float]
    criteria: list[Criterion]
    passes: bool
    public_key: str = ""
    signature: str = ""

    def unsigned(self) -> bytes:
        """Return the bytes that are signed: everything but the signature."""
        return msgspec.json.encode(msgspec.structs.replace(self, signature=""))

    @property
    def hash(self) -> str:
        """Return the hash by which parameters name it."""
        return hashlib.blake2b(self.unsigned(), digest_size=HASH_BYTES).hexdigest()

    def decided_again(self) -> list[Criterion]:
        """Return the criteria anew from the evidence in the bundle, by its own rules."""
        rules = TransitionRules.model_validate(self.rules)
        stability = StabilityRules.model_validate(self.stability)
        return check_transition(self.stage, self.evidence, rules, stability)
