"""Bit rates of real continuations, by output format.

``python -m whispergpt.benchmarks.simulation.bandwidth`` prints them as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import get_args

from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.engine.config import FRAME_RATE, HOP, SAMPLE_RATE
from whispergpt.engine.engine import Engine
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.load.example import PROMPT
from whispergpt.server.audio.encoders import Format, encoder

MESSAGE_FRAMES = 6
"""Frames of one message: 80 ms, the server's maximum."""
SECONDS = 20
SEEDS = range(3)
PROMPTS = {"speech": PROMPT, "piano": PROMPT.with_name("piano.flac")}


def continuation(engine: Engine, model: str, seed: int) -> bytes:
    """Generate ``SECONDS`` of a continuation and return its s16le samples."""
    defaults = engine.model.defaults
    sampling = SamplingParams(seed, defaults.temperature, defaults.top_k, defaults.top_p)
    stream = engine.stream(engine.encode_prompt(read_audio(PROMPTS[model])), sampling, SECONDS * FRAME_RATE)
    return b"".join(frame.pcm.astype("<i2").tobytes() for frame in engine.generate(stream))


def bits_per_second(wanted: Format, pcm: bytes) -> float:
    """Return the bit rate of a streamed body, encoded message by message as the server does."""
    size, message = len(pcm) // 2, 2 * HOP * MESSAGE_FRAMES
    out = encoder(wanted, size)
    body = sum(len(out.push(pcm[start : start + message])) for start in range(0, len(pcm), message))
    return 8 * (body + len(out.finish())) * SAMPLE_RATE / size


def main() -> int:
    """Print kilobits per second for each model, format and seed."""
    told = {}
    for model in PROMPTS:
        engine = Engine.load(model, "cpu")
        sounds = [continuation(engine, model, seed) for seed in SEEDS]
        told[model] = {
            wanted: [round(bits_per_second(wanted, pcm) / 1000, 1) for pcm in sounds] for wanted in get_args(Format)
        }
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
