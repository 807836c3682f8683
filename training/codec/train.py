"""Train the codec: first as an autoencoder, then with its codebooks, then its decoder against an adversary."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import trange

from whispergpt.engine.checkpoints.checkpoint import save_codec
from whispergpt.engine.config import SMALL_CODEC, CodecConfig, to_dict
from whispergpt.engine.model.codec import Codec
from whispergpt.training.codec.check import check_codec
from whispergpt.training.codec.drawn_crops import DrawnCrops
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.codec.start import keep_variance, start_codebooks
from whispergpt.training.codec.step import CodecStep
from whispergpt.training.codec.steps import DeviceSteps, HostSteps, host_crops
from whispergpt.training.codec.vector_quantization import go_on_from_entries
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.precision import use_tensor_cores
from whispergpt.training.run import Run
from whispergpt.training.scalars import Means
from whispergpt.training.tokens.tokens import codec_digest

CHECK_BATCHES = 12
CHECK_CROPS = 8
"""Crops in each check batch, where the training batches are made for a device."""
CPU = torch.device("cpu")


def train_codec(
    train: AudioSet,
    heldout: AudioSet,
    out: Path,
    recipe: CodecRecipe,
    config: CodecConfig = SMALL_CODEC,
    device: torch.device = CPU,
    autocast: torch.dtype = torch.float32,
    boards: Path | None = None,
    start: Codec | None = None,
    drawn: DrawnCrops | None = None,
    adversary: dict[str, torch.Tensor] | None = None,
) -> None:
    """Train, resuming a run in ``out``, and write ``codec.safetensors`` beside the log at every check.

    Args:
        boards: folder for TensorBoard.
        start: the codec that ``recipe.start_from`` names.
        adversary: weights of the discriminators that ``recipe.adversary_of`` names.
        drawn: crops with codes of the model that ``recipe.drawn_by`` names.

    Raises:
        ValueError: ``out`` has a run of another configuration, no checkpoint can be written there, or the codec to
            start from has other sizes, or that codec or drawn codes are not those of the recipe.
    """
    torch.manual_seed(recipe.seed)
    if recipe.on_device:
        use_tensor_cores(device)
    codec = _first_weights(start, recipe, config).to(device)
    if (drawn is None) != (recipe.drawn_by is None):
        raise ValueError("a recipe names the model whose drawn codes it learns from, and no other run has any")
    stepper = CodecStep(codec, recipe, device, autocast)
    described = {"recipe": asdict(recipe), "codec": to_dict(config), "train_seconds": train.seconds}
    run = Run(out, described, stepper.parts, boards=boards)
    steps: DeviceSteps | HostSteps
    steps = DeviceSteps(stepper, train) if recipe.on_device else HostSteps(stepper, train, drawn)
    check_crops = host_crops(heldout, recipe, CHECK_CROPS if recipe.on_device else recipe.batch)
    check = torch.cat([check_crops.batch(1_000_000 + i) for i in range(CHECK_BATCHES)]).to(device)
    first = run.resume()
    if first == 0 and adversary is not None:
        stepper.begin_adversary(adversary)
    means = Means()
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="codec", disable=None):
        if step == recipe.quantize_from and step > 0:
            start_codebooks(codec, steps.crops, step, device, recipe.vectors_for_entry)
        if step == recipe.adversarial_from:
            save_codec(codec, out)  # its codes are final: models can be trained on them from now on
        means.add(steps.learn(step))
        if (step + 1) % 100 == 0:
            run.log(step + 1, **means.take())
        if (step + 1) % 1000 == 0 or step + 1 == recipe.steps:
            kept = stepper.kept(step)
            run.log(step + 1, **check_codec(kept, check, stepper.loss_of, recipe.is_quantized(step)))
            save_codec(kept, out)
        run.save(step + 1)
    run.save(recipe.steps, force=True)
    save_codec(stepper.kept(recipe.steps - 1), out)


def _first_weights(start: Codec | None, recipe: CodecRecipe, config: CodecConfig) -> Codec:
    if (None if start is None else codec_digest(start)) != recipe.start_from:
        raise ValueError("the codec to start from is not the one that the recipe names")
    if start is None:
        codec = Codec(config)
        keep_variance(codec)
        return codec
    if start.config != config:
        raise ValueError("the codec to start from has other sizes than the one to be trained")
    codec = Codec(config)
    codec.load_state_dict(start.state_dict())
    for codebook in codec.quantizer.codebooks:
        go_on_from_entries(codebook, recipe.vectors_for_entry)
    return codec.train().requires_grad_()
