"""Train the codec: first as an autoencoder, then with its codebooks, from folders of audio."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import trange

from engine.checkpoint import save_codec
from engine.codec import Codec
from engine.config import HOP, SMALL_CODEC, CodecConfig, to_dict
from training.datasets import AudioSet
from training.losses import ReconstructionLoss
from training.run import Run, learning_rate
from training.vector_quantization import quantize_for_training, start_from_kmeans


@dataclass(frozen=True)
class CodecRecipe:
    """How a codec is trained.

    ``quantize_from``: the step at which the codebooks come in. ``mel_from``: between these steps the weight of the
    mel term rises from a tenth to one; at full weight from the start it hides the waveform's gradient.
    """

    steps: int = 8_000
    quantize_from: int = 2_000
    mel_from: tuple[int, int] = (300, 1_500)
    batch: int = 8
    crop_frames: int = 30
    peak_rate: float = 1e-3
    warmup: int = 100
    commitment: float = 0.25
    coarse_share: float = 0.4
    seed: int = 0


class Crops:
    """Random crops with sound in them, at random levels; the same step draws the same crops."""

    def __init__(self, data: AudioSet, recipe: CodecRecipe) -> None:
        self.data, self.recipe = data, recipe
        self.samples = recipe.crop_frames * HOP
        self.clips = [c for c in data.clips if c.samples > self.samples]
        weights = np.array([c.samples for c in self.clips], dtype=np.float64)
        self.odds = weights / weights.sum()

    def batch(self, step: int) -> Tensor:
        """``[batch, samples]`` for one step."""
        draw = np.random.default_rng((self.recipe.seed, step))
        crops: list[npt.NDArray[np.float32]] = []
        while len(crops) < self.recipe.batch:
            clip = self.clips[draw.choice(len(self.clips), p=self.odds)]
            crop = self.data.read(clip, int(draw.integers(clip.samples - self.samples)), self.samples)
            level = float(np.sqrt(np.mean(crop**2)))
            if level < 0.01 and draw.random() > 0.05:
                continue
            target = 10 ** (draw.uniform(-30, -14) / 20)
            gain = min(target / max(level, 1e-3), 0.99 / max(float(np.abs(crop).max()), 1e-3))
            crops.append(crop * gain)
        return torch.from_numpy(np.stack(crops))


def train_codec(
    train: AudioSet, heldout: AudioSet, out: Path, recipe: CodecRecipe, config: CodecConfig = SMALL_CODEC
) -> None:
    """Train, resuming from ``out`` if a run is there, and write ``codec.safetensors`` beside the log."""
    torch.manual_seed(recipe.seed)
    codec = Codec(config)
    _keep_variance(codec)
    loss_of = ReconstructionLoss()
    optimizer = torch.optim.Adam(codec.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.99))
    run = Run(out, {"recipe": recipe.__dict__, "codec": to_dict(config), "train_seconds": train.seconds})
    crops = Crops(train, recipe)
    check = torch.cat([Crops(heldout, recipe).batch(1_000_000 + i) for i in range(12)])
    first = run.resume(codec, optimizer)
    sums: dict[str, float] = {}
    began, counted = time.monotonic(), 0
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="codec", disable=None):
        if step == recipe.quantize_from:
            _start_codebooks(codec, crops, step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe.steps, recipe.peak_rate, recipe.warmup)
        audio = crops.batch(step)
        latents = codec.encoder(audio[:, None])
        commitment = latents.new_zeros(())
        if step >= recipe.quantize_from:
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
        if (step + 1) % 1000 == 0:
            run.log(step + 1, **evaluate_codec(codec, check, loss_of, step >= recipe.quantize_from))
        run.save(step + 1, codec, optimizer)
    run.save(recipe.steps, codec, optimizer, force=True)
    save_codec(codec, out)


def _keep_variance(codec: Codec) -> None:
    """Start with every convolution passing on the variance it gets.

    PyTorch's default shrinks it at each of some twenty layers: the output starts at a thousandth of the input, and
    training stayed on a plateau for over a thousand steps, where this start left it within three hundred (measured).
    """
    for module in codec.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            taps = 2 if isinstance(module, nn.ConvTranspose1d) else module.kernel_size[0]
            nn.init.normal_(module.weight, std=(module.in_channels * taps) ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _mel_weight(step: int, recipe: CodecRecipe) -> float:
    start, full = recipe.mel_from
    return 0.1 + 0.9 * min(1.0, max(0.0, (step - start) / (full - start)))


def _codebooks_used(step: int, recipe: CodecRecipe, config: CodecConfig) -> Tensor:
    """Codebook dropout: ``coarse_share`` of the items decode from the first codebook alone, the rest from 1 to K."""
    draw = np.random.default_rng((recipe.seed, step, 1))
    used = draw.integers(2, config.n_codebooks + 1, recipe.batch)
    used[draw.random(recipe.batch) < recipe.coarse_share] = 1
    used[draw.random(recipe.batch) < 0.3] = config.n_codebooks
    return torch.from_numpy(used)


@torch.no_grad()
def _start_codebooks(codec: Codec, crops: Crops, step: int, batches: int = 60) -> None:
    latents = [codec.encoder(crops.batch(2_000_000 + step + i)[:, None]) for i in range(batches)]
    start_from_kmeans(codec.quantizer, torch.cat(latents).transpose(1, 2).reshape(-1, codec.config.dimension))


@torch.inference_mode()
def evaluate_codec(codec: Codec, audio: Tensor, loss_of: ReconstructionLoss, quantized: bool) -> dict[str, float]:
    """Loss on held-out crops ``[N, samples]`` with all codebooks and with one, and how many codes are in use."""
    if not quantized:
        terms = loss_of(codec.decoder(codec.encoder(audio[:, None]))[:, 0], audio)
        return {"heldout_unquantized": float(terms["total"])}
    codes = codec.encode(audio[:, None])
    result: dict[str, float] = {}
    for k in (1, codec.config.n_codebooks):
        terms = loss_of(codec.decode(codes[:, :k])[:, 0], audio)
        result |= {f"heldout_{k}": float(terms["total"]), f"heldout_{k}_mel": float(terms["mel"])}
    for k in (0, codec.config.n_codebooks - 1):
        p = torch.bincount(codes[:, k].flatten(), minlength=1024).float() / codes[:, k].numel()
        result[f"perplexity_{k}"] = float(torch.exp(-(p * (p + 1e-12).log()).sum()))
    return result
