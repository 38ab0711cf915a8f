"""The peers, the versions that are measured, and one virtual environment for each.

Each peer gets an environment of its own, because no two of them agree on numpy, pandas and numba.
What cannot be installed here is reported with the installer's reason and left out of the table: a
figure is measured, or it is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / ".benchmarks"
VENVS = HOME / "venvs"


@dataclass(frozen=True)
class Build:
    """What to install, and the Python it needs (None: the one that runs this)."""

    requirements: tuple[str, ...]
    python: str | None = None


@dataclass(frozen=True)
class Peer:
    """A peer: its builds (the first that installs is used), and what it can do.

    `sizes` are the works it does and their sizes, smaller than the whole work for engines that
    would need many minutes for it; the time is compared per bar or per evaluation. `cannot` says
    why a work is missing.
    """

    name: str
    builds: tuple[Build, ...]
    sizes: dict[str, int]
    cannot: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Installed:
    """An environment that is ready: its interpreter and every package in it, pinned."""

    python: Path
    packages: tuple[str, ...]


@dataclass(frozen=True)
class NotInstalled:
    """Why a peer has no environment."""

    reason: str


WHOLE = {"w1": 1_000_000, "w2": 500, "w3": 200, "w3o": 100, "w4": 1_000_000}
QUICK = {"w1": 100_000, "w2": 60, "w3": 10, "w3o": 10, "w4": 20_000}
OPTUNA = "optuna==5.0.0"

PEERS = (
    Peer("vectorbt", (Build(("vectorbt==1.2.0", OPTUNA)),), WHOLE),
    Peer(
        "hftbacktest",
        (Build(("hftbacktest==2.4.4",)),),
        {"w1": WHOLE["w1"], "w3": 20, "w4": WHOLE["w4"]},
        {"w2": "every asset has an account of its own: no shared cash"},
    ),
    Peer(
        "backtesting",
        (Build(("backtesting==0.6.6", OPTUNA)),),
        {"w1": WHOLE["w1"], "w3": 4, "w3o": 15, "w4": 200_000},
        {"w2": "one symbol a backtest"},
    ),
    Peer(
        "backtrader",
        (Build(("backtrader==1.9.78.123", "numpy==2.4.6", "pandas==3.1.1")),),
        {"w1": 100_000, "w2": 100, "w3": 1, "w4": 20_000},
    ),
    Peer(
        "nautilus_trader",
        (
            Build(("nautilus_trader==1.231.0", "pandas<3"), python="3.12"),
            Build(("nautilus_trader==1.221.0", "pandas<3")),
        ),
        {"w1": 100_000, "w2": 100, "w3": 1, "w4": 20_000},
    ),
)


def install(peer: Peer) -> Installed | NotInstalled:
    """Return the peer's environment, making it when it is not there or not as pinned."""
    problems = []
    for build in peer.builds:
        try:
            return install_build(peer.name, build)
        except subprocess.CalledProcessError as error:
            problems.append(last_line(error.stderr))
        except FileNotFoundError as error:
            problems.append(str(error))
    return NotInstalled("; then ".join(problems))


def install_build(name: str, build: Build) -> Installed:
    """Make the environment of one build, or take the one that is there.

    Raises `CalledProcessError` with the installer's words when it cannot be made.
    """
    venv = VENVS / name
    python = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    recorded = venv / "requirements-frozen.txt"
    wanted = " ".join(build.requirements)
    if recorded.exists():
        first, *packages = recorded.read_text(encoding="utf-8").splitlines()
        if first == wanted and python.exists():
            return Installed(python, tuple(packages))
    shutil.rmtree(venv, ignore_errors=True)
    uv("venv", "--quiet", "--python", build.python or sys.executable, str(venv))
    uv("pip", "install", "--quiet", "--python", str(python), *build.requirements)
    packages = uv("pip", "freeze", "--python", str(python)).splitlines()
    # Written last: an environment without this file was interrupted and is made again.
    recorded.write_text("\n".join([wanted, *packages]) + "\n", encoding="utf-8")
    return Installed(python, tuple(packages))


def uv(*arguments: str) -> str:
    """Run uv and return what it printed."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        message = "uv is needed to make the peers' environments; install it with: pip install uv"
        raise FileNotFoundError(message)
    environment = os.environ | {"PATH": os.pathsep.join([*pyenv_folders(), os.environ["PATH"]])}
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def pyenv_folders() -> list[str]:
    """Return the folders of pyenv's interpreters, which uv does not see unless they are active."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [str(folder) for folder in sorted(root.glob("versions/3.*/bin"), reverse=True)]


def last_line(text: str) -> str:
    """Return the last line that says what happened (a hint does not), or that there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("hint:")]
    return lines[-1] if lines else "no message"
