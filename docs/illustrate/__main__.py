"""Make the sounds and pictures of the README and the site with the current weights and code.

``make pictures`` runs this; with ARGS it makes the named parts alone. ``sounds`` are ``docs/samples/NAME.mp3`` for each
bundled model and ``docs/demo.png``, ``playground`` is ``docs/playground/``, ``dashboards`` is ``docs/dashboards/``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from whispergpt_client import Client

from docs.illustrate.dashboards import draw_dashboards
from docs.illustrate.playground import photograph
from whispergpt.cli.arguments import write_audio
from whispergpt.cli.demo import draw, hear, running_server

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PARTS = ("sounds", "playground", "dashboards")
SAMPLE_SECONDS = 8.0
SEED = 1


def record_samples(url: str) -> None:
    """Write what the models make of the bundled prompts, and a picture of the voice."""
    with Client(url) as client:
        voice = hear(client, ROOT / "examples" / "prompt.flac", SAMPLE_SECONDS, SEED, "speech")
        piano = hear(client, ROOT / "examples" / "piano.flac", SAMPLE_SECONDS, SEED, "piano")
    write_audio(DOCS / "samples" / "speech.mp3", voice.audio)
    write_audio(DOCS / "samples" / "piano.mp3", piano.audio)
    draw(voice.audio, len(voice.prompt), DOCS / "demo.png")


def main() -> int:
    """Make the wanted parts and return the exit status, 1 if a program for one of them is not installed."""
    parser = argparse.ArgumentParser(prog="make pictures", description="Make the sounds and pictures of the pages.")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=f"{', '.join(PARTS)}; else all")
    parts = parser.parse_args().parts or PARTS
    missing: list[str] = []
    if "sounds" in parts or "playground" in parts:
        with running_server([]) as url:
            if "sounds" in parts:
                record_samples(url)
            if "playground" in parts:
                missing += photograph(url, DOCS / "playground")
    if "dashboards" in parts and not draw_dashboards(DOCS / "dashboards"):
        missing.append("prometheus")
    for program in missing:
        sys.stderr.write(f"Its pictures are unchanged: {program} is not installed.\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
