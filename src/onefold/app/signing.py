"""The key with which this installation signs its evidence, and how a signature is checked.

The private key stays where it was made, readable by its owner only; the public one lies beside the
parameters and goes into version control with them, so that others can tell whose evidence it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from onefold.domain.errors import ConfigError
from onefold.governance.bundle import Bundle
from onefold.journal import write_atomic

KEY, PUBLIC = "evidence.key", "evidence.pub"


def signed(bundle: Bundle, private: Path, public: Path) -> Bundle:
    """Return a bundle with key and signature; the keys are made when there are none yet.

    Raises `ConfigError` for a key that is not one, or that others can read.
    """
    key = _private_key(private)
    shown = _public_half(key)
    if not public.exists():
        public.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(public, f"{shown}\n".encode())
    _check_pair(shown, private, public)
    bundle = msgspec.structs.replace(bundle, public_key=shown)
    # As it will be read again: whole numbers where fractions belong are written otherwise.
    bundle = msgspec.json.decode(msgspec.json.encode(bundle), type=Bundle)
    return msgspec.structs.replace(bundle, signature=key.sign(bundle.unsigned()).hex())


def check_signature(bundle: Bundle, private: Path, public: Path) -> None:
    """Raise `ConfigError` when a bundle was not signed with the key of this installation.

    Where the private key is, the public one has to be its own: that one alone could be exchanged
    together with the bundles beside it.
    """
    known = _public_text(public)
    if os.access(private, os.R_OK):
        _check_pair(_public_half(_private_key(private)), private, public)
    if bundle.public_key != known:
        raise ConfigError(f"it was signed with another key than that of {public}")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(known))
        key.verify(bytes.fromhex(bundle.signature), bundle.unsigned())
    except (InvalidSignature, ValueError):
        raise ConfigError("its signature is wrong: it was altered after it was signed") from None


def _public_half(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def _check_pair(shown: str, private: Path, public: Path) -> None:
    if _public_text(public) != shown:
        raise ConfigError(
            f"{public} is of another key than {private}: evidence of several keys cannot be told "
            "apart; keep both files together, or move both away"
        )


def _public_text(public: Path) -> str:
    try:
        return public.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{public} cannot be read, so no signature can be checked") from None


def _private_key(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Ed25519PrivateKey.generate()
        # Whole or not at all: a crash must not leave a key that nobody can sign with.
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(made.private_bytes_raw().hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        return made
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError):
        raise ConfigError(f"{path} is no key; it was made by `onefold check-transition`") from None
