"""Where bundles of evidence are kept, and what makes one count."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from onefold.app.settings import Loaded
from onefold.app.signing import KEY, PUBLIC, check_signature, signed
from onefold.domain.errors import ConfigError
from onefold.governance.bundle import Bundle
from onefold.journal import write_atomic


class BundleStore:
    """The bundles of an account's checks, one file each, and the key that signs them."""

    def __init__(self, loaded: Loaded, account: str) -> None:
        self._account = account
        self.folder = loaded.resolve(loaded.settings.paths.governance) / "evidence" / account
        self._private = loaded.account_folder(account) / KEY
        self._public = self.folder / PUBLIC

    def all(self) -> list[Path]:
        """Return all bundles."""
        return sorted(self.folder.glob("*.json"))

    def looks(self, strategy: str, stage: str) -> int:
        """Return the number of the last bundle of a step, 0 where there is none."""
        return max((number for number, _ in self._of(strategy, stage)), default=0)

    def _of(self, strategy: str, stage: str) -> list[tuple[int, Path]]:
        """Return the bundles of earlier checks of a step with their numbers."""
        name = re.compile(re.escape(f"{strategy}-{stage}-") + r"(\d{4,9})")
        found = [(name.fullmatch(path.stem), path) for path in self.all()]
        return [(int(match[1]), path) for match, path in found if match]

    def keep(self, bundle: Bundle) -> tuple[Bundle, Path]:
        """Sign a bundle and write it under the number of its look; none is ever replaced."""
        bundle = signed(bundle, self._private, self._public)
        text = msgspec.json.format(msgspec.json.encode(bundle), indent=1) + b"\n"
        number = bundle.evidence.looks + 1
        path = self.folder / f"{bundle.evidence.strategy}-{bundle.stage}-{number:04d}.json"
        if path.exists():
            raise ConfigError(f"{path} is there already: somebody else is checking; try again")
        write_atomic(path, text)
        return bundle, path

    def check(self, bundle: Bundle) -> None:
        """Raise `ConfigError` unless signature and verdict of a bundle are right."""
        check_signature(bundle, self._private, self._public)
        criteria = bundle.decided_again()
        if criteria != bundle.criteria or bundle.passes != all(c.passes for c in criteria):
            raise ConfigError("its verdict does not follow from its evidence")

    def proven(self, evidence: str, strategy: str, strategy_hash: str) -> Bundle:
        """Return the bundle of that hash. Raises `ConfigError` unless it lets a strategy go live.

        It must be of the very strategy, as it is now, and of this account.
        """
        wanted = (strategy, strategy_hash, "live", self._account)
        for _, path in self._of(strategy, "live"):
            try:
                bundle = read_bundle(path)
            except ConfigError:  # what was not written to its end proves nothing, and hides nothing
                continue
            if bundle.hash != evidence:
                continue
            try:
                self.check(bundle)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None
            inputs, known = bundle.inputs, bundle.evidence
            proves = (known.strategy, inputs.strategy_hash, bundle.stage, bundle.account)
            if bundle.passes and proves == wanted:
                return bundle
            raise ConfigError(f"{path}: it does not let {strategy!r}, as it is now, go live")
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no bundle of evidence: {error}") from None
