"""Training steps of a codec with crops drawn on the host or on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from whispergpt.training.codec.captured import CapturedFunction, graphs_of
from whispergpt.training.codec.drawn_crops import DrawnCrops
from whispergpt.training.codec.recipe import CodecRecipe, StepKind
from whispergpt.training.codec.step import CodecStep
from whispergpt.training.data.augmentation import seed_step
from whispergpt.training.data.crops import Crops
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.device_crops import DeviceCrops


class HostSteps:
    """Steps whose crops are drawn on the CPU; with ``drawn``, some of those in the last stage."""

    def __init__(self, stepper: CodecStep, data: AudioSet, drawn: DrawnCrops | None = None) -> None:
        self._stepper, self._drawn, recipe = stepper, drawn, stepper.recipe
        self.crops = host_crops(data, recipe, recipe.batch)
        last = (recipe.adversary_batch or recipe.batch) - recipe.drawn_count
        self._last_crops = host_crops(data, recipe, last)

    def learn(self, step: int) -> dict[str, Tensor]:
        """Do one step and return its losses by name; the next step overwrites them."""
        recipe, device = self._stepper.recipe, self._stepper.device
        last = recipe.is_adversarial(step)
        crops = self._last_crops if last else self.crops
        drawn = self._drawn.batch(step).to(device) if last and self._drawn else None
        return self._stepper.learn(step, recipe.rate(step), crops.batch(step).to(device), drawn)


class DeviceSteps:
    """Steps whose crops are drawn on the device; a CUDA device replays one graph for each kind of step.

    Each step seeds the device's generator, so that its draws depend on its number alone and a resumed run repeats
    them.
    """

    def __init__(self, stepper: CodecStep, data: AudioSet) -> None:
        self._stepper, recipe = stepper, stepper.recipe
        self.crops = DeviceCrops(
            data, recipe.batch, recipe.crop_frames, recipe.seed, recipe.augmentation, recipe.shares, stepper.device
        )
        self._mel_weight = torch.ones((), device=stepper.device)
        self._graphs = graphs_of(stepper.device)
        self._captured: dict[StepKind, CapturedFunction] = {}

    def learn(self, step: int) -> dict[str, Tensor]:
        """Do one step and return its losses by name; the next step overwrites them."""
        recipe = self._stepper.recipe
        kind = recipe.kind(step)
        if kind not in self._captured:
            self._add(kind, recipe.crops_in(step))
        self._stepper.begin(step, recipe.rate(step))
        self._mel_weight.fill_(recipe.mel_weight(step))
        seed_step(recipe.seed, step)
        return self._captured[kind]()

    def _add(self, kind: StepKind, count: int) -> None:
        """Make a step of this kind, and drop those of earlier stages with the device memory of their graphs."""
        stage = (kind.quantized, kind.final)
        self._captured = {k: step for k, step in self._captured.items() if (k.quantized, k.final) == stage}

        def compute() -> dict[str, Tensor]:
            audio, used = self.crops.draw(count), self._stepper.draw_codebooks_used(count)
            terms = self._stepper.compute(kind, audio, used, self._mel_weight)
            return {name: term.detach() for name, term in terms.items()}

        self._captured[kind] = CapturedFunction(compute, self._stepper.forget_gradients, self._graphs)


def host_crops(data: AudioSet, recipe: CodecRecipe, batch: int) -> Crops:
    """Return a recipe's crops, drawn on the CPU."""
    return Crops(data, batch, recipe.crop_frames, recipe.seed, recipe.augmentation, recipe.shares)
