"""A model's first load, in a process of its own: a bad file may kill that one, and no session.

Libraries in C trust their files. So each artifact is loaded and asked once where nothing else runs,
within a deadline and, where the system has that, within a limit of memory. What was survived there
is loaded here. The file is also the program that runs there: it imports little, so that it starts
quickly.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from onefold.domain.columns import Floats
from onefold.domain.errors import MissingExtra, ModelError

DEADLINE_S = 30.0
"""How long a model may take to be loaded and asked."""
MEMORY_BYTES = 4 << 30
"""Address space of the process, beside eight times the artifact."""
SURVIVED, REFUSED, MISSING = 0, 3, 4
SAID_MAX = 300
WITHOUT_SKLEARN = frozenset({"lightgbm", "xgboost"})
"""Runtimes that import scikit-learn, where it is there, for what no prediction needs."""
_tried: dict[str, str] = {}


def survived(runtime: str, artifact: bytes, rows: Floats) -> None:
    """Load an artifact and score rows in a process of its own, once for each in this one.

    Raises `ModelError` with the reason where that process complains, dies or takes too long.
    """
    digest = hashlib.sha256(artifact + rows.tobytes()).hexdigest()
    key = f"{runtime} {rows.shape} {digest}"
    if key not in _tried:
        _tried[key] = _outcome(runtime, artifact, rows)
    if _tried[key]:
        raise ModelError(_tried[key])


def _outcome(runtime: str, artifact: bytes, rows: Floats) -> str:
    """Return what is wrong, empty for nothing."""
    from onefold.signals import runtimes  # noqa: PLC0415 - not in the process of its own

    head = {
        "runtime": runtime,
        "bytes": len(artifact),
        "width": rows.shape[1],
        "runtimes": str(Path(runtimes.__file__)),
    }
    given = json.dumps(head).encode() + b"\n" + artifact + rows.astype("<f8").tobytes()
    # -P: a file in the current folder must not take the place of a library.
    command = [sys.executable, "-P", str(Path(__file__))]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{runtime} does not come to an end with it within {DEADLINE_S:g} s"
    except OSError as error:
        return f"it cannot be tried in a process of its own: {error.strerror}"
    if done.returncode in {SURVIVED, MISSING}:
        return ""
    if done.returncode == REFUSED:
        return done.stdout.decode("utf-8", "replace")
    return f"{runtime} dies of it ({_death(done.returncode)})"


def _death(code: int) -> str:
    with contextlib.suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


def main() -> int:
    """Try what stdin says; return the exit code, with the reason on stdout."""
    said = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print
    head = json.loads(sys.stdin.buffer.readline())
    artifact = sys.stdin.buffer.read(head["bytes"])
    rows = np.frombuffer(sys.stdin.buffer.read(), "<f8").reshape(-1, head["width"])
    _limit_memory(len(artifact))
    if head["runtime"] in WITHOUT_SKLEARN:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        predict = _loaded(head["runtimes"]).predictor(head["runtime"], artifact)
    except MissingExtra:
        return MISSING
    except Exception as error:  # noqa: BLE001 - whatever it was, it is told
        return _refused(said, str(error))
    try:
        predict(rows)
        for i in range(len(rows)):
            predict(rows[i : i + 1])
    except Exception as error:  # noqa: BLE001 - libraries' errors have no common parent
        return _refused(said, f"it failed: {type(error).__name__}: {error}")
    return SURVIVED


def _refused(said: Any, why: str) -> int:
    said.write(" ".join(why.split())[:SAID_MAX].encode())
    said.flush()
    return REFUSED


def _limit_memory(artifact_bytes: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - Windows has none

        limit = MEMORY_BYTES + 8 * artifact_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _loaded(path: str) -> Any:
    """Return the module of the runtimes without its package, which takes seconds."""
    spec = importlib.util.spec_from_file_location("runtimes", path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
