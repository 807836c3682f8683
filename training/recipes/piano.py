"""Bach on a piano: scores of music21's corpus, each with a performance of its own, rendered by FluidSynth.

``python -m whispergpt.training.recipes.piano -o audio/piano`` writes a folder for each work (BWV number), with a flac
and a MIDI file for each piece. ``piano.tsv`` lists the pieces, ``left-out.tsv`` the scores left out, with reasons.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import soxr
import typer
from tqdm import tqdm

from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.recipes.audio_folder import Samples, run, update_table, whole_seconds, write_flac, write_table
from whispergpt.training.recipes.packages import require
from whispergpt.training.recipes.performance import Style, perform, style_of, write_midi
from whispergpt.training.recipes.scores import Piece, ScoreError, bach_folder, pieces, read_notes

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
RENDER_RATE = 48_000
"""Sample rate of the rendering in Hz: above the samples' 44.1 kHz, so that nothing aliases below 12 kHz."""
RENDER_SECONDS = 600
HIGHEST_PEAK = 0.9
SILENCE = 0.0005
"""Sample value (-66 dBFS) below which the end of a piece is cut off."""


def piano(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")],
    takes: Annotated[
        int, typer.Option(min=1, max=20, help="Performances of each piece; all but the first transposed.")
    ] = 1,
    strict: Annotated[bool, typer.Option(help="Leave out scores with a notice on the printed page too.")] = False,
    soundfont: Annotated[Path, typer.Option(help="The soundfont whose programs 0 to 3 are pianos.")] = SOUNDFONT,
    limit: Annotated[int | None, typer.Option(min=1, help="Make the first N pieces alone.")] = None,
) -> None:
    """Render the Bach of music21's corpus on sampled pianos. Whole files are not made again."""
    scores = pieces(bach_folder(), strict)
    fluidsynth = require("fluidsynth", "play the scores")
    if not soundfont.is_file():
        raise ValueError(f"there is no soundfont at {soundfont}: apt install fluid-soundfont-gm, or name one")
    usable = [piece for piece in scores if piece.left_out is None][:limit]
    left_out = [(piece.path.name, piece.left_out, piece.rights) for piece in scores if piece.left_out is not None]
    made: list[tuple[str, str, str, int, str]] = []
    try:
        for piece in tqdm(usable, desc="piano", unit="piece", disable=None):
            try:
                made += play(piece, takes, out, fluidsynth, soundfont)
            except ScoreError as error:
                tqdm.write(f"left out {error}")
                left_out.append((piece.path.name, str(error), piece.rights))
    finally:
        update_table(out / "piano.tsv", ("file", "seconds", "work", "program", "rights"), made)
        write_table(out / "left-out.tsv", ("score", "reason", "rights"), left_out)
    hours = sum(float(row[1]) for row in made) / 3600
    works = len({row[2] for row in made})
    typer.echo(f"{len(made)} pieces of {works} works, {hours:.2f} h; {len(left_out)} scores left out", err=True)


def play(piece: Piece, takes: int, out: Path, fluidsynth: str, soundfont: Path) -> list[tuple[str, str, str, int, str]]:
    """Render a piece's performances, except whole files, and return their rows of the table.

    Raises:
        ScoreError: the score cannot be read.
        ValueError: a library is missing, or FluidSynth failed.
    """
    rows = []
    score = None
    for take in range(1, takes + 1):
        name = piece.name if take == 1 else f"{piece.name}_take{take}"
        style = style_of(name, transpose=take > 1)
        path = out / piece.work / f"{name}.flac"
        seconds = whole_seconds(path)
        if seconds is None:
            score = score or read_notes(piece.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            midi = path.with_suffix(".mid")
            write_midi(perform(*score, style, name), style, midi)
            seconds = write_flac(path, levelled(render(midi, style, fluidsynth, soundfont), style.level), SAMPLE_RATE)
        rows.append((str(path.relative_to(out)), f"{seconds:.2f}", piece.work, style.program, piece.rights))
    return rows


def render(midi: Path, style: Style, fluidsynth: str, soundfont: Path) -> Samples:
    """Render a MIDI file and return mono samples float32 ``[n]`` at 24 kHz; ``levelled`` sets their level.

    Raises:
        ValueError: FluidSynth failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        wav, no_settings = Path(temporary) / "piano.wav", Path(temporary) / "settings"
        no_settings.touch()  # the user's settings would change the sound
        effects = {
            "reverb.level": style.reverb,
            "reverb.room-size": style.room,
            "reverb.damp": 0.3,
            "reverb.width": 0.5,
        }
        options = [part for name, value in effects.items() for part in ("-o", f"synth.{name}={value:.4f}")]
        command = [fluidsynth, "-n", "-i", "-q", "-f", str(no_settings), "-T", "wav", "-O", "float"]
        command += ["-r", str(RENDER_RATE), "-g", "0.3", "-R", "1", "-C", "0", *options, "-F", str(wav)]
        done = subprocess.run(
            [*command, str(soundfont), str(midi)], capture_output=True, text=True, timeout=RENDER_SECONDS, check=False
        )
        if done.returncode or not wav.is_file():
            raise ValueError(f"fluidsynth could not play {midi}: {done.stderr.strip() or 'it gave no reason'}")
        stereo, rate = soundfile.read(wav, dtype="float32", always_2d=True)
    resampled: Samples = soxr.resample(stereo.mean(axis=1), rate, SAMPLE_RATE, quality="VHQ")
    return resampled


def levelled(samples: Samples, level: float) -> Samples:
    """Return samples at an RMS of ``level`` dBFS, or less to limit the peak, without the silent end."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0:
        raise ValueError("there is no sound in the rendering: is this a soundfont with pianos?")
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    scaled = samples * np.float32(min(10 ** (level / 20) / rms, HIGHEST_PEAK / peak))
    loud = np.flatnonzero(np.abs(scaled) > SILENCE)
    return scaled[: loud[-1] + SAMPLE_RATE // 4]


if __name__ == "__main__":
    run(piano)
