"""Train the codec: first as an autoencoder, then with its codebooks, then its decoder against an adversary."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import trange

from engine.checkpoint import load_codec, save_codec
from engine.codec import Codec
from engine.config import SMALL_CODEC, CodecConfig, to_dict
from training.codec_check import check_codec
from training.codec_recipe import CodecRecipe
from training.codec_start import keep_variance, start_codebooks
from training.codec_step import CodecStep
from training.crops import Crops
from training.datasets import AudioSet
from training.run import Run, learning_rate
from training.vector_quantization import go_on_from_entries

CHECK_BATCHES = 12
CPU = torch.device("cpu")


def train_codec(
    train: AudioSet,
    heldout: AudioSet,
    out: Path,
    recipe: CodecRecipe,
    config: CodecConfig = SMALL_CODEC,
    device: torch.device = CPU,
    autocast: torch.dtype = torch.float32,
) -> None:
    """Train, resuming from ``out`` if a run is there, and write ``codec.safetensors`` beside the log, at every check.

    Raises:
        ValueError: ``out`` has a run of another configuration, no checkpoint can be written there, or the codec to
            start from is of another shape.
    """
    torch.manual_seed(recipe.seed)
    codec = _first_weights(recipe, config).to(device)
    stepper = CodecStep(codec, recipe, device, autocast)
    described = {"recipe": asdict(recipe), "codec": to_dict(config), "train_seconds": train.seconds}
    run = Run(out, described, stepper.parts)
    crops = _crops(train, recipe)
    check = torch.cat([_crops(heldout, recipe).batch(1_000_000 + i) for i in range(CHECK_BATCHES)]).to(device)
    first = run.resume()
    sums: defaultdict[str, list[float]] = defaultdict(list)
    began = time.monotonic()
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="codec", disable=None):
        if step == recipe.quantize_from and step > 0:
            start_codebooks(codec, crops, step, device)
        if step == recipe.adversarial_from:
            save_codec(codec, out)  # whose codes are final: models can be trained on them from now on
        rate = learning_rate(step, recipe.steps, recipe.peak_rate, recipe.warmup, recipe.held)
        for name, value in stepper.learn(step, rate, crops.batch(step).to(device)).items():
            sums[name].append(float(value.detach()))
        if (step + 1) % 100 == 0:
            means = {name: sum(values) / len(values) for name, values in sums.items()}
            run.log(step + 1, **means, seconds=(time.monotonic() - began) / len(sums["total"]))
            began = time.monotonic()
            sums.clear()
        if (step + 1) % 1000 == 0 or step + 1 == recipe.steps:
            run.log(step + 1, **check_codec(codec, check, stepper.loss_of, recipe.is_quantized(step)))
            save_codec(codec, out)
        run.save(step + 1)
    run.save(recipe.steps, force=True)
    save_codec(codec, out)


def _first_weights(recipe: CodecRecipe, config: CodecConfig) -> Codec:
    if recipe.start_from is None:
        codec = Codec(config)
        keep_variance(codec)
        return codec
    codec = load_codec(Path(recipe.start_from))
    if codec.config != config:
        raise ValueError(f"the codec in {recipe.start_from} has other sizes than the one to be trained")
    for codebook in codec.quantizer.codebooks:
        go_on_from_entries(codebook)
    return codec.train().requires_grad_()


def _crops(data: AudioSet, recipe: CodecRecipe) -> Crops:
    return Crops(data, recipe.batch, recipe.crop_frames, recipe.seed, recipe.augmentation, recipe.shares)
