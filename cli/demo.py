"""``whispergpt demo``: start a server, send it a prompt over the WebSocket, and write the continuation."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
import typer

from whispergpt.cli.arguments import check_finite, check_output, told_in_one_line, write_audio
from whispergpt.cli.main import main
from whispergpt.cli.options import MODEL_HELP
from whispergpt.engine.config import FRAME_RATE, HOP, SAMPLE_RATE, MelConfig
from whispergpt.engine.extras import require_package
from whispergpt.engine.model.mel import CausalMel
from whispergpt.load.example import PROMPT
from whispergpt.server.audio.provenance import PROGRAM, Provenance, sha256_of
from whispergpt.server.parameters import Wishes, check_wishes, frames_for
from whispergpt.server.ready_line import wait_until_ready

if TYPE_CHECKING:
    from whispergpt_client import Client, Model

PICTURES = (".png", ".jpg", ".svg", ".pdf")
START_SECONDS = 300.0
STOP_SECONDS = 60.0

Pcm = npt.NDArray[np.int16]


class DemoError(RuntimeError):
    """The demonstration cannot go on; the message is for the user."""


@contextmanager
def running_server(arguments: list[str]) -> Iterator[str]:
    """Run ``whispergpt serve`` on a free port; yields its URL when it is ready, and stops it with SIGTERM.

    Raises:
        DemoError: the server does not become ready, or does not stop with status 0.
    """
    command = [sys.executable, "-m", "whispergpt.cli.main", "serve", "--port", "0", *arguments]
    quiet = {**os.environ, "WHISPERGPT_LOG_LEVEL": "warning"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet)
    try:
        yield _url_when_ready(process)
    finally:
        process.terminate()
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoError(f"The server did not stop within {STOP_SECONDS:g} s.") from None
    if status:
        raise DemoError(f"The server stopped with status {status}.")


def _url_when_ready(process: subprocess.Popen[str]) -> str:
    """Wait until the server is ready and return its URL."""
    assert process.stdout is not None
    try:
        return wait_until_ready(process.stdout, START_SECONDS)
    except TimeoutError:
        raise DemoError(f"The server was not ready within {START_SECONDS:g} s.") from None
    except EOFError:
        raise DemoError("The server ended before it was ready; its output above has the reason.") from None


def hear_prompt(client: Client, prompt: Path, model: str | None = None) -> Pcm:
    """Return the prompt as the model's codec decodes it, int16 ``[n]``, to play before the continuation."""
    with_prompt = client.continue_file(prompt, seconds=1 / FRAME_RATE, include_prompt=True, model=model)
    samples, _ = soundfile.read(io.BytesIO(with_prompt.audio), dtype="int16")
    return np.asarray(samples[:-HOP], np.int16)


@dataclass(frozen=True)
class DemoResult:
    """Decoded prompt and continuation, both ``[n]``, and the server's session and response."""

    prompt: Pcm
    continuation: Pcm
    session: dict[str, Any]
    response: dict[str, Any]

    @property
    def audio(self) -> Pcm:
        """Prompt and continuation in one array."""
        return np.concatenate([self.prompt, self.continuation])


def hear(client: Client, prompt: Path, seconds: float, seed: int, model: str | None = None) -> DemoResult:
    """Continue ``prompt`` over the WebSocket as fast as possible, and return the audio.

    Raises:
        DemoError: the continuation is incomplete.
        WhisperGPTError: the server refuses or fails.
    """
    before = hear_prompt(client, prompt, model)
    with client.stream(prompt, seconds=seconds, pace="fast", seed=seed, model=model) as stream:
        after = np.frombuffer(b"".join(stream), "<i2")
    response = stream.response
    if response is None or response["status"] != "completed":
        raise DemoError(f"The continuation did not complete: {response}.")
    return DemoResult(before, after, stream.session, response)


def how_made(heard: DemoResult, prompt: Path, model: Model) -> Provenance:
    """Return the provenance of what was heard, from ``model``. Raises OSError if the prompt cannot be read."""
    fingerprint = heard.session["fingerprint"]
    version = fingerprint.split("/")[0]
    return Provenance(
        generated_by=f"{PROGRAM} {version}",
        model=model.id,
        model_digest=fingerprint.removeprefix(f"{version}/{model.id}-").split("/")[0],
        fingerprint=fingerprint,
        seed=heard.response["seed"],
        temperature=float(model.defaults["temperature"]),
        top_k=int(model.defaults["top_k"]),
        top_p=float(model.defaults["top_p"]),
        seconds=heard.response["frames"] / FRAME_RATE,
        include_prompt=True,
        prompt_sha256=sha256_of(prompt),
    )


def draw(audio: Pcm, join: int, path: Path) -> None:
    """Write a picture of the model's log-mel slices, with a line at ``join`` samples."""
    from matplotlib.figure import Figure  # imported late, since it takes long

    config = MelConfig()
    with torch.inference_mode():
        mel = CausalMel(config)(torch.from_numpy(audio.astype(np.float32) / 32768)[None])[0]
    seconds, at = len(audio) / SAMPLE_RATE, join / SAMPLE_RATE
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mel.T.numpy(), origin="lower", aspect="auto", extent=(0, seconds, 0, config.n_mels), cmap="magma")
    axes.axvline(at, color="white", linestyle="--", linewidth=1.2)
    for text, x, side in (("prompt ", at, "right"), (" continuation", at, "left")):
        axes.text(x, config.n_mels * 0.97, text, color="white", ha=side, va="top")
    axes.set_xlabel("seconds")
    axes.set_ylabel("mel band")
    figure.savefig(path, dpi=120)


def demo(
    prompt: Annotated[Path, typer.Option(help="The recording to continue.")] = PROMPT,
    seconds: Annotated[float, typer.Option(help="Seconds of continuation, above 0 and at most 600.")] = 6.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same continuation.")] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for prompt and continuation.")] = Path(
        "demo.wav"
    ),
    picture: Annotated[Path, typer.Option(help="File for the spectrogram.")] = Path("demo.png"),
    model: Annotated[str | None, typer.Option(help=f"{MODEL_HELP}; by default the server's.")] = None,
) -> None:
    """Start a server, continue PROMPT through it, and write the result."""
    with told_in_one_line():
        require_package("whispergpt_client", "The demonstration", "demo", "whispergpt-client")
        require_package("matplotlib", "The picture", "demo")
        check_output(output, source=prompt)
        check_output(picture, PICTURES)
        check_finite(seconds=seconds)
        check_wishes(Wishes(seed))
        frames_for(seconds)
        if not prompt.is_file():
            raise ValueError(f"There is no file {prompt}.")
    from whispergpt_client import WhisperGPTError  # only now, for it may be missing

    try:
        _show(prompt, seconds, seed, output, picture, model)
    except (DemoError, WhisperGPTError, OSError) as error:
        about = f"{prompt}: " if isinstance(error, WhisperGPTError) and error.param == "audio" else ""
        typer.echo(f"whispergpt demo: {about}{error}", err=True)
        raise typer.Exit(1) from None


def _show(prompt: Path, seconds: float, seed: int, output: Path, picture: Path, model: str | None) -> None:
    """Run the demonstration; raises DemoError, WhisperGPTError or OSError if it fails."""
    from whispergpt_client import Client

    typer.echo("Starting a server …")
    with running_server(["--model", model] if model else []) as url, Client(url) as client:
        typer.echo(f"Ready at {url}; sending {prompt.name} over the WebSocket.")
        heard = hear(client, prompt, seconds, seed)
        typer.echo(f"Model {heard.session['model']}, fingerprint {heard.session['fingerprint']}.")
        used = next(each for each in client.models() if each.id == heard.session["model"])
    write_audio(output, heard.audio, how_made(heard, prompt, used))
    draw(heard.audio, len(heard.prompt), picture)
    typer.echo(f"time to first audio  {heard.response['time_to_first_audio_ms']:.0f} ms")
    typer.echo(f"real-time factor     {heard.response['realtime_factor']:.2f}  (above 1 is faster than playback)")
    before, after = (len(part) / SAMPLE_RATE for part in (heard.prompt, heard.continuation))
    typer.echo(f"{output}: {before:.2f} s of prompt and {after:.2f} s of continuation; {picture}: their spectrogram.")


if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
