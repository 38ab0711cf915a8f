"""Asking models while a session runs: within a deadline, and never twice for what is recorded.

A library can fail or hang, and bars, fills and kill switches must not wait for it. So in real time
each model is asked in a thread of its own, and one that hangs silences itself alone; an answer that
comes after the deadline is discarded, the score is unknown, and nothing is entered on it. Over
recorded data there is no deadline, since it would make the result depend on the machine's load.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from onefold.domain.errors import ModelError
from onefold.engine.worries import Worries
from onefold.signals.feature import Kernel
from onefold.signals.model import ModelScore

LATE, EXPIRED, UNDECIDED = "late", "expired", "its state cannot be read"
NOT_ASKED = frozenset({LATE, EXPIRED, UNDECIDED})
"""Why there is no score, where it was not the model that said so."""
FAILURE_MAX = 200
"""Characters of a failure that are recorded."""
Answer = tuple[float | None, str]
"""A score and nothing, or None and why there is none."""


class Inference:
    """Asks models, and counts what came of it by their identities.

    `deadline_s` is how long an answer is waited for; None waits for ever, in the calling thread.
    `timed` hears how many seconds each question took, where somebody wants to know.
    `today` gives the date by which models expire, None where the past is looked at.
    """

    def __init__(
        self, deadline_s: float | None = None, today: Callable[[], str] | None = None
    ) -> None:
        self._deadline_s, self._today = deadline_s, today
        self._workers: dict[str, _Worker] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.timed: Callable[[float], None] | None = None
        self._worries = Worries("onefold.trading.inference", "inference")

    def ask(self, score: ModelScore, kernel: Kernel, values: Any) -> Answer:
        """Return a model's answer for a row of features."""
        asked = time.perf_counter()
        answer = self._asked(score, kernel, values)
        if self.timed is not None:
            self.timed(time.perf_counter() - asked)
        if answer[0] is not None:
            self._worries.over(score.name)
        else:
            self._worries.about(score.name, answer[1], model=score.name)
        return answer

    def _asked(self, score: ModelScore, kernel: Kernel, values: Any) -> Answer:
        spent = self._spent(score)
        if spent:
            answer: Answer = (None, spent)
        elif self._deadline_s is None:
            answer = _answer(kernel, values)
        else:
            worker = self._workers.get(score.name)
            if worker is None:
                worker = self._workers[score.name] = _Worker(self._deadline_s, score.name)
            answer = worker.ask(lambda: _answer(kernel, values))
        counts = self.counts.setdefault(score.name, {"scores": 0, "late": 0, "failed": 0})
        value, why = answer
        counts["scores" if value is not None else "late" if why == LATE else "failed"] += 1
        return answer

    def _spent(self, score: ModelScore) -> str:
        """Return why a model must not be asked today, empty when it may."""
        if self._today is None:
            return ""
        try:
            return EXPIRED if score.model.expired(self._today()) else ""
        except ModelError:  # nobody can say whether it has been taken back
            return UNDECIDED


def _answer(kernel: Kernel, values: Any) -> Answer:
    try:
        score = kernel(values)
    except Exception as error:  # noqa: BLE001 - whatever it was, there is no score
        said = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
        return None, said[:FAILURE_MAX]
    return (score, "") if score == score else (None, "no probability")  # noqa: PLR0124 - NaN


class _Worker:
    """A thread that answers one question at a time; while it is late, every question is."""

    def __init__(self, deadline_s: float, name: str) -> None:
        self._deadline_s = deadline_s
        self._questions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        threading.Thread(target=self._work, name=f"model {name}", daemon=True).start()

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Return the answer, or that it is late."""
        if not self._idle.is_set():
            return None, LATE
        self._idle.clear()
        answers: list[Answer] = []

        def answered() -> None:
            try:
                answers.append(question())
            finally:
                self._idle.set()

        self._questions.put(answered)
        return answers[0] if self._idle.wait(self._deadline_s) and answers else (None, LATE)

    def _work(self) -> None:
        while True:
            self._questions.get()()
