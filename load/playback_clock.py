"""The ears of one listener: when playback began, and every moment it had nothing to play."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Gap:
    """Playback stood still from ``at`` for ``seconds``."""

    at: float
    seconds: float


@dataclass
class PlaybackClock:
    """Plays what has arrived, in real time, as a player with a small buffer does.

    Playback begins once ``buffer_seconds`` are there. When all of them are played and more is to come, it stands still
    (an underrun) until as much is there again. All times are seconds on one monotonic clock.

    Attributes:
        received: seconds of audio that have arrived.
        gaps: where playback stood still, so far.
    """

    buffer_seconds: float
    received: float = 0.0
    gaps: list[Gap] = field(default_factory=list)
    _runs_dry_at: float | None = None
    _waiting_since: float | None = None
    _held: float = 0.0

    @property
    def playing(self) -> bool:
        """Whether playback has begun."""
        return self._runs_dry_at is not None

    def lead(self, now: float) -> float:
        """Seconds of audio that are there and not played yet; 0 while playback stands still."""
        if self._runs_dry_at is None or self._waiting_since is not None:
            return self._held
        return max(0.0, self._runs_dry_at - now)

    def arrive(self, now: float, seconds: float) -> None:
        """So many seconds of audio arrive."""
        self.received += seconds
        if self._runs_dry_at is not None and self._waiting_since is None:
            if now <= self._runs_dry_at:
                self._runs_dry_at += seconds
                return
            self._waiting_since = self._runs_dry_at
        self._held += seconds
        if self._held >= self.buffer_seconds:
            self._go_on(now)

    def end(self, now: float, complete: bool) -> None:
        """Nothing more will come. What is held is played; if it was not ``complete``, silence up to now was a gap."""
        if self._waiting_since is None and self._runs_dry_at is not None and now > self._runs_dry_at:
            self._waiting_since = self._runs_dry_at
        if self._held:
            self._go_on(now)
        elif self._waiting_since is not None and not complete:
            self.gaps.append(Gap(self._waiting_since, now - self._waiting_since))
        self._waiting_since = None

    def _go_on(self, now: float) -> None:
        if self._waiting_since is not None:
            self.gaps.append(Gap(self._waiting_since, now - self._waiting_since))
        self._waiting_since, self._runs_dry_at = None, now + self._held
        self._held = 0.0
