"""Train the codec: first as an autoencoder, then with its codebooks."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from engine.checkpoint import save_codec
from engine.codec import Codec
from engine.config import SMALL_CODEC, CodecConfig, to_dict
from training.augmentation import Augmentation
from training.codec_check import check_codec
from training.codec_start import keep_variance, start_codebooks
from training.crops import Crops
from training.datasets import AudioSet
from training.losses import ReconstructionLoss
from training.run import Run, learning_rate
from training.vector_quantization import quantize_for_training

CHECK_BATCHES = 12


@dataclass(frozen=True)
class CodecRecipe:
    """How a codec is trained.

    ``quantize_from``: the step at which the codebooks come in. ``mel_from``: between these steps the weight of the
    mel term rises from a tenth to one; at full weight from the start it hides the waveform's gradient. ``held``: share
    of the steps at the peak rate, before it falls. ``coarse_share`` of the crops are decoded from the first codebook
    alone and ``full_share`` from all, the others from a random number of them. ``shares``: see ``Crops``.
    """

    steps: int = 40_000
    quantize_from: int = 14_000
    mel_from: tuple[int, int] = (300, 1_500)
    batch: int = 8
    crop_frames: int = 30
    peak_rate: float = 1e-3
    warmup: int = 100
    held: float = 0.6
    commitment: float = 0.25
    coarse_share: float = 0.3
    full_share: float = 0.4
    seed: int = 0
    shares: tuple[float, ...] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)


def train_codec(
    train: AudioSet, heldout: AudioSet, out: Path, recipe: CodecRecipe, config: CodecConfig = SMALL_CODEC
) -> None:
    """Train, resuming from ``out`` if a run is there, and write ``codec.safetensors`` beside the log.

    Raises:
        ValueError: ``out`` has a run of another configuration, or no checkpoint can be written there.
    """
    torch.manual_seed(recipe.seed)
    codec = Codec(config)
    keep_variance(codec)
    loss_of = ReconstructionLoss()
    optimizer = torch.optim.Adam(codec.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.99))
    run = Run(out, {"recipe": asdict(recipe), "codec": to_dict(config), "train_seconds": train.seconds})
    crops = _crops(train, recipe)
    check = torch.cat([_crops(heldout, recipe).batch(1_000_000 + i) for i in range(CHECK_BATCHES)])
    first = run.resume(codec, optimizer)
    sums: dict[str, float] = {}
    began, counted = time.monotonic(), 0
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="codec", disable=None):
        quantized = step >= recipe.quantize_from
        if step == recipe.quantize_from:
            start_codebooks(codec, crops, step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe.steps, recipe.peak_rate, recipe.warmup, recipe.held)
        audio = crops.batch(step)
        latents = codec.encoder(audio[:, None])
        commitment = latents.new_zeros(())
        if quantized:
            latents, commitment = quantize_for_training(codec.quantizer, latents, _codebooks_used(step, recipe, config))
        terms = loss_of(codec.decoder(latents)[:, 0], audio, _mel_weight(step, recipe))
        optimizer.zero_grad(set_to_none=True)
        (terms["total"] + recipe.commitment * commitment).backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 10.0)
        optimizer.step()
        for name, value in (terms | {"commitment": commitment, "spread": latents.std()}).items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        counted += 1
        if (step + 1) % 100 == 0:
            run.log(step + 1, **{k: v / counted for k, v in sums.items()}, seconds=(time.monotonic() - began) / counted)
            began, sums, counted = time.monotonic(), {}, 0
        if (step + 1) % 1000 == 0 or step + 1 == recipe.steps:
            run.log(step + 1, **check_codec(codec, check, loss_of, quantized))
        run.save(step + 1, codec, optimizer)
    run.save(recipe.steps, codec, optimizer, force=True)
    save_codec(codec, out)


def _crops(data: AudioSet, recipe: CodecRecipe) -> Crops:
    return Crops(data, recipe.batch, recipe.crop_frames, recipe.seed, recipe.augmentation, recipe.shares)


def _mel_weight(step: int, recipe: CodecRecipe) -> float:
    start, full = recipe.mel_from
    return 0.1 + 0.9 * min(1.0, max(0.0, (step - start) / (full - start)))


def _codebooks_used(step: int, recipe: CodecRecipe, config: CodecConfig) -> Tensor:
    """Codebook dropout: how many codebooks each crop is decoded from, ``[batch]``."""
    draw = np.random.default_rng((recipe.seed, step, 1))
    used = draw.integers(2, config.n_codebooks + 1, recipe.batch)
    kind = draw.random(recipe.batch)
    used[kind < recipe.coarse_share] = 1
    used[kind > 1 - recipe.full_share] = config.n_codebooks
    return torch.from_numpy(used)
