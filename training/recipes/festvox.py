"""Real studio speech for the codec: the recordings in Debian's festvox-ru, one Russian speaker, 1.66 hours at 16 kHz.

``python -m whispergpt.training.recipes.festvox -o audio/festvox-ru`` writes one folder for the one speaker and
``festvox-ru.tsv``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import soundfile
import typer
from tqdm import tqdm

from whispergpt.training.recipes.audio_folder import run, whole_seconds, write_flac, write_table
from whispergpt.training.recipes.packages import from_debian

PACKAGE = "festvox-ru"
VOICE = "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
SPEAKER = "msu_ru_nsh"


def festvox(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")],
    cache: Annotated[Path, typer.Option(help="Folder for fetched packages.")] = Path("runs/packages"),
) -> None:
    """Fetch the package and write its recordings as flac. Whole files are not made again."""
    voice = from_debian(PACKAGE, cache) / VOICE
    texts = prompts((voice / "etc" / "txt.done.data").read_text("utf-8"))
    recordings = sorted((voice / "wav").glob("*.wav"))
    if not recordings:
        raise ValueError(f"there are no recordings in {PACKAGE}")
    made = []
    for recording in tqdm(recordings, desc="festvox-ru", disable=None):
        path = out / SPEAKER / f"{recording.stem}.flac"
        seconds = whole_seconds(path)
        if seconds is None:
            samples, rate = soundfile.read(recording, dtype="int16")
            seconds = write_flac(path, samples, rate)
        made.append((str(path.relative_to(out)), f"{seconds:.2f}", texts.get(recording.stem, "")))
    write_table(out / "festvox-ru.tsv", ("file", "seconds", "text"), made)
    typer.echo(f"{len(made)} recordings, {sum(float(row[1]) for row in made) / 3600:.2f} h", err=True)


def prompts(listing: str) -> dict[str, str]:
    """Return the texts by name from Festival's list, ``( name "text" )`` on each line."""
    return dict(re.findall(r'^\( *(\S+) +"(.*)" *\)', listing, re.MULTILINE))


if __name__ == "__main__":
    run(festvox)
