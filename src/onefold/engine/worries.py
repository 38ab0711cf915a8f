"""Log what fails again and again when it begins, when it changes, and when it is over.

A session survives a lost feed or a venue that does not answer by trying again, for hours where it
must. A line for each try would bury all others, so a worry is told once for each kind of error.
"""

from __future__ import annotations

import logging
import re

_DIGITS = re.compile(r"\d+")


class Worries:
    """The worries of one component, each by what it is about; failures of it are counted."""

    def __init__(self, logger: str, component: str) -> None:
        self._log, self._component = logging.getLogger(logger), component
        self._known: dict[str, str] = {}

    def about(
        self, what: str, text: str, error: BaseException | None = None, **facts: object
    ) -> None:
        """Log a worry if it is new: another one than before, apart from its numbers."""
        kind = f"{type(error).__name__} {_DIGITS.sub('', text)}"
        if self._known.get(what) == kind:
            self._log.debug("%s: %s", what, text, extra=facts)
            return
        self._known[what] = kind
        extra = {"component": self._component, **facts}
        self._log.warning("%s: %s", what, text, exc_info=error, extra=extra)

    def over(self, what: str) -> None:
        """Log that a worry has gone, if there was one."""
        if self._known and self._known.pop(what, None) is not None:
            self._log.info("%s: well again", what)

    def forget(self, what: str) -> None:
        """Forget a worry whose object is no more."""
        self._known.pop(what, None)
