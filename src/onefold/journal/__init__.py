"""The durable, sealed, append-only log: what the system saw and decided, with proof.

It knows nothing of trading. `Journal` writes records, `read` and `decode` give them back,
`verify` and `head` prove that nothing was changed. `atomic_jsonl_append`, `safe_jsonl_append`,
`write_atomic` and `json_safe` bring the same care to the files beside it.
"""

from onefold.journal.disk import OS_DISK, AppendFile, Disk, Lock
from onefold.journal.files import atomic_jsonl_append, safe_jsonl_append, write_atomic
from onefold.journal.jsonsafe import json_safe
from onefold.journal.reader import (
    Entry,
    Follower,
    Verification,
    decode,
    export_head,
    head,
    load_head,
    read,
    tail,
    verify,
)
from onefold.journal.recovery import Recovered
from onefold.journal.segments import GENESIS, Head, Tail
from onefold.journal.writer import Journal

__all__ = [
    "GENESIS",
    "OS_DISK",
    "AppendFile",
    "Disk",
    "Entry",
    "Follower",
    "Head",
    "Journal",
    "Lock",
    "Recovered",
    "Tail",
    "Verification",
    "atomic_jsonl_append",
    "decode",
    "export_head",
    "head",
    "json_safe",
    "load_head",
    "read",
    "safe_jsonl_append",
    "tail",
    "verify",
    "write_atomic",
]
