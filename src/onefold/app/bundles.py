"""Where bundles of evidence are kept, and what makes one count."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from onefold.app.settings import Loaded
from onefold.app.signing import KEY, PUBLIC, check_signature, signed
from onefold.domain.errors import ConfigError
from onefold.governance.bundle import Bundle


class BundleStore:
    """The bundles of an account's checks, one file each, and the key that signs them."""

    def __init__(self, loaded: Loaded, account: str) -> None:
        self.folder = loaded.resolve(loaded.settings.paths.governance) / "evidence" / account
        self._private = loaded.account_folder(account) / KEY
        self._public = self.folder / PUBLIC

    def of(self, strategy: str, stage: str) -> list[Path]:
        """Return the bundles of earlier checks of a step, the oldest first."""
        return sorted(self.folder.glob(f"{strategy}-{stage}-*.json"))

    def all(self) -> list[Path]:
        """Return all bundles."""
        return sorted(self.folder.glob("*.json"))

    def looks(self, strategy: str, stage: str) -> int:
        """Return how often a step has been checked: the number of its last bundle."""
        return max(
            (int(path.stem.rpartition("-")[2]) for path in self.of(strategy, stage)), default=0
        )

    def keep(self, bundle: Bundle) -> tuple[Bundle, Path]:
        """Sign a bundle and write it under the next number; none is ever replaced."""
        bundle = signed(bundle, self._private, self._public)
        text = msgspec.json.format(msgspec.json.encode(bundle), indent=1) + b"\n"
        strategy, stage = bundle.evidence.strategy, bundle.stage
        while True:
            number = self.looks(strategy, stage) + 1
            path = self.folder / f"{strategy}-{stage}-{number:04d}.json"
            try:
                with path.open("xb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            except FileExistsError:
                continue
            return bundle, path

    def check(self, bundle: Bundle) -> None:
        """Raise `ConfigError` unless signature and verdict of a bundle are right."""
        check_signature(bundle, self._public)
        criteria = bundle.decided_again()
        if criteria != bundle.criteria or bundle.passes != all(c.passes for c in criteria):
            raise ConfigError("its verdict does not follow from its evidence")

    def proven(self, evidence: str, strategy: str) -> None:
        """Raise `ConfigError` unless the bundle of that hash is here and lets a strategy pass."""
        for path in self.of(strategy, "live"):
            bundle = read_bundle(path)
            if bundle.hash == evidence:
                try:
                    self.check(bundle)
                except ConfigError as error:
                    raise ConfigError(f"{path}: {error}") from None
                if bundle.passes:
                    return
        raise ConfigError(
            f"strategy {strategy!r} was promoted on evidence {evidence}, which is not in "
            f"{self.folder}: check it again"
        )


def read_bundle(path: Path) -> Bundle:
    """Return a bundle from a file. Raises `ConfigError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Bundle)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is no bundle of evidence: {error}") from None
