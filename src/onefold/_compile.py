"""Compile functions with numba, with a disk cache that cannot be stale.

Numba's own cache looks only at the file of the function itself: when a function that it *calls*
changes in another file, the old machine code would go on running. Here the cache folder is named
after a digest of every source file that compiled code may depend on, so any change starts afresh.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config, types

F = TypeVar("F", bound=Callable[..., Any])


def _cache_home() -> Path:
    """Return `ONEFOLD_CACHE_DIR`, or the user's cache folder."""
    own = os.environ.get("ONEFOLD_CACHE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "onefold"


def _compiled_sources_digest() -> str:
    """Return a digest of the files that define compiled functions, layouts or their constants."""
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        text = path.read_bytes()
        if b"njit" in text or b"kernel" in text or b"np.dtype" in text or b"IntEnum" in text:
            digest.update(str(path.relative_to(package)).encode() + b"\0" + text)
    return digest.hexdigest()


_CACHE = str(_cache_home() / f"compiled-{_compiled_sources_digest()}")


_KERNEL: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
"""Division by zero gives infinity; no reference counting, since a kernel allocates nothing."""


def _cached(function: F, **options: Any) -> F:
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = _CACHE  # type: ignore[attr-defined]
    try:
        return cast("F", numba.njit(cache=True, **options)(function))
    except RuntimeError:
        # No folder of the machine can be written: compile anew in every process.
        return cast("F", numba.njit(**options)(function))
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


def njit(function: F) -> F:
    """Compile a function of arrays and numbers that may allocate."""
    return _cached(function, error_model="numpy")


def kernel(function: F) -> F:
    """Compile a function that Python calls and that allocates nothing."""
    return _cached(function, **_KERNEL)


def kernel_part(function: F) -> F:
    """Compile a function that only kernels call: no Python wrapper, no file of its own.

    Called from Python it would crash the process; tests go through a kernel.
    """
    options: dict[str, Any] = {**_KERNEL, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    part: Any = numba.njit(**options)(function)
    template = part.get_call_template
    unliteral: Any = types.unliteral

    def once_for_all_constants(args: tuple[Any, ...], kws: dict[str, Any]) -> Any:
        # numba would compile the function again for every constant that it is called with.
        return template(
            tuple(unliteral(a) for a in args),
            {name: unliteral(a) for name, a in kws.items()},
        )

    part.get_call_template = once_for_all_constants
    return cast("F", part)
