"""Prompt work of one machine, in the order of the engine's desk: awaited prompts first, then the shortest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whispergpt.engine.prompts.line import WAITING_FRAMES

_NOTHING = 1e-12


@dataclass(eq=False)
class PromptWork:
    """Work left of one prompt.

    Attributes:
        frames, seconds: frames and machine seconds left.
        since: time of the commit; None before it.
        done: called when the committed prompt is finished.
    """

    frames: float = 0.0
    seconds: float = 0.0
    since: float | None = None
    done: Callable[[], None] | None = None

    def after(self) -> tuple[bool, float]:
        """Return the sort key of ``PromptDesk``; it needs no current time, since all waiting prompts age alike."""
        return self.since is None, self.frames + (self.since or 0.0) * WAITING_FRAMES


class Desk:
    """Prompts that are worked on one after the other; work is in seconds of an otherwise idle machine."""

    def __init__(self) -> None:
        self._prompts: list[PromptWork] = []

    def __len__(self) -> int:
        """Return the number of unfinished prompts."""
        return len(self._prompts)

    @property
    def awaited(self) -> bool:
        """Whether a committed prompt is unfinished."""
        return any(prompt.since is not None for prompt in self._prompts)

    def append(self, prompt: PromptWork, frames: float, seconds: float) -> None:
        """Add work to a prompt."""
        prompt.frames, prompt.seconds = prompt.frames + frames, prompt.seconds + seconds
        if prompt not in self._prompts:
            self._prompts.append(prompt)

    def commit(self, prompt: PromptWork, now: float, done: Callable[[], None]) -> None:
        """Mark a prompt as complete and awaited; ``done`` is called when it is finished."""
        prompt.since, prompt.done = now, done
        if prompt not in self._prompts:
            self._prompts.append(prompt)

    def drop(self, prompt: PromptWork) -> None:
        """Discard a prompt."""
        if prompt in self._prompts:
            self._prompts.remove(prompt)

    @property
    def due_in(self) -> float:
        """Seconds of work until the next prompt is finished."""
        return max(0.0, self._next().seconds)

    def work(self, amount: float) -> list[Callable[[], None]]:
        """Do ``amount`` seconds of work, and return the callbacks of the finished prompts in order."""
        through = []
        while self._prompts and (prompt := self._next()).seconds <= amount + _NOTHING:
            amount -= prompt.seconds
            prompt.frames = prompt.seconds = 0.0
            self._prompts.remove(prompt)
            if prompt.done is not None:
                through.append(prompt.done)
        if self._prompts and amount > 0:
            prompt = self._next()
            prompt.frames *= 1 - amount / prompt.seconds
            prompt.seconds -= amount
        return through

    def _next(self) -> PromptWork:
        return min(self._prompts, key=PromptWork.after)
