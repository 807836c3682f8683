"""Examples for training by preference: continuations that a model draws, sorted by a judge, and the true ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from tqdm import trange

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.batch import Job, Take, generate_all
from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.config import FRAME_RATE, HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.measures.round_trip import as_heard
from whispergpt.training.preference.judges import Judge, Sounds
from whispergpt.training.tokens.token_files import Filling, TokenFiles
from whispergpt.training.tokens.tokens import Mels

MOST_CHECKED = 32
"""Most recordings whose prediction is checked during training."""

Codes = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class DrawRecipe:
    """Numbers of a drawing: ``draws`` continuations of ``seconds`` for each of ``prompts`` of ``prompt_seconds``.

    ``pairs``: how many of the best and as many of the worst of a prompt's continuations are kept.
    """

    prompts: int = 200
    draws: int = 8
    pairs: int = 2
    prompt_seconds: float = 3.0
    seconds: float = 8.0
    seed: int = 0

    @property
    def prompt_frames(self) -> int:
        """Return the frames of a prompt."""
        return round(self.prompt_seconds * FRAME_RATE)

    @property
    def frames(self) -> int:
        """Return the frames of a prompt and its continuation."""
        return self.prompt_frames + round(self.seconds * FRAME_RATE)


@dataclass(frozen=True)
class Examples:
    """Coarse codes uint16 ``[N, R, T]`` and slices float16 ``[N, R, T, n_mels]`` of N prompts with R each.

    A prompt's rows are the ``pairs`` best, the best first, the ``pairs`` worst, the worst first, and the true one.

    ``scores`` float32 ``[N, draws]``: the judge's, of all that were drawn. ``key``: what they all depend on.
    """

    codes: Codes
    mels: Mels
    scores: npt.NDArray[np.float32]
    pairs: int
    key: str

    @property
    def gap(self) -> float:
        """Return the mean difference in score of the better and the worse continuations."""
        ordered = np.sort(self.scores, axis=1)
        return float(ordered[:, -self.pairs :].mean() - ordered[:, : self.pairs].mean())


@dataclass(frozen=True)
class _Stretch:
    """A prompt and its true continuation within a clip."""

    clip: Clip
    start: int


def draw_examples(data: AudioSet, engine: Engine, judge: Judge, recipe: DrawRecipe, cache: Path) -> Examples:
    """Draw continuations of prompts cut from ``data`` and return what is to be learnt from; ``cache`` keeps it.

    Args:
        engine: draws without a limit of the bandwidth (``keep_bandwidth``), so that its sound is what the model hears.

    Raises:
        ModelError: the model's numbers are not finite.
        ValueError: no clip is long enough, or the judge has no score for a continuation.
    """
    stretches = _cut(data, recipe)
    rows, n_mels = 2 * recipe.pairs + 1, engine.model.step.model.config.mel.n_mels
    described = engine.fingerprint, judge.key, recipe, [(s.clip.sha256, s.start) for s in stretches]
    key = hashlib.sha256(repr(described).encode()).hexdigest()[:12]
    shape = (len(stretches), rows, recipe.frames)
    files = TokenFiles(
        cache,
        f"{key}.drawn",
        {
            "codes": (shape, np.uint16),
            "mels": ((*shape, n_mels), np.float16),
            "scores": ((len(stretches), recipe.draws), np.float32),
        },
    )
    with files.filling() as filling:
        if filling:
            _fill(filling, data, stretches, engine, judge, recipe)
    found = files.read()
    return Examples(
        cast(Codes, found["codes"]),
        cast(Mels, found["mels"]),
        cast(npt.NDArray[np.float32], found["scores"]),
        recipe.pairs,
        key,
    )


def true_examples(data: AudioSet, engine: Engine, recipe: DrawRecipe) -> tuple[Codes, Mels]:
    """Return the coarse codes ``[N, T]`` and slices ``[N, T, n_mels]`` of up to ``MOST_CHECKED`` recordings.

    Raises:
        ValueError: no clip is long enough.
    """
    drawing = _Drawing(data, engine, recipe)
    made = [drawing.recorded(stretch)[1:] for stretch in _cut(data, recipe)[:MOST_CHECKED]]
    return np.stack([codes for codes, _ in made]), np.stack([mels for _, mels in made])


def _cut(data: AudioSet, recipe: DrawRecipe) -> list[_Stretch]:
    """Return stretches of different clips in a drawn order, each from a random frame on; from the folders in turn."""
    length = recipe.frames * HOP
    clips = sorted((c for c in data.clips if c.samples >= length), key=lambda c: (c.group, c.path))
    if not clips:
        raise ValueError(f"no recording has {length / HOP / FRAME_RATE:g} s, a prompt and its continuation")
    draw = np.random.default_rng(recipe.seed)
    folders: dict[int, list[Clip]] = {}
    for i in draw.permutation(len(clips)):
        folders.setdefault(data.folder_of[clips[i].shard], []).append(clips[i])
    in_turn = (clip for turn in zip_longest(*folders.values()) for clip in turn if clip is not None)
    chosen = list(islice(in_turn, recipe.prompts))
    return [_Stretch(clip, int(draw.integers((clip.samples - length) // HOP + 1)) * HOP) for clip in chosen]


def _fill(
    filling: Filling, data: AudioSet, stretches: list[_Stretch], engine: Engine, judge: Judge, recipe: DrawRecipe
) -> None:
    """Draw and judge what is missing, some prompts at a time."""
    drawing = _Drawing(data, engine, recipe)
    # A power of two, since progress is kept at multiples of 16.
    at_once = 1 << max(0, (engine.scheduler.slots // recipe.draws).bit_length() - 1)
    for first in trange(filling.done, len(stretches), at_once, desc="draw and judge", disable=None):
        some = list(enumerate(stretches[first : first + at_once], first))
        for number, (scores, codes, mels) in drawing.judged(some, judge):
            filling.arrays["scores"][number] = scores
            filling.arrays["codes"][number], filling.arrays["mels"][number] = codes, mels
        filling.note(min(first + at_once, len(stretches)))


class _Drawing:
    """Stretches of recordings, what the engine draws behind their prompts, and the slices of both."""

    def __init__(self, data: AudioSet, engine: Engine, recipe: DrawRecipe) -> None:
        self._data, self._engine, self._recipe = data, engine, recipe
        self._codec = OfflineCodec(engine.model.step.codec)

    def recorded(self, stretch: _Stretch) -> tuple[npt.NDArray[np.float32], Codes, Mels]:
        """Return a stretch's samples, its coarse codes ``[T]``, and the slices ``[T, n_mels]`` of its sound decoded."""
        audio = self._data.read(stretch.clip, stretch.start, self._recipe.frames * HOP)
        codes = self._codec.encode(torch.from_numpy(audio).to(self._engine.device))
        heard = self._codec.decode(codes[: self._engine.model.step.books])
        return audio, codes[0].cpu().numpy().astype(np.uint16), self._slices(heard)

    def judged(
        self, stretches: list[tuple[int, _Stretch]], judge: Judge
    ) -> Iterator[tuple[int, tuple[list[float], Codes, Mels]]]:
        """Yield for each numbered stretch its scores, and the codes ``[R, T]`` and slices ``[R, T, n_mels]`` kept."""
        recipe = self._recipe
        border = recipe.prompt_frames * HOP
        recorded = {number: self.recorded(stretch) for number, stretch in stretches}
        prompts = {n: self._engine.encode_prompt(audio[:border]) for n, (audio, _, _) in recorded.items()}
        takes = self._takes(prompts)
        for number, stretch in stretches:
            audio, true_codes, true_mels = recorded[number]
            own, prompt = takes[number], prompts[number]
            heard = [as_heard(take.pcm.reshape(-1)) for take in own]
            scores = [judge(Sounds(stretch.clip.group, audio[:border], audio[border:], made)) for made in heard]
            if not np.isfinite(scores).all():
                raise ValueError(f"the judge has no score for a continuation of {stretch.clip.path}")
            order = np.argsort(scores)
            kept = [int(i) for i in (*order[::-1][: recipe.pairs], *order[: recipe.pairs])]
            before, sound = prompt.codes[0].cpu().numpy().astype(np.uint16), as_heard(prompt.decoded.cpu().numpy())
            codes = [np.concatenate([before, own[i].codes]) for i in kept]
            mels = [self._slices(torch.from_numpy(np.concatenate([sound, heard[i]]))) for i in kept]
            yield number, (scores, np.stack([*codes, true_codes]), np.stack([*mels, true_mels]))

    def _takes(self, prompts: dict[int, Prompt]) -> dict[int, list[Take[tuple[int, int]]]]:
        """Draw and return the continuations of numbered prompts."""
        recipe, model = self._recipe, self._engine.model
        frames, defaults = recipe.frames - recipe.prompt_frames, model.defaults
        first_seed = recipe.seed * recipe.prompts * recipe.draws
        jobs = [
            Job(
                (number, i),
                prompt,
                SamplingParams(
                    first_seed + number * recipe.draws + i, defaults.temperature, defaults.top_k, defaults.top_p
                ),
                frames,
            )
            for number, prompt in prompts.items()
            for i in range(recipe.draws)
        ]
        takes = {take.key: take for take in generate_all(self._engine, jobs)}
        if not all(take.finite for take in takes.values()):
            raise ModelError(f"The model {model.id!r} computes numbers that are not finite.")
        return {number: [takes[number, i] for i in range(recipe.draws)] for number in prompts}

    @torch.inference_mode()
    def _slices(self, sound: torch.Tensor) -> Mels:
        mel = self._engine.model.step.mel
        return cast(Mels, mel(sound.to(self._engine.device)[None])[0].cpu().numpy().astype(np.float16))
