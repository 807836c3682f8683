"""Performances of scores as a pianist might play them, with varied tempo, touch and pedal.

A generator seeded by the performance's name draws every choice, so that a name always gives the same MIDI file.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whispergpt.training.recipes.packages import library
from whispergpt.training.recipes.scores import Note

PIANOS = 4
"""Number of pianos, General MIDI programs 0 to 3: acoustic grand, bright, electric grand and honky-tonk."""
TICKS_PER_SECOND = 1000
GRID = 0.25
"""Quarters between two points of the tempo curve."""
DEFAULT_TEMPO = 80.0
TEMPO_RANGE = (48.0, 132.0)
LEAD_IN = 0.2
TAIL = 2.0
"""Seconds after the last note is released, in which strings and room die away."""
SUSTAIN_PEDAL = 64


@dataclass(frozen=True)
class Style:
    """Settings of one performance: levels in dBFS, times in seconds, tempo relative to the written one."""

    program: int
    transposition: int
    tempo: float
    loudness: int
    touch: float
    unevenness: float
    pedal: bool
    reverb: float
    room: float
    level: float


@dataclass(frozen=True)
class Stroke:
    """A key pressed: seconds down and up, MIDI pitch and velocity."""

    down: float
    up: float
    pitch: int
    velocity: int


def style_of(name: str, transpose: bool = False) -> Style:
    """Draw and return the style of the performance called ``name``; ``transpose`` changes the key."""
    rng = random.Random(f"style of {name}")
    return Style(
        program=rng.randrange(PIANOS),
        transposition=rng.choice([-4, -3, -2, -1, 1, 2, 3, 4]) if transpose else 0,
        tempo=rng.uniform(0.82, 1.12),
        loudness=rng.randint(52, 84),
        touch=rng.uniform(0.86, 1.0),
        unevenness=rng.uniform(0.004, 0.014),
        pedal=rng.random() < 0.5,
        reverb=rng.uniform(0.1, 0.5),
        room=rng.uniform(0.2, 0.7),
        level=rng.uniform(-27.0, -20.0),
    )


def perform(notes: list[Note], written_tempo: float | None, style: Style, name: str) -> list[Stroke]:
    """Return notes as strokes by start time; no key is pressed again before it is released."""
    rng = random.Random(f"performance of {name}")
    clock = _Clock(notes, written_tempo, style, rng)
    lowest_part = max(n.part for n in notes)
    swell = _walk(rng, clock.points, keep=0.9, step=2.0)
    strokes = []
    for note in notes:
        voice = {0: 8, lowest_part: 3}.get(note.part, -4)
        accent = 5 * note.strength - 2
        wave = swell[min(int(note.start / GRID), clock.points - 1)]
        velocity = round(style.loudness + voice + accent + wave + rng.gauss(0, 2.5))
        down = clock.at(note.start) + max(-0.025, min(0.025, rng.gauss(0, style.unevenness)))
        held = (clock.at(note.start + note.length) - down) * style.touch * rng.uniform(0.96, 1.02)
        pitch = note.pitch + style.transposition
        strokes.append(Stroke(down, down + max(0.05, held), pitch, max(20, min(118, velocity))))
    return _one_key_each(strokes)


class _Clock:
    """Score time in quarters → seconds, with a varying tempo that slows down at fermatas and at the end."""

    def __init__(self, notes: list[Note], written_tempo: float | None, style: Style, rng: random.Random) -> None:
        end = max(n.start + n.length for n in notes)
        self.points = math.ceil(end / GRID) + 1
        tempo = min(max((written_tempo or DEFAULT_TEMPO) * style.tempo, TEMPO_RANGE[0]), TEMPO_RANGE[1])
        times = np.arange(self.points) * GRID
        pace = np.exp(np.array(_walk(rng, self.points, keep=0.93, step=0.015)))
        for start in sorted({n.start for n in notes if n.fermata}):
            length = max(n.length for n in notes if n.fermata and n.start == start)
            pace[(times >= start) & (times < start + length)] *= rng.uniform(1.25, 1.9)
        pace *= 1 + 0.35 * np.clip(1 - (end - times) / 6, 0, 1) ** 2
        seconds = GRID * 60 / tempo * pace
        self._times = np.append(times, times[-1] + GRID)
        self._seconds = LEAD_IN + np.append(0, np.cumsum(seconds))

    def at(self, quarters: float) -> float:
        return float(np.interp(quarters, self._times, self._seconds))


def _walk(rng: random.Random, count: int, keep: float, step: float) -> list[float]:
    """Return a random walk that tends back to zero."""
    here, walk = 0.0, []
    for _ in range(count):
        here = keep * here + rng.gauss(0, step)
        walk.append(here)
    return walk


def _one_key_each(strokes: list[Stroke]) -> list[Stroke]:
    """Resolve voices on one key: simultaneous strokes merge; before a later one, the key is released."""
    played: list[Stroke] = []
    last: dict[int, int] = {}
    for stroke in sorted(strokes, key=lambda s: (s.down, s.pitch, s.up, s.velocity)):
        index = last.get(stroke.pitch)
        if index is not None:
            before = played[index]
            if stroke.down - before.down < 0.06:
                up, velocity = max(before.up, stroke.up), max(before.velocity, stroke.velocity)
                played[index] = Stroke(before.down, up, before.pitch, velocity)
                continue
            if before.up > stroke.down - 0.02:
                played[index] = Stroke(before.down, stroke.down - 0.02, before.pitch, before.velocity)
        last[stroke.pitch] = len(played)
        played.append(stroke)
    return played


def write_midi(strokes: list[Stroke], style: Style, path: Path) -> None:
    """Write one piano on one channel, a tick a millisecond; the pedal changes at chords of three or more keys."""
    mido = library("mido")
    events = []
    for stroke in strokes:
        down, up = _ticks(stroke.down), _ticks(stroke.up)
        events.append((down, 2, mido.Message("note_on", note=stroke.pitch, velocity=stroke.velocity)))
        events.append((up, 0, mido.Message("note_off", note=stroke.pitch, velocity=64)))
    if style.pedal:
        for moment in _chords(strokes):
            events.append((_ticks(moment), 1, mido.Message("control_change", control=SUSTAIN_PEDAL, value=0)))
            events.append((_ticks(moment + 0.08), 1, mido.Message("control_change", control=SUSTAIN_PEDAL, value=127)))
        last = max(s.up for s in strokes)
        events.append((_ticks(last + 0.3), 1, mido.Message("control_change", control=SUSTAIN_PEDAL, value=0)))
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)])
    track.append(mido.Message("program_change", program=style.program))
    now = 0
    for tick, _, message in sorted(events, key=lambda e: (e[0], e[1])):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=_ticks(TAIL)))
    mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_SECOND, tracks=[track]).save(path)


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _chords(strokes: list[Stroke]) -> list[float]:
    """Return the times of chords, in order: the last of at least three keys pressed within 40 ms."""
    moments: list[float] = []
    group: list[float] = []
    for stroke in sorted(strokes, key=lambda s: s.down):
        if group and stroke.down - group[0] > 0.04:
            if len(group) >= 3:
                moments.append(group[-1])
            group = []
        group.append(stroke.down)
    return moments + ([group[-1]] if len(group) >= 3 else [])
