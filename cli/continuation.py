"""``whispergpt continue``: continue recordings with the server's engine, but without a server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from tqdm import tqdm

from whispergpt.cli.arguments import (
    STANDARD,
    WRITABLE,
    audio_source,
    check_finite,
    check_output,
    default_model,
    named,
    require_file,
    tell_if_slow,
    told_in_one_line,
    write_output,
)
from whispergpt.cli.folder import continue_folder
from whispergpt.cli.options import MODEL_HELP, AsJson, expand_options
from whispergpt.engine.audio.audio_file import cut_prompt, read_audio
from whispergpt.engine.checkpoints.installed import default_models
from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE, Dtype
from whispergpt.engine.engine import Engine
from whispergpt.engine.extras import require_package
from whispergpt.server.audio.encoders import Format, encode
from whispergpt.server.audio.provenance import provenance, sha256_of
from whispergpt.server.parameters import DEFAULT_SECONDS, RANGES, Wishes, check_wishes, frames_for, sampling_for

FileFormat = Literal["wav", "flac", "mp3", "opus"]


@dataclass(frozen=True)
class GenerationOptions:
    """Options that say what is generated, and with what."""

    seconds: Annotated[float, typer.Option(help="Seconds to generate, without the prompt.")] = float(DEFAULT_SECONDS)
    seed: Annotated[int | None, typer.Option(help=f"{RANGES['seed'].help}; random by default.")] = None
    temperature: Annotated[float | None, typer.Option(help=f"{RANGES['temperature'].help}.")] = None
    top_k: Annotated[int | None, typer.Option(help=f"{RANGES['top_k'].help}.")] = None
    top_p: Annotated[float | None, typer.Option(help=f"{RANGES['top_p'].help}.")] = None
    model: Annotated[str | None, typer.Option(help=f"{MODEL_HELP}.")] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    dtype: Annotated[Dtype, typer.Option(help="Of products: float32, int8 (CPUs), or auto, bfloat16 if fast.")] = "auto"
    with_prompt: Annotated[bool, typer.Option("--with-prompt", help="Put the decoded prompt in front.")] = False

    @property
    def wishes(self) -> Wishes:
        """Return the sampling that is asked for."""
        return Wishes(self.seed, self.temperature, self.top_k, self.top_p)

    def check(self) -> int:
        """Check all numbers, and return the frames to generate.

        Raises:
            ValueError, ApiError: a number is not finite or not in its range.
        """
        check_finite(seconds=self.seconds, temperature=self.temperature, top_p=self.top_p)
        check_wishes(self.wishes)
        return frames_for(self.seconds)

    def model_in_words(self, engine: Engine) -> str:
        """Return the name of the model and, if none was asked for, how to have another."""
        others = [] if self.model else [name for name in default_models() if name != engine.model.id]
        return engine.model.id + (f" (--model takes another: {', '.join(others)})" if others else "")

    def load(self) -> Engine:
        """Return the engine. Raises ModelError or DeviceError if there is none."""
        engine = Engine.load(self.model or default_model(), self.device, dtype=self.dtype)
        tell_if_slow(engine)
        return engine


@expand_options
def continuation(
    prompt: Annotated[Path, typer.Argument(help="A recording, or a folder of them; - is standard input.")],
    options: GenerationOptions,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File for the continuation, - for standard output; of a folder, a folder."),
    ] = None,
    file_format: Annotated[
        FileFormat | None,
        typer.Option("--format", help="Of standard output and of a folder's files; wav by default."),
    ] = None,
    play: Annotated[bool, typer.Option("--play", help="Play it on the loudspeakers while it is generated.")] = False,
    as_json: AsJson = False,
) -> None:
    """Continue a recording and write the continuation to a file, or all recordings of a folder to another folder.

    Tags of the files say how they were made. Of a folder, continuations that are there already are kept if they were
    made with the same settings, and replaced if not. A recording that cannot be read is reported at the end, with exit
    status 1.
    """
    with told_in_one_line():
        if prompt.is_dir():
            if output is None or output == STANDARD or play:
                raise ValueError(f"{prompt} is a folder: its continuations go to a folder, which -o names.")
            result = continue_folder(prompt, output, options, file_format or "wav")
            result.tell(as_json, options.model_in_words(result.engine))
            if result.failed:
                raise typer.Exit(1)
            return
        if prompt != STANDARD:
            require_file(prompt, "file or folder")
        wanted = _output_format(prompt, output, file_format, play, as_json)
        _continue_file(prompt, output, wanted, options, play, as_json)


def _output_format(prompt: Path, output: Path | None, wanted: FileFormat | None, play: bool, as_json: bool) -> Format:
    """Return the format to write.

    Raises:
        ValueError: the output cannot be written or is the prompt, a package to play with is missing, or the options
            exclude each other.
    """
    if play:
        require_package("whispergpt_client", "--play", "play", "whispergpt-client")
        require_package("sounddevice", "--play", "play")
    if output == STANDARD:
        if sys.stdout.isatty():
            raise ValueError("Audio is not written to a terminal: pipe it on, or name a file with -o.")
        if as_json:
            raise ValueError("--json and -o - would both write to standard output.")
        return wanted or "wav"
    if wanted is not None:
        raise ValueError("--format is for folders and for -o -; a file's ending says its format.")
    if output is None:
        if not play:
            raise ValueError("Name a file with -o, or hear it with --play.")
        return "wav"
    check_output(output, source=prompt)
    return WRITABLE[output.suffix.lower()]


def _continue_file(
    prompt: Path, output: Path | None, wanted: Format, options: GenerationOptions, play: bool, as_json: bool
) -> None:
    began = time.perf_counter()
    frames = options.check()
    source = audio_source(prompt)
    with named(prompt):
        audio = cut_prompt(read_audio(source))
    with _loudspeakers(play, output) as sound:
        engine = options.load()
        sampling = sampling_for(options.wishes, engine.info())
        loaded = time.perf_counter()
        encoded = engine.encode_prompt(audio)
        stream = engine.stream(encoded, sampling, frames)
        pcm = [encoded.decoded.numpy()] if options.with_prompt else []
        for part in pcm:
            sound(part.tobytes())
        first = 0.0
        with tqdm(total=frames, desc="continue", unit="frame", disable=None, leave=False) as progress:
            for frame in engine.generate(stream):
                first = first or time.perf_counter() - loaded
                pcm.append(frame.pcm)
                sound(frame.pcm.tobytes())
                progress.update()
        taken = time.perf_counter() - loaded
    if output is not None:
        made = provenance(engine.info(), sampling, frames, options.with_prompt, sha256_of(source))
        body = encode(wanted, np.concatenate(pcm).astype("<i2", copy=False).tobytes(), made)
        if output == STANDARD:
            _write_to_standard_output(body)
        else:
            write_output(output, body)
    result = {
        "output": None if output is None else str(output),
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
        return
    name = "standard output" if output == STANDARD else output or "played"
    text = f"{name}: {frames / FRAME_RATE:.2f} s by {options.model_in_words(engine)} "
    text += f"after {encoded.frames / FRAME_RATE:.2f} s of prompt, "
    text += f"seed {sampling.seed}, {result['realtime_factor']} times real time"
    typer.echo(text, err=output == STANDARD)


def _write_to_standard_output(body: bytes) -> None:
    """Write a file's bytes. Raises ValueError if nobody takes them."""
    try:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise ValueError(f"standard output: {error.strerror}") from None


@contextmanager
def _loudspeakers(play: bool, output: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that plays s16le samples, or does nothing with them; all is played when the context ends.

    Raises:
        ValueError: there is no loudspeaker.
    """
    if not play:
        yield len
        return
    from whispergpt_client.speakers import Speakers, SpeakersError  # not at the top, for it may be missing

    try:
        speakers = Speakers(SAMPLE_RATE)
    except SpeakersError as error:
        raise ValueError(error.advising(output is not None)) from None
    with speakers:
        yield speakers.write
