"""Crops for a codec's training, drawn and altered on the device, where the recordings lie."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whispergpt.engine.config import HOP
from whispergpt.training.data.augmentation import Augmentation, Augmenter, seed_step
from whispergpt.training.data.crops import SILENCE, SILENCE_KEPT, clip_odds
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.manifest import Clip

FULL_SCALE = 32_768


class DeviceCrops:
    """Random crops of ``frames`` frames with the odds of ``Crops``, from int16 samples that lie on ``device``.

    ``Crops`` draws again where a crop is silent. Here the level at every frame is computed beforehand, and silent
    places get lower odds: one draw of a fixed shape is enough. Places within a frame are drawn as well.
    """

    def __init__(
        self,
        data: AudioSet,
        batch: int,
        frames: int,
        seed: int,
        augmentation: Augmentation,
        shares: tuple[float, ...] | None,
        device: torch.device,
    ) -> None:
        self.size, self.seed, self.device = batch, seed, device
        samples = frames * HOP
        clips, odds = clip_odds(data, samples, shares)
        _check_memory(clips, device)
        self._audio = torch.empty(sum(clip.samples for clip in clips), dtype=torch.int16, device=device)
        starts, room, weights, position = [], [], [], 0
        for clip, share in zip(clips, odds, strict=True):
            sound = np.array(data.shards[clip.shard][clip.start : clip.start + clip.samples])
            self._audio[position : position + clip.samples] = torch.from_numpy(sound)
            grid = np.arange(0, clip.samples - samples, HOP)
            places = np.minimum(HOP, clip.samples - samples - grid)
            kept = np.where(_levels(sound, frames)[: len(grid)] < SILENCE, SILENCE_KEPT, 1.0)
            starts.append(grid + position)
            room.append(places)
            weights.append(share * kept * places / (clip.samples - samples))
            position += clip.samples
        summed = np.cumsum(np.concatenate(weights))
        self._odds = torch.from_numpy(summed / summed[-1]).to(device)
        self._starts = torch.from_numpy(np.concatenate(starts)).to(device)
        self._room = torch.from_numpy(np.concatenate(room)).to(device)
        self._within = torch.arange(samples, device=device)
        self._augment = Augmenter(augmentation, samples, device)

    def batch(self, step: int) -> Tensor:
        """Return ``[batch, samples]`` for one step, after seeding the device's generator for it."""
        seed_step(self.seed, step)
        return self.draw(self.size)

    def draw(self, count: int) -> Tensor:
        """Return altered crops ``[count, samples]``, drawn by the device's generator without waiting for the host."""
        return self._augment(self.recorded(count))

    def recorded(self, count: int) -> Tensor:
        """Return crops as recorded, without alteration, float32 ``[count, samples]`` in -1…1."""
        chance = torch.rand(2, count, dtype=torch.float64, device=self.device)
        place = torch.searchsorted(self._odds, chance[0], right=True).clamp(max=len(self._odds) - 1)
        first = self._starts[place] + (chance[1] * self._room[place]).long()
        return self._audio[first[:, None] + self._within].float() / FULL_SCALE


def _check_memory(clips: list[Clip], device: torch.device) -> None:
    """Raise ValueError where the recordings do not fit into the free memory of a CUDA device."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return
    needed, free = 2 * sum(clip.samples for clip in clips), torch.cuda.mem_get_info(device)[0]
    if needed > free:
        raise ValueError(
            f"the recordings take {needed / 1e9:.1f} GB and the device has {free / 1e9:.1f} GB free: "
            "--preset cpu reads them from the disk instead"
        )


def _levels(
    sound: np.ndarray[tuple[int], np.dtype[np.int16]], frames: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the RMS level of the ``frames`` frames that start at each frame."""
    blocks = sound[: len(sound) // HOP * HOP].reshape(-1, HOP).astype(np.float32) / FULL_SCALE
    energy = np.concatenate([[0.0], np.cumsum(np.square(blocks).sum(1, dtype=np.float64))])
    return np.sqrt((energy[frames:] - energy[:-frames]) / (frames * HOP))
