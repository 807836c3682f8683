"""Recordings as input of a model: codes and the mel slices of three versions of the sound, cached; and for music the
pitch classes of what follows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import trange

from whispergpt.engine.backends.offline import OfflineCodec
from whispergpt.engine.config import SAMPLE_RATE, MelConfig
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.mel import CausalMel
from whispergpt.training.data.alteration import UNALTERED, Alteration
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip
from whispergpt.training.measures.figures.notes import PITCH_WINDOW, Notes
from whispergpt.training.tokens.pitch_ahead import CLASSES, EVERY, FEWEST, QUIET, SPANS, pitch_ahead
from whispergpt.training.tokens.token_files import Filling, TokenFiles

Version = Literal["original", "decoded", "coarse"]
VERSIONS: tuple[str, ...] = get_args(Version)
"""Versions of the sound that have slices: the recording, all its codes decoded, its coarse codes decoded."""

MOST_SAMPLES = 60 * SAMPLE_RATE
"""Most samples that the codec takes at once. Longer clips are split, each part from silence, to bound memory."""


_Codes: TypeAlias = npt.NDArray[np.uint16]
Mels: TypeAlias = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Tokens:
    """Tokens of a prepared folder's clips, one after another, ordered by group (speaker or work).

    ``codes`` uint16 ``[frames, K]``; ``mels`` float16 ``[frames, n_mels]`` by version; ``spans``: first frame and frame
    count of each group, whose clips form one long stream; ``folder``: the number of the prepared folder; ``ahead``:
    pitch classes of what follows each frame, float16 ``[frames, spans, 12]``, if they are to be foretold.
    """

    codes: _Codes
    mels: dict[str, Mels]
    spans: list[tuple[int, int]]
    folder: int = 0
    ahead: npt.NDArray[np.float16] | None = None


def tokenize(
    data: AudioSet,
    codec: Codec,
    mel: MelConfig,
    caches: Sequence[Path],
    alteration: Alteration = UNALTERED,
    versions: Sequence[str] = VERSIONS,
    ahead: bool = False,
) -> list[Tokens]:
    """Encode every clip of ``data`` once, and compute its slices; later runs map both from ``caches``, or go on there.

    Each prepared folder has tokens of its own, so that more folders cost nothing for those before. Codes are kept
    apart from slices, and each version's slices from the others': another spectrogram or another decoder costs no
    encoding.

    Args:
        caches: where to keep the tokens of each prepared folder.
        alteration: the change made to every clip first; clips that it does not change are left out, and folders
            without any other.
        versions: those of ``VERSIONS`` that slices are needed of.
        ahead: find the pitch classes of what follows each frame too.

    Raises:
        ValueError: the alteration changes no clip.
        MissingError: pitch classes are wanted, and librosa is not installed.
    """
    clips = sorted(alteration.concerned(data), key=lambda c: (data.folder_of[c.shard], c.group, c.path))
    if not clips:
        limit = alteration.highest_hz
        why = "there are no recordings" if limit is None else f"no recording reaches above {limit:g} Hz"
        raise ValueError(f"{why}, so there is nothing to encode")
    found: list[Tokens] = []
    for folder, own in groupby(clips, key=lambda c: data.folder_of[c.shard]):
        source, cache = _Source(data, list(own), OfflineCodec(codec), alteration), caches[folder]
        codes = source.codes(cache)
        slices = {version: source.slices(version, codes, mel, cache) for version in versions}
        found.append(Tokens(codes, slices, source.spans(), folder, source.pitch_ahead(cache) if ahead else None))
    return found


class _Source:
    """Clips of one folder to be encoded, in the order of their tokens."""

    def __init__(self, data: AudioSet, clips: list[Clip], codec: OfflineCodec, alteration: Alteration) -> None:
        self._data, self._clips, self._codec, self._alteration = data, clips, codec, alteration
        self.lengths = [sum(alteration.frames(samples) for _, samples in _parts(clip)) for clip in clips]

    def spans(self) -> list[tuple[int, int]]:
        """Return the first frame and the frame count of each group."""
        spans, position = list[tuple[int, int]](), 0
        for _, group in groupby(zip(self._clips, self.lengths, strict=True), key=lambda one: one[0].group):
            count = sum(frames for _, frames in group)
            spans.append((position, count))
            position += count
        return spans

    def codes(self, cache: Path) -> _Codes:
        """Return the codes ``[frames, K]`` of all clips, from ``cache`` or encoded."""
        codec = self._codec.codec
        shape = (sum(self.lengths), codec.config.n_codebooks)
        files = TokenFiles(cache, self._key(code_digest(codec)), {"codes": (shape, np.uint16)})
        with files.filling() as filling:
            if filling:
                for place, audio in self._missing(filling, "codes"):
                    filling.arrays["codes"][place] = self._codec.encode(audio().to(self._device)).t().cpu().numpy()
        return cast(_Codes, files.read()["codes"])

    def slices(self, version: str, codes: _Codes, config: MelConfig, cache: Path) -> Mels:
        """Return the slices ``[frames, n_mels]`` of a version of all clips, from ``cache`` or computed."""
        codec = self._codec.codec
        key = self._key("" if version == "original" else digest_of(codec, codec.config), config)
        files = TokenFiles(cache, f"{key}.{version}", {"mels": ((sum(self.lengths), config.n_mels), np.float16)})
        with files.filling() as filling, torch.inference_mode():
            if filling:
                mel = CausalMel(config).to(self._device)
                for place, audio in self._missing(filling, version):
                    heard = self._heard(version, codes[place]) if version != "original" else audio().to(self._device)
                    filling.arrays["mels"][place] = mel(heard[None])[0].cpu().numpy()
        return cast(Mels, files.read()["mels"])

    def pitch_ahead(self, cache: Path) -> npt.NDArray[np.float16]:
        """Return the pitch classes that follow each frame of all clips, from ``cache`` or computed."""
        key = self._key("ahead", SPANS, EVERY, FEWEST, QUIET, PITCH_WINDOW)
        files = TokenFiles(cache, key, {"ahead": ((sum(self.lengths), len(SPANS), CLASSES), np.float16)})
        with files.filling() as filling:
            if filling:
                notes = Notes()
                for place, clip in self._missing_clips(filling, "pitch ahead"):
                    parts = (self._read(clip, start, samples).numpy() for start, samples in _parts(clip))
                    filling.arrays["ahead"][place] = pitch_ahead(notes, parts, place.stop - place.start)
        return cast("npt.NDArray[np.float16]", files.read()["ahead"])

    def _heard(self, version: str, codes: _Codes) -> Tensor:
        """Return the samples ``[n]`` of codes ``[T, K]``: of all, or of the coarse ones."""
        found = torch.from_numpy(codes.astype(np.int64).T).to(self._device)
        return self._codec.decode(found if version == "decoded" else found[:1])

    @property
    def _device(self) -> torch.device:
        return self._codec.codec.quantizer.entries[0].device

    def _key(self, *others: object) -> str:
        """Return the start of the names of files that depend on the altered clips and on other values."""
        alteration = self._alteration.semitones, self._alteration.highest_hz
        clips = [(c.group, c.sha256, c.samples) for c in self._clips]
        return hashlib.sha256(repr((clips, alteration, *others)).encode()).hexdigest()[:12]

    def _missing(self, filling: Filling, what: str) -> Iterator[tuple[slice, Callable[[], Tensor]]]:
        """Yield the frames of each part of the clips that are missing, and what reads its altered samples ``[n]``."""
        for place, clip in self._missing_clips(filling, what):
            position = place.start
            for start, samples in _parts(clip):
                end = position + self._alteration.frames(samples)
                if end > position:
                    yield slice(position, end), partial(self._read, clip, start, samples)
                position = end

    def _missing_clips(self, filling: Filling, what: str) -> Iterator[tuple[slice, Clip]]:
        """Yield the frames of each clip that is missing, and the clip; note in ``filling`` each that is over."""
        position, count = sum(self.lengths[: filling.done]), len(self._clips)
        shown = f"{what} {self._alteration}".strip()
        for number in trange(filling.done, count, desc=shown, initial=filling.done, total=count, disable=None):
            end = position + self.lengths[number]
            yield slice(position, end), self._clips[number]
            position = end
            filling.note(number + 1)

    def _read(self, clip: Clip, start: int, samples: int) -> Tensor:
        return torch.from_numpy(self._alteration.apply(self._data.read(clip, start, samples)))


def _parts(clip: Clip) -> list[tuple[int, int]]:
    """Return the first sample and the length in samples of each minute of a clip, before its alteration."""
    return [(start, min(MOST_SAMPLES, clip.samples - start)) for start in range(0, clip.samples, MOST_SAMPLES)]


def code_digest(codec: Codec) -> str:
    """Return a hexadecimal digest of all that a codec's codes depend on: not its decoder."""
    return digest_of(codec.encoder, digest_of(codec.quantizer), codec.config)


def codec_digest(codec: Codec) -> str:
    """Return eight hexadecimal digits that identify a codec by its weights."""
    return digest_of(codec, codec.config)[:8]


def digest_of(weights: nn.Module | dict[str, Tensor], *others: object) -> str:
    """Return a hexadecimal digest of weights and of other values, by their ``repr``."""
    digest = hashlib.sha256(repr(others).encode())
    for weight in (weights.state_dict() if isinstance(weights, nn.Module) else weights).values():
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()
