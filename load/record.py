"""Records of what each listener heard, and their sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from whispergpt.engine.playback_clock import PlaybackClock
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Visit

Outcome: TypeAlias = Literal["waiting", "playing", "completed", "left", "refused", "failed"]
C50_SECONDS = 0.05
"""Longest gap of a stream that counts as continuous in ``c50``."""


@dataclass
class ListenerRecord:
    """Record of one listener; times are seconds since the start of the run.

    Attributes:
        came: actual time of its start, later than planned if this program could not keep up.
        asked: time just before it said that its prompt has ended.
        first_audio: time at which the first audio arrived.
        ended: time of its end.
        said_first_audio_ms: time to first audio as reported by the server.
        reason: why it was refused or failed.
        answered: seconds from the request to the refusal.
        messages, size: messages of audio that arrived, and their bytes.
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
    messages: int = 0
    size: int = 0

    def count(self, now: float, size: int, seconds: float) -> None:
        """Record a message of audio."""
        self.messages += 1
        self.size += size
        self.clock.arrive(now, seconds)

    @property
    def time_to_first_audio(self) -> float | None:
        """Seconds from ``response.create`` to the first audio that arrived."""
        if self.first_audio is None or self.asked is None:
            return None
        return self.first_audio - self.asked

    @property
    def time_to_playback(self) -> float | None:
        """Seconds from ``response.create`` to the start of playback, once the player's buffer was full."""
        if self.clock.began is None or self.asked is None:
            return None
        return self.clock.began - self.asked

    @property
    def judged(self) -> bool:
        """Whether its gaps count against the server; a slow reader causes gaps itself."""
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
            "first_playable_ms": _ms(self.time_to_playback),
            "said_first_audio_ms": self.said_first_audio_ms,
            "answered_ms": _ms(self.answered),
            "ended": self.ended,
            "audio_seconds": self.clock.received,
            "largest_gap_ms": _ms(self.clock.largest_gap),
            "gaps": [asdict(gap) for gap in self.clock.gaps],
        }


@dataclass(frozen=True)
class Summary:
    """Sums over all listeners, during a run or at its end.

    Attributes:
        listeners: number of listeners by outcome.
        at_once: listeners playing at this moment.
        most_at_once: most listeners that played at the same time.
        time_to_first_audio_ms: also called time to first byte; None before the first.
        first_playable_ms: from ``response.create`` until the player's buffer was full; None before the first.
        refused_after_ms: None before the first.
        c50: share of the listeners who heard audio, and had no gap above 50 ms; None before the first.
        underruns: number of playback gaps.
        underrun_listeners: listeners with a gap.
        silent_seconds: length of all gaps.
        audio_seconds: audio received by all listeners.
        reasons: reasons of refusals and failures, with their counts.
    """

    listeners: dict[str, int]
    at_once: int
    most_at_once: int
    time_to_first_audio_ms: Percentiles | None
    first_playable_ms: Percentiles | None
    refused_after_ms: Percentiles | None
    c50: float | None
    underruns: int
    underrun_listeners: int
    silent_seconds: float
    audio_seconds: float
    reasons: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def sum_up(records: Sequence[ListenerRecord]) -> Summary:
    """Return the sums over the records so far."""
    judged = [record for record in records if record.judged]
    heard = [record for record in judged if record.first_audio is not None]
    refused = (record.answered for record in records if record.outcome == "refused")
    gaps = [gap for record in judged for gap in record.clock.gaps]
    return Summary(
        listeners={"arrived": len(records), **Counter(record.outcome for record in records)},
        at_once=sum(record.outcome == "playing" for record in records),
        most_at_once=max(playing for _, playing in listening(records)),
        time_to_first_audio_ms=_percentiles(record.time_to_first_audio for record in records),
        first_playable_ms=_percentiles(record.time_to_playback for record in records),
        refused_after_ms=_percentiles(refused),
        c50=sum(record.clock.largest_gap <= C50_SECONDS for record in heard) / len(heard) if heard else None,
        underruns=len(gaps),
        underrun_listeners=sum(bool(record.clock.gaps) for record in judged),
        silent_seconds=sum(gap.seconds for gap in gaps),
        audio_seconds=sum(record.clock.received for record in records),
        reasons=dict(Counter(record.reason for record in records if record.reason).most_common()),
    )


def listening(records: Sequence[ListenerRecord]) -> list[tuple[float, int]]:
    """Return the number of playing listeners from each change on, as ``(seconds since the start, listeners)``."""
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


def _percentiles(seconds: Iterable[float | None]) -> Percentiles | None:
    """Return the percentiles in milliseconds of the values that are there; None if there is none."""
    known = [1e3 * one for one in seconds if one is not None]
    return Percentiles.of(known) if known else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
