"""Simulated playback of one listener: its start and its gaps, as the server and ``whispergpt load`` count them."""

from __future__ import annotations

from dataclasses import dataclass, field

BUFFER_SECONDS = 0.05
"""Seconds of audio that a usual player buffers before it plays."""


@dataclass(frozen=True)
class Gap:
    """A gap in playback: its start and its length in seconds."""

    at: float
    seconds: float


@dataclass
class PlaybackClock:
    """Simulated player with a small buffer, which plays the arriving audio in real time.

    Playback begins when ``buffer_seconds`` have arrived. If the buffer runs empty before the end (an underrun),
    playback stops until as much has arrived again. All times are seconds on one monotonic clock.

    Attributes:
        began: time at which playback began; None before.
        received: seconds of audio that have arrived.
        gaps: gaps so far.
    """

    buffer_seconds: float
    began: float | None = None
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
        """Return the seconds of audio that have arrived and are not played yet."""
        if self._runs_dry_at is None or self._waiting_since is not None:
            return self._held
        return max(0.0, self._runs_dry_at - now)

    @property
    def largest_gap(self) -> float:
        """Return the length of the longest gap in seconds; 0 without one."""
        return max((gap.seconds for gap in self.gaps), default=0.0)

    def arrive(self, now: float, seconds: float) -> None:
        """Record the arrival of ``seconds`` of audio."""
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
        """Record the end of the audio, after which buffered audio still plays.

        If the audio is not ``complete``, silence up to now counts as a gap.
        """
        if self._waiting_since is None and self._runs_dry_at is not None and now > self._runs_dry_at:
            self._waiting_since = self._runs_dry_at
        if self._held:
            self._go_on(now)
        elif self._waiting_since is not None and not complete:
            self.gaps.append(Gap(self._waiting_since, now - self._waiting_since))
        self._waiting_since = None

    def _go_on(self, now: float) -> None:
        if self.began is None:
            self.began = now
        if self._waiting_since is not None:
            self.gaps.append(Gap(self._waiting_since, now - self._waiting_since))
        self._waiting_since, self._runs_dry_at = None, now + self._held
        self._held = 0.0
