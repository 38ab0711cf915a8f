"""Models that are proved beside the event loop, so that accounts which run need not wait.

To try a model in a process of its own takes a second, and half a minute where it hangs. Strategies
are made in the event loop all the same: a user's file runs under one name in `sys.modules`, where
two threads would get in each other's way. So a thread only proves models, and what strategies ask
for decides which.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from onefold.adapters.models import ModelStore
from onefold.app.settings import Settings
from onefold.app.wiring import Chosen, Sources, chosen_of
from onefold.domain.errors import ModelError
from onefold.signals.model import Model

# One thread for all accounts: models that hang must take none of the event loop's own, in which
# venues are called and heartbeats written; and what several accounts ask is tried once.
_prover = ThreadPoolExecutor(1, thread_name_prefix="prove")


async def chosen_meanwhile(settings: Settings, sources: Sources, store: ModelStore) -> Chosen:
    """Return what `chosen_of` returns, and let the event loop turn while models are proved."""
    proofs = _Proofs(store)
    while True:
        proofs.wanted = ""
        try:
            chosen = chosen_of(settings, sources, proofs)
        except _Unproved:
            pass
        else:
            if not proofs.wanted:
                return chosen
        # Made anew for each model: a strategy may ask for the next one only with the answer.
        await asyncio.get_running_loop().run_in_executor(_prover, proofs.prove, proofs.wanted)


class _Unproved(BaseException):
    """A model has to be proved first; no `except Exception` of a strategy is to answer that."""


class _Proofs:
    """The models of a store as far as they have been proved, or what is wrong with them."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._found: dict[str, Model | str] = {}
        self.wanted = ""

    def get(self, name: str) -> Model:
        """Return a model that has proved itself. Raises `ModelError`."""
        if name not in self._found:
            self.wanted = name
            raise _Unproved
        found = self._found[name]
        if isinstance(found, str):
            raise ModelError(found)
        return found

    def prove(self, name: str) -> None:
        """Find out about a model, which may take long; runs in a thread."""
        try:
            self._found[name] = self._store.get(name)
        except ModelError as error:
            self._found[name] = str(error)
