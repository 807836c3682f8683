"""Listeners beside an attack, with prompts from the bundled recording."""

from __future__ import annotations

from collections.abc import Sequence

from whispergpt.engine.playback_clock import BUFFER_SECONDS
from whispergpt.load.crowd import Crowd
from whispergpt.load.example import PROMPT
from whispergpt.load.listener import stream_address
from whispergpt.load.plan import Mix, Visit, steady
from whispergpt.load.voices import Voices


def crowd(url: str, visits: Sequence[Visit], api_key: str | None = None) -> Crowd:
    """Return the listeners of ``visits`` to a server."""
    return Crowd(stream_address(url), visits, Voices([PROMPT]), BUFFER_SECONDS, api_key=api_key)


def staying_crowd(url: str, count: int, seconds: float, seed: int, api_key: str | None = None) -> Crowd:
    """Return ``count`` listeners that send their prompt as a file and stay for ``seconds``."""
    return crowd(url, steady(Mix(live=0.0), count, seconds, seed), api_key)
