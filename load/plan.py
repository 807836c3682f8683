"""Who comes when, and how each of them behaves: drawn from a seed before anything starts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, TypeAlias

MOST_VISITS = 1_000_000

Exit: TypeAlias = Literal["end", "cancel", "vanish"]
"""How a visit ends: when all was heard, by ``response.cancel``, or by a connection that is gone without a word."""


@dataclass(frozen=True)
class Span:
    """A uniform choice of seconds, both ends included."""

    least: float
    most: float

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most:
            raise ValueError(f"{self.least:g}:{self.most:g} is not a span of seconds, such as 2:20.")

    @property
    def mean(self) -> float:
        return (self.least + self.most) / 2


@dataclass(frozen=True)
class Mix:
    """What kinds of listeners come.

    Attributes:
        seconds: how long a continuation each asks for.
        prompt_seconds: how long a prompt each sends.
        leave: share that leaves early, at a random moment; half of them cancel, half vanish.
        slow: share that reads at half the pace of playback.
        live: share that sends its prompt as it is spoken, the others send a file at once.
    """

    seconds: Span = Span(5, 30)
    prompt_seconds: Span = Span(1, 5)
    leave: float = 0.2
    slow: float = 0.0
    live: float = 0.25

    @property
    def mean_seconds(self) -> float:
        """Seconds that a listener stays on average after the prompt; an early leaver half of what it asked for."""
        return self.seconds.mean * (1 - self.leave / 2)


@dataclass(frozen=True)
class Visit:
    """One listener to come. ``at``: seconds after the start; ``stays``: seconds of playback it stays for."""

    number: int
    at: float
    seconds: float
    stays: float
    ends: Exit
    prompt_seconds: float
    live: bool
    slow: bool
    seed: int


def open_loop(mix: Mix, streams: float, duration: float, seed: int) -> list[Visit]:
    """Poisson arrivals for ``duration`` seconds, so many that ``streams`` listen at once on average (Little's law).

    Raises:
        ValueError: that would be more than ``MOST_VISITS``.
    """
    drawn = random.Random(seed)
    rate = streams / mix.mean_seconds
    if rate * duration > MOST_VISITS:
        raise ValueError(f"{rate * duration:,.0f} listeners are too many; at most {MOST_VISITS:,} can be planned.")
    visits: list[Visit] = []
    at = drawn.expovariate(rate)
    while at < duration:
        visits.append(_visit(mix, len(visits), at, drawn))
        at += drawn.expovariate(rate)
    return visits


def steady(mix: Mix, streams: int, duration: float, seed: int, apart: float = 0.1) -> list[Visit]:
    """``streams`` listeners, one every ``apart`` seconds, who all stay for ``duration`` seconds."""
    drawn = random.Random(seed)
    always = Mix(Span(duration, duration), mix.prompt_seconds, leave=0.0, slow=mix.slow, live=mix.live)
    return [_visit(always, number, number * apart, drawn) for number in range(streams)]


def _visit(mix: Mix, number: int, at: float, drawn: random.Random) -> Visit:
    seconds = drawn.uniform(mix.seconds.least, mix.seconds.most)
    ends: Exit = "end"
    stays = seconds
    if drawn.random() < mix.leave:
        ends = drawn.choice(("cancel", "vanish"))
        stays = drawn.uniform(0, seconds)
    return Visit(
        number=number,
        at=at,
        seconds=seconds,
        stays=stays,
        ends=ends,
        prompt_seconds=drawn.uniform(mix.prompt_seconds.least, mix.prompt_seconds.most),
        live=drawn.random() < mix.live,
        slow=drawn.random() < mix.slow,
        seed=drawn.randrange(2**53),
    )
