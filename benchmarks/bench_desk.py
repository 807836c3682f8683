"""A server's prompt desk for measurements, and prompts of noise."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence

import numpy as np

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import Snapshot

_AT_ONCE = 2


class BenchDesk:
    """A desk without a cache that takes one prompt at a time, or always has some of them in work.

    Attributes:
        counted: finished prompts that ``count_finished`` has counted.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._numbers, self._done = engine, itertools.count(), threading.Event()
        self.desk = PromptDesk(cache_bytes=0, notify=self._done.set)
        self.close = self.desk.close
        self.counted = 0

    def take_in(self, prompt: Samples | Snapshot) -> Prompt:
        """Encode a prompt, or make one of a stream's snapshot, and return it.

        Raises:
            AudioError: the prompt cannot be used.
        """
        self._done.clear()
        self._bring(prompt)
        self._done.wait()
        (finished,) = self.desk.finished()
        if not isinstance(finished.outcome, Prompt):
            raise finished.outcome
        return finished.outcome

    def take_in_together(self, prompts: Sequence[Samples]) -> list[Prompt]:
        """Encode prompts that come at once, and return them in their order.

        Raises:
            AudioError: a prompt cannot be used.
        """
        for prompt in prompts:
            self._bring(prompt)
        found: dict[int, Prompt] = {}
        while len(found) < len(prompts):
            self._done.wait()
            self._done.clear()
            for finished in self.desk.finished():
                if not isinstance(finished.outcome, Prompt):
                    raise finished.outcome
                found[finished.prompt_id] = finished.outcome
        return [found[number] for number in sorted(found)]

    def bring(self, audio: Samples, at_once: int) -> None:
        """Bring the same prompt until there are ``at_once``."""
        while len(self.desk) < at_once:
            self._bring(audio)

    def keep_coming(self, seconds: float) -> None:
        """Bring prompts of ``seconds``, each with different noise, until there are ``_AT_ONCE``."""
        while len(self.desk) < _AT_ONCE:
            self._bring(noise(seconds, seed=next(self._numbers)))

    def count_finished(self) -> None:
        """Take the finished prompts from the desk, and count them."""
        self.counted += len(self.desk.finished())

    def _bring(self, prompt: Samples | Snapshot) -> None:
        number = next(self._numbers)
        if isinstance(prompt, Snapshot):
            self.desk.resume(number, self._engine, prompt)
            return
        self.desk.open(number, self._engine, owner="")
        self.desk.append(number, prompt)
        self.desk.commit(number)


def noise(seconds: float, seed: int) -> Samples:
    """Return white noise of ``seconds``, float32 ``[n]`` at 24 kHz."""
    samples: Samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)
    return samples
