"""Live audio continuation: the model continues a few seconds of sound, frame by frame.

The engine works by itself, without a server::

    from pathlib import Path

    import numpy as np
    import soundfile

    from whispergpt import Engine, SamplingParams, cut_prompt, read_audio

    engine = Engine.load("speech", max_streams=1)
    prompt = engine.encode_prompt(cut_prompt(read_audio(Path("examples/prompt.flac"))))
    stream = engine.stream(prompt, SamplingParams(seed=7, temperature=1.0, top_k=0, top_p=1.0), frames=375)
    samples = np.concatenate([frame.pcm for frame in engine.generate(stream)])  # int16, 24 kHz
    soundfile.write("continuation.wav", samples, 24_000)

``whispergpt.server`` serves many listeners over HTTP and WebSocket; ``whispergpt.training`` trains models.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whispergpt.engine.audio.audio_file import cut_prompt, read_audio
    from whispergpt.engine.engine import Engine
    from whispergpt.engine.prompts.prompt import Prompt
    from whispergpt.engine.stream_plan import SamplingParams
    from whispergpt.engine.streams.scheduler import Stream

__all__ = ["Engine", "Prompt", "SamplingParams", "Stream", "cut_prompt", "read_audio"]

_MODULES = {
    "Engine": "engine.engine",
    "Prompt": "engine.prompts.prompt",
    "SamplingParams": "engine.stream_plan",
    "Stream": "engine.streams.scheduler",
    "cut_prompt": "engine.audio.audio_file",
    "read_audio": "engine.audio.audio_file",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: torch takes seconds to import, and the server's process needs none."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
