"""Command ``whispergpt-client``: continue a recording, and play, save or pipe the result."""

from __future__ import annotations

import argparse
import math
import struct
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from whispergpt_client.client import Client
from whispergpt_client.continuation import require_ending
from whispergpt_client.errors import WhisperGPTError
from whispergpt_client.meter import Meter
from whispergpt_client.speakers import Speakers, SpeakersError
from whispergpt_client.stream import Stream
from whispergpt_client.tags import wav_tags

_RATE = 24_000

Sink = Callable[[bytes], object]
"""Function that takes samples."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.output not in (None, "-"):
        target = Path(options.output)
        if target.exists() and Path(options.prompt).exists() and target.samefile(options.prompt):
            parser.error(f"{target} is the recording itself, which would be lost: name another file with -o.")
        try:
            if target.is_file() or not target.exists():  # no device or folder
                require_ending(target, (".wav",))
        except ValueError as error:
            parser.error(str(error))
    meter = Meter()
    try:
        prompt = sys.stdin.buffer.read() if options.prompt == "-" else Path(options.prompt).read_bytes()
        with Client(options.url, api_key=options.api_key) as client:
            stream = client.stream(
                prompt,
                seconds=None if options.endless else options.seconds,
                pace="realtime" if options.play or options.output is None else "fast",
                seed=options.seed,
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                model=options.model,
            )
            # The output is opened after the stream, so that an existing file survives a server that refuses.
            with stream, ExitStack() as open_sinks:
                sinks = [open_sinks.enter_context(sink) for sink in _sinks(options, stream, prompt)]
                _play(stream, sinks, meter)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe is gone, and needs no message
        return 0
    except (WhisperGPTError, SpeakersError, ValueError, OSError) as error:
        meter.clear()
        sys.stderr.write(f"whispergpt-client: {_told(error, options)}\n")
        return 1
    finally:
        meter.clear()
    return 0


def _told(error: Exception, options: argparse.Namespace) -> str:
    """Return what is wrong, with the name of the file or the remedy."""
    if isinstance(error, SpeakersError):
        return error.advising(options.output is not None)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, WhisperGPTError) and error.param == "audio":
        return f"{'standard input' if options.prompt == '-' else options.prompt}: {error}"
    return str(error)


def _play(stream: Stream, sinks: list[Sink], meter: Meter) -> None:
    written = 0
    for pcm in stream:
        for sink in sinks:
            sink(pcm)
        written += len(pcm)
        meter.show(pcm, written / (2 * _RATE))
    meter.clear()
    if (done := stream.response) is not None:
        seconds, first = written / (2 * _RATE), done["time_to_first_audio_ms"]
        after = "" if first is None else f", first audio after {first} ms"
        sys.stderr.write(f"{seconds:.2f} s, {done['status']}, seed {done['seed']}{after}\n")


def _sinks(options: argparse.Namespace, stream: Stream, prompt: bytes) -> Iterator[AbstractContextManager[Sink]]:
    if options.play or options.output is None:
        yield _speakers()  # first, so that an existing file survives a machine without them
    if options.output == "-":
        yield nullcontext(sys.stdout.buffer.write)
    elif options.output is not None:
        yield _wav_file(options.output, stream, prompt)


@contextmanager
def _wav_file(path: str, stream: Stream, prompt: bytes) -> Iterator[Sink]:
    """Yield a function that writes samples; tags are added at the end, however the stream ends."""
    # Opened here: if `wave` itself fails to open a file, its half-made object writes an error to stderr too.
    with Path(path).open("wb") as raw:
        try:
            with wave.open(raw, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(_RATE)
                yield file.writeframes
        finally:
            samples = file.getnframes()
            tags = wav_tags(stream.session, (stream.response or {}).get("seed"), samples / _RATE, prompt)
            raw.write(tags)
            raw.seek(4)
            raw.write(struct.pack("<I", 36 + 2 * samples + len(tags)))


@contextmanager
def _speakers() -> Iterator[Sink]:
    with Speakers(_RATE) as speakers:
        yield speakers.write


def _finite(text: str) -> float:
    """Return an option's value as a finite number. Raises ArgumentTypeError if it is none."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}.") from None
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text}.")
    return number


def _seconds(text: str) -> float:
    """Return an option's value as a number above 0. Raises ArgumentTypeError if it is none."""
    if (seconds := _finite(text)) <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}.")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whispergpt-client", description="Continue a recording with a WHISPER-GPT server, and hear it live."
    )
    parser.add_argument("prompt", help="a file of half a second to a minute; - reads it from standard input")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    parser.add_argument("--api-key", help="the key, if the server asks for one (default: WHISPERGPT_API_KEY)")
    parser.add_argument("--seconds", type=_seconds, default=20.0, help="how much to make (default: %(default)g)")
    parser.add_argument("--endless", action="store_true", help="until Ctrl-C")
    parser.add_argument("-o", "--output", help="a wav file instead of the loudspeakers; - is raw s16le at 24 kHz")
    parser.add_argument("--play", action="store_true", help="the loudspeakers besides")
    parser.add_argument("--model", help="one of the server's; its first if left out")
    parser.add_argument("--seed", type=int, help="random if left out")
    for name, kind in (("temperature", _finite), ("top-k", int), ("top-p", _finite)):
        parser.add_argument(f"--{name}", type=kind, help="the model's if left out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
