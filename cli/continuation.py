"""``whispergpt continue``: continue a recording with the server's engine, but without a server."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from whispergpt.cli.arguments import (
    audio_source,
    check_finite,
    check_output,
    default_model,
    tell_if_slow,
    told_in_one_line,
    write_audio,
)
from whispergpt.cli.options import MODEL_HELP
from whispergpt.engine.audio.audio_file import cut_prompt, read_audio
from whispergpt.engine.config import FRAME_RATE, Dtype
from whispergpt.engine.engine import Engine
from whispergpt.server.parameters import DEFAULT_SECONDS, RANGES, Wishes, check_wishes, frames_for, sampling_for


def continuation(
    prompt: Annotated[Path, typer.Argument(help="The recording to continue; - is standard input.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File for the continuation.")],
    seconds: Annotated[float, typer.Option(help="Seconds to generate, without the prompt.")] = float(DEFAULT_SECONDS),
    seed: Annotated[int | None, typer.Option(help=f"{RANGES['seed'].help}; random by default.")] = None,
    temperature: Annotated[float | None, typer.Option(help=f"{RANGES['temperature'].help}.")] = None,
    top_k: Annotated[int | None, typer.Option(help=f"{RANGES['top_k'].help}.")] = None,
    top_p: Annotated[float | None, typer.Option(help=f"{RANGES['top_p'].help}.")] = None,
    model: Annotated[str | None, typer.Option(help=f"{MODEL_HELP}.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Of products: float32, or auto, bfloat16 if it is fast.")] = "auto",
    with_prompt: Annotated[bool, typer.Option("--with-prompt", help="Put the decoded prompt in front.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Continue a recording and write the continuation to a file."""
    began = time.perf_counter()
    with told_in_one_line():
        check_output(output)
        check_finite(seconds=seconds, temperature=temperature, top_p=top_p)
        wishes = Wishes(seed, temperature, top_k, top_p)
        check_wishes(wishes)
        frames = frames_for(seconds)
        audio = cut_prompt(read_audio(audio_source(prompt)))
        engine = Engine.load(model or default_model(), device, dtype=dtype)
        tell_if_slow(engine)
        sampling = sampling_for(wishes, engine.info())
        loaded = time.perf_counter()
        encoded = engine.encode_prompt(audio)
        stream = engine.stream(encoded, sampling, frames)
        progress = tqdm(total=frames, unit="frame", disable=not sys.stderr.isatty())
        pcm = [encoded.decoded.numpy()] if with_prompt else []
        first = 0.0
        for frame in engine.generate(stream):
            first = first or time.perf_counter() - loaded
            pcm.append(frame.pcm)
            progress.update()
        progress.close()
        taken = time.perf_counter() - loaded
        write_audio(output, np.concatenate(pcm))
    result = {
        "output": str(output),
        "model": engine.model.id,
        "seed": sampling.seed,
        "frames": frames,
        "seconds": frames / FRAME_RATE,
        "prompt_seconds": encoded.frames / FRAME_RATE,
        "load_seconds": round(loaded - began, 3),
        "time_to_first_audio_ms": round(first * 1e3, 1),
        "realtime_factor": round(frames / FRAME_RATE / taken, 3),
        "fingerprint": engine.fingerprint,
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(
            f"{output}: {frames / FRAME_RATE:.2f} s after {encoded.frames / FRAME_RATE:.2f} s of prompt, ", nl=False
        )
        typer.echo(f"seed {sampling.seed}, {result['realtime_factor']} times real time")
