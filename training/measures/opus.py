"""Opus as a peer codec: opus-tools at a hard constant rate, with the payload counted packet by packet."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO

import av
import soundfile

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.measures.figures.packages import need_program
from whispergpt.training.measures.round_trip import RoundTripResult, in_16_bits

LEAST_KBPS, MOST_KBPS = 6.0, 256.0
PATIENCE_SECONDS = 120.0


class OpusRoundTrip:
    """Round trip by ``opusenc --hard-cbr --bitrate KBPS`` and ``opusdec`` at 24 kHz, which removes the delay.

    Raises:
        ValueError: opusenc does not know the rate.
        MissingError: opus-tools are not installed.
    """

    def __init__(self, kbps: float) -> None:
        if not LEAST_KBPS <= kbps <= MOST_KBPS:
            raise ValueError(f"Opus takes {LEAST_KBPS:g} to {MOST_KBPS:g} kbps, not {kbps:g}.")
        self._kbps = kbps
        self._encoder, self._decoder = need_program("opusenc"), need_program("opusdec")
        self.name = f"opus {kbps:g}"

    def __call__(self, audio: Samples) -> RoundTripResult:
        """Encode and decode samples ``[n]`` at 24 kHz."""
        with tempfile.TemporaryDirectory() as folder:
            there, coded, back = (Path(folder) / name for name in ("there.wav", "coded.opus", "back.wav"))
            soundfile.write(there, audio, SAMPLE_RATE, subtype="PCM_16")
            _run(self._encoder, "--quiet", "--hard-cbr", "--bitrate", f"{self._kbps:g}", str(there), str(coded))
            # In floats, since opusdec adds dither to integers.
            _run(self._decoder, "--quiet", "--float", "--rate", str(SAMPLE_RATE), str(coded), str(back))
            samples, _ = soundfile.read(back, dtype="float32")
            sizes = packet_sizes(coded)
        if len(samples) != len(audio):
            raise ValueError(f"opusdec gave {len(samples)} samples back for {len(audio)}.")
        return RoundTripResult(in_16_bits(samples), 8 * sum(sizes) / (len(audio) / SAMPLE_RATE) / 1000)


def packet_sizes(file: Path | BinaryIO) -> list[int]:
    """Return the bytes of each packet with sound in a file of Ogg Opus, without Ogg's framing and its headers.

    Raises:
        ValueError: the file is not audio.
    """
    with av.open(file, "r") as opened:
        return [packet.size for packet in opened.demux() if packet.size]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ValueError(f"{Path(command[0]).name} failed: {lines[-1] if lines else f'status {done.returncode}'}.")
