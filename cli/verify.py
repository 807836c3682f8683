"""``whispergpt verify``: make a continuation again from its tags, and compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import typer
from tqdm import tqdm

from whispergpt.cli.arguments import audio_source, named, require_file, told_in_one_line
from whispergpt.cli.options import MODEL_HELP, AsJson
from whispergpt.engine.audio.audio_file import Samples, cut_prompt, read_audio
from whispergpt.engine.checkpoints.installed import installed_models, package_version
from whispergpt.engine.config import SAMPLE_RATE, Dtype
from whispergpt.engine.engine import Engine
from whispergpt.server.audio.encoders import LIBRARY, LOSSY, Format, encode, encoder
from whispergpt.server.audio.provenance import PROGRAM, Provenance, ProvenanceError, read_provenance, sha256_of
from whispergpt.server.parameters import Wishes, check_wishes, frames_for

CODINGS: dict[str, Format] = {
    "pcm_s16le": "wav",
    "flac": "flac",
    "mp3": "mp3",
    "mp3float": "mp3",
    "opus": "opus",
    "libopus": "opus",
}
"""Formats by FFmpeg's name of their coding."""


def verify(
    file: Annotated[Path, typer.Argument(help="The file to check.")],
    prompt: Annotated[Path, typer.Option(help="The recording that it continues; - is standard input.")],
    model: Annotated[str | None, typer.Option(help=f"{MODEL_HELP}. Default: the installed one in the tags.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a continuation again, with the prompt and what the file's tags say, and compare the samples.

    A lossy file is compared with the new continuation after the same coding. Exit status: 0 the same, 1 not the
    same, 2 it cannot be checked, and why.
    """
    with told_in_one_line():
        made, wanted = _read(file)
        source = audio_source(prompt)
        if sha256_of(source) != made.prompt_sha256:
            raise _unchecked(file, f"{prompt} is not the recording that it continues, by the hash in its tags")
        with named(file):
            there = read_audio(file, max_seconds=None)
        with named(prompt):
            audio = cut_prompt(read_audio(source))
        again = _generate(_engine(file, made, model), audio, made)
        differs_at = _first_difference(there, again, wanted)
    same = differs_at is None
    compared = "decoded samples" if wanted in LOSSY else "samples"
    if as_json:
        result = {"file": str(file), "same": same, "compared": compared, "differs_at_seconds": differs_at}
        typer.echo(json.dumps(result | {"tags": msgspec.to_builtins(made)}))
    elif same:
        typer.echo(f"{file}: the same, compared by {compared}: {made.generated_by} made it, seed {made.seed}.")
    else:
        typer.echo(f"{file}: not the same: its {compared} differ from {differs_at:.3f} s on.")
    if not same:
        raise typer.Exit(1)


def _unchecked(file: Path, why: str) -> ValueError:
    return ValueError(f"{file} cannot be checked: {why}.")


def _read(file: Path) -> tuple[Provenance, Format]:
    """Return a file's provenance and format.

    Raises:
        ValueError: there are no tags, or another version made it.
    """
    require_file(file)
    if not file.is_file():
        raise _unchecked(file, "it is no regular file, which is read twice")
    try:
        made, coding = read_provenance(file)
    except ProvenanceError as error:
        raise _unchecked(file, str(error)) from None
    wanted = CODINGS.get(coding)
    if wanted is None:
        raise _unchecked(file, f"{PROGRAM} does not write {coding}, so that it was converted")
    here = f"{PROGRAM} {package_version()}"
    if made.generated_by != here:
        raise _unchecked(file, f"{made.generated_by} made it, and this is {here}")
    if (wanted in LOSSY) != (made.encoder is not None):
        raise _unchecked(file, "it was converted from or to a lossy format")
    if made.encoder not in (None, LIBRARY):
        raise _unchecked(file, f"{made.encoder} encoded it, and here is {LIBRARY}")
    return made, wanted


def _engine(file: Path, made: Provenance, model: str | None) -> Engine:
    """Return the engine that made a file.

    Raises:
        ValueError: the model's files, or the machine, are others.
        ModelError, DeviceError: there is no such model or device.
    """
    check_wishes(Wishes(made.seed, made.temperature, made.top_k, made.top_p))
    if model is None and made.model not in installed_models():  # tags may name any folder, or a model of the hub
        raise _unchecked(file, f"{made.model!r} made it, which is not installed: name the model with --model")
    parts = made.fingerprint.split("/")
    if len(parts) < 4:
        raise _unchecked(file, "its tags have no fingerprint")
    device = "cpu" if parts[-3].split("-")[0] == "cpu" else "cuda"
    dtype: Dtype = "float32" if parts[-2].startswith("float32") else "auto"
    engine = Engine.load(model or made.model, device, dtype=dtype)
    if engine.model.digest != made.model_digest:
        named = f"the model {engine.model.id!r} is {engine.model.digest} here, and {made.model_digest} made it"
        raise _unchecked(file, named)
    if engine.fingerprint != made.fingerprint:
        raise _unchecked(file, f"the fingerprint is {engine.fingerprint} here, and {made.fingerprint} made it")
    return engine


def _generate(engine: Engine, audio: Samples, made: Provenance) -> npt.NDArray[np.int16]:
    """Return the samples ``[n]`` that the engine makes now."""
    frames = frames_for(made.seconds)
    encoded = engine.encode_prompt(audio)
    pcm = [encoded.decoded.numpy()] if made.include_prompt else []
    stream = engine.stream(encoded, made.sampling, frames)
    for frame in tqdm(engine.generate(stream), "verify", frames, unit="frame", disable=None, leave=False):
        pcm.append(frame.pcm)
    return np.concatenate(pcm)


def _first_difference(there: Samples, again: npt.NDArray[np.int16], wanted: Format) -> float | None:
    """Return the seconds at which a file's samples begin to differ from those made again; None if they never do.

    A lossy format is encoded again, whole and streamed, since an mp3 decodes with other padding after each.
    """
    pcm = again.astype("<i2", copy=False).tobytes()
    bodies = [encode("wav", pcm)]
    if wanted in LOSSY:
        growing = encoder(wanted, len(again))
        bodies = [encode(wanted, pcm), growing.push(pcm) + growing.finish()]
    differences = []
    for body in bodies:
        expected = read_audio(body, max_seconds=None)
        length = min(len(there), len(expected))
        unequal = np.flatnonzero(there[:length] != expected[:length])
        if not len(unequal) and len(there) == len(expected):
            return None
        differences.append((int(unequal[0]) if len(unequal) else length) / SAMPLE_RATE)
    return max(differences)
