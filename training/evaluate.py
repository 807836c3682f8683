"""Next-coarse-code NLL over a folder of audio, as the paper's table 1 (arXiv 2412.11449, section 4) counts it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.audio_file import AudioError, read_audio
from engine.checkpoint import LoadedModel
from engine.config import HOP
from engine.frame_step import FrameStep
from engine.offline import CHUNK_FRAMES
from training.datasets import find_audio

Condition = Literal["original", "decoded", "coarse"]


@dataclass
class Score:
    """Sums over frames: NLL in nats, right guesses, and how many frames of how many files they are of."""

    nll: float = 0.0
    right: int = 0
    frames: int = 0
    files: int = 0

    def result(self, model: LoadedModel) -> dict[str, Any]:
        """The model's entry in the JSON of ``whispergpt eval``."""
        mean = self.nll / self.frames
        return {
            "model": model.id,
            "parameters": model.step.model.parameter_count(),
            "files": self.files,
            "frames": self.frames,
            "nll": mean,
            "accuracy": self.right / self.frames,
            "perplexity": exp(mean),
        }


def evaluate(
    folder: Path, models: list[LoadedModel], condition: Condition, progress: Iterable[Path] | None = None
) -> dict[str, Any]:
    """Score every file under ``folder`` with every model, each file from a cold start.

    Args:
        condition: what the mel slices are of: the ``original`` audio, that ``decoded`` from all its codes, or from
            the ``coarse`` codes alone.
        progress: the files, wrapped to show how far it is.

    Raises:
        ValueError: there is no audio that can be scored.
    """
    scores = [Score() for _ in models]
    skipped = []
    for path in progress or find_audio(folder):
        try:
            audio = torch.from_numpy(read_audio(path, max_seconds=None))
        except AudioError as error:
            skipped.append({"file": str(path), "why": str(error)})
            continue
        if len(audio) < 8 * HOP:
            skipped.append({"file": str(path), "why": "The file is shorter than eight frames."})
            continue
        for model, score in zip(models, scores, strict=True):
            score_audio(model.step, audio, condition, score)
    if not models or not scores[0].frames:
        raise ValueError(f"{folder} has no audio that can be scored")
    results = [score.result(model) for model, score in zip(models, scores, strict=True)]
    return {"condition": condition, "skipped": skipped, "models": results}


@torch.inference_mode()
def score_audio(step: FrameStep, audio: Tensor, condition: Condition, score: Score) -> None:
    """Add one recording ``[n]`` at 24 kHz to ``score``, over its frames t ≥ 1."""
    previous: Tensor | None = None
    for codes, logits in _teacher_forced(step, audio, condition):
        targets = codes
        if previous is not None:
            logits_before = torch.cat([previous, logits[:-1]])
        else:
            logits_before, targets = logits[:-1], codes[1:]
        score.nll += float(F.cross_entropy(logits_before, targets, reduction="sum"))
        score.right += int((logits_before.argmax(-1) == targets).sum())
        score.frames += len(targets)
        previous = logits[-1:]
    score.files += 1


def _teacher_forced(step: FrameStep, audio: Tensor, condition: Condition) -> Iterator[tuple[Tensor, Tensor]]:
    """Coarse codes ``[T]`` of each chunk and the logits ``[T, 1024]`` after each of its frames."""
    device = audio.device
    encoder, decoder = step.codec.init_encoder_state(1, device), step.codec.init_decoder_state(1, device)
    mel_state, model_state = step.mel.init_state(1, device), step.model.init_state(1, device)
    start = 0
    for chunk in audio[: len(audio) // HOP * HOP].split(CHUNK_FRAMES * HOP):
        codes = step.codec.encode_step(chunk[None, None], encoder, cold=start == 0)
        heard = chunk[None]
        if condition != "original":
            books = codes if condition == "decoded" else codes[:, :1]
            heard = step.codec.decode_step(books, decoder, cold=start == 0)[:, 0]
        mel = step.mel.step(heard, mel_state)
        yield codes[0, 0], step.model.extend(codes[:, 0], mel, model_state, start)[0]
        start += codes.shape[-1]
