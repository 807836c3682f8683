"""Plan of a run: the time and the behaviour of each listener, drawn from a seed before the start."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, TypeAlias

MOST_VISITS = 1_000_000

Exit: TypeAlias = Literal["end", "cancel", "vanish"]
"""End of a visit: after all audio, by ``response.cancel``, or by dropping the connection."""


@dataclass(frozen=True)
class Span:
    """Range of seconds for a uniform draw, both ends included."""

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
    """Distribution of the listeners' behaviour.

    Attributes:
        seconds: length of the requested continuations.
        prompt_seconds: length of the prompts.
        leave: share that leaves early at a random moment; half of these cancel, half drop the connection.
        slow: share that reads at half the speed of playback.
        live: share that sends its prompt at the pace of speech; the others send a file at once.
    """

    seconds: Span = Span(5, 30)
    prompt_seconds: Span = Span(1, 5)
    leave: float = 0.2
    slow: float = 0.0
    live: float = 0.25

    @property
    def mean_seconds(self) -> float:
        """Average seconds of a listener's stay after the prompt; an early leaver stays half of its request."""
        return self.seconds.mean * (1 - self.leave / 2)


@dataclass(frozen=True)
class Visit:
    """Plan of one listener.

    Attributes:
        at: seconds since the start of the run.
        seconds: requested length of the continuation.
        stays: seconds of playback until the listener leaves.
    """

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
    """Draw Poisson arrivals over ``duration`` seconds so that ``streams`` listen on average (Little's law).

    Raises:
        ValueError: there would be more than ``MOST_VISITS``.
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
    """Plan ``streams`` listeners that arrive ``apart`` seconds apart and all stay for ``duration`` seconds."""
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
