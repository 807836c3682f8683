"""``whispergpt codec``: audio to codes and back, to hear and measure the codec alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from whispergpt.cli.arguments import (
    audio_source,
    check_finite,
    check_output,
    default_model,
    named,
    told_in_one_line,
    write_audio,
)
from whispergpt.cli.options import MODEL_HELP
from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.checkpoints.checkpoint import find_model, load_codec
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.engine.model.frame_step import to_int16
from whispergpt.training.measures.round_trip import KBPS_PER_CODEBOOK, codebooks_at


def codec(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Audio of any format and length; - is standard input.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="File for the decoded audio.")],
    kbps: Annotated[float, typer.Option(help="Bit rate in kbit/s: 0.75 for each codebook used.")] = 6.0,
    model: Annotated[str | None, typer.Option(help=f"Model with the codec. {MODEL_HELP}.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Encode audio and decode it again."""
    with told_in_one_line():
        check_output(output, source=source)
        check_finite(kbps=kbps)
        loaded = load_codec(find_model(model or default_model()))
        books = codebooks_at(kbps, loaded)
        with named(source):
            audio = torch.from_numpy(read_audio(audio_source(source), max_seconds=None))
        total = 2 * -(-len(audio) // HOP)  # encoded, then decoded
        with tqdm(total=total, desc="codec", unit="frame", disable=None, leave=False) as progress:
            offline = OfflineCodec(loaded, progress.update)
            decoded = offline.decode(offline.encode(audio)[:books])[: len(audio)]
        write_audio(output, to_int16(decoded).numpy())
    seconds = len(audio) / SAMPLE_RATE
    result = {"output": str(output), "kbps": books * KBPS_PER_CODEBOOK, "codebooks": books, "seconds": seconds}
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"{output}: {seconds:.2f} s through {books} codebooks, {result['kbps']:g} kbps")
