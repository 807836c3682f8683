"""What listeners heard: one record each, and the sum of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Visit
from whispergpt.load.playback_clock import PlaybackClock

Outcome: TypeAlias = Literal["waiting", "playing", "completed", "left", "refused", "failed"]


@dataclass
class Heard:
    """One listener's record; times are seconds after the run began.

    Attributes:
        came: when it really came, which is late where this program could not keep up.
        asked: when it sent ``response.create``.
        first_audio: when the first audio arrived.
        ended: when it was over.
        said_first_audio_ms: what the server reports as its time to first audio.
        reason: why it was refused or failed, in the server's words or ours.
        answered: seconds from what it asked for to the refusal.
    """

    visit: Visit
    clock: PlaybackClock
    came: float
    outcome: Outcome = "waiting"
    asked: float | None = None
    first_audio: float | None = None
    ended: float | None = None
    said_first_audio_ms: float | None = None
    reason: str | None = None
    answered: float | None = None

    @property
    def time_to_first_audio(self) -> float | None:
        """Seconds from ``response.create`` to the first audio that arrived."""
        if self.first_audio is None or self.asked is None:
            return None
        return self.first_audio - self.asked

    @property
    def judged(self) -> bool:
        """Whether its gaps are the server's: who reads too slowly makes its own."""
        return not self.visit.slow

    def as_json(self) -> dict[str, Any]:
        return {
            "came": self.came,
            "outcome": self.outcome,
            "reason": self.reason,
            "asked_for_seconds": self.visit.seconds,
            "prompt_seconds": self.visit.prompt_seconds,
            "live": self.visit.live,
            "slow": self.visit.slow,
            "seed": self.visit.seed,
            "first_audio": self.first_audio,
            "time_to_first_audio_ms": _ms(self.time_to_first_audio),
            "said_first_audio_ms": self.said_first_audio_ms,
            "answered_ms": _ms(self.answered),
            "ended": self.ended,
            "audio_seconds": self.clock.received,
            "gaps": [asdict(gap) for gap in self.clock.gaps],
        }


@dataclass(frozen=True)
class Summary:
    """All listeners together, at one moment or at the end.

    Attributes:
        listeners: how many, by outcome.
        at_once: how many play at this moment; ``most_at_once`` the most that did at any.
        time_to_first_audio_ms, refused_after_ms: None where there is none yet.
        underruns: times that playback stood still, for ``underrun_listeners`` of them and ``silent_seconds`` in all.
        audio_seconds: heard by all together.
        reasons: of refusals and failures, with how often.
    """

    listeners: dict[str, int]
    at_once: int
    most_at_once: int
    time_to_first_audio_ms: Percentiles | None
    refused_after_ms: Percentiles | None
    underruns: int
    underrun_listeners: int
    silent_seconds: float
    audio_seconds: float
    reasons: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sum_up(records: Sequence[Heard]) -> Summary:
    """The sum of what is known so far."""
    judged = [record for record in records if record.judged]
    first = [record.time_to_first_audio for record in records if record.time_to_first_audio is not None]
    refused = [record.answered for record in records if record.outcome == "refused" and record.answered is not None]
    gaps = [gap for record in judged for gap in record.clock.gaps]
    return Summary(
        listeners={"arrived": len(records), **Counter(record.outcome for record in records)},
        at_once=sum(record.outcome == "playing" for record in records),
        most_at_once=most_at_once(records),
        time_to_first_audio_ms=Percentiles.of([1e3 * seconds for seconds in first]) if first else None,
        refused_after_ms=Percentiles.of([1e3 * seconds for seconds in refused]) if refused else None,
        underruns=len(gaps),
        underrun_listeners=sum(bool(record.clock.gaps) for record in judged),
        silent_seconds=sum(gap.seconds for gap in gaps),
        audio_seconds=sum(record.clock.received for record in records),
        reasons=dict(Counter(record.reason for record in records if record.reason).most_common()),
    )


def listening(records: Sequence[Heard]) -> list[tuple[float, int]]:
    """How many play from each moment on: ``(seconds after the start, listeners)``, in order."""
    changes: Counter[float] = Counter()
    for record in records:
        if record.first_audio is not None:
            changes[record.first_audio] += 1
            if record.ended is not None:
                changes[record.ended] -= 1
    course, playing = [(0.0, 0)], 0
    for at in sorted(changes):
        playing += changes[at]
        course.append((at, playing))
    return course


def most_at_once(records: Sequence[Heard]) -> int:
    """The most that played at any moment."""
    return max(playing for _, playing in listening(records))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
