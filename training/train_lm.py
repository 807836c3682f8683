"""Train a hybrid or a token-only model on the coarse codes of a trained codec."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from engine.checkpoint import save_model
from engine.codec import Codec
from engine.config import ModelConfig, SamplingDefaults, to_dict
from engine.model import WhisperGPT
from training.run import Run, learning_rate
from training.tokens import VERSIONS, Tokens
from training.unigram import unigram_score


@dataclass(frozen=True)
class ModelRecipe:
    """How a model is trained.

    ``crop_frames`` is longer than the attention window, so that a window that has slid on is nothing new. A share of
    ``join_share`` of the crops changes, at a random frame, from slices of decoded to slices of coarse audio, as they
    do where a continuation joins its prompt; the others are of one version throughout.
    """

    steps: int = 1_200
    batch: int = 8
    crop_frames: int = 768
    peak_rate: float = 1.5e-3
    warmup: int = 60
    weight_decay: float = 0.1
    dropout: float = 0.1
    join_share: float = 0.4
    seed: int = 0


class TokenCrops:
    """Random crops of speakers' streams; the same step draws the same crops."""

    def __init__(self, tokens: Tokens, recipe: ModelRecipe) -> None:
        self.tokens, self.recipe = tokens, recipe
        frames = np.array([count for _, count in tokens.spans], dtype=np.float64)
        self.odds = frames / frames.sum()

    def batch(self, step: int, version: str | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Codes ``[B, T]``, slices ``[B, T, n_mels]`` and targets ``[B, T]``, -100 where there is none.

        ``version`` None mixes versions as in training.
        """
        recipe = self.recipe
        draw = np.random.default_rng((recipe.seed, step))
        size = recipe.crop_frames
        codes = np.zeros((recipe.batch, size + 1), np.int64)
        known = np.zeros((recipe.batch, size + 1), bool)
        mels = np.zeros((recipe.batch, size, self.tokens.mels.shape[-1]), np.float32)
        for row in range(recipe.batch):
            first, count = self.tokens.spans[draw.choice(len(self.odds), p=self.odds)]
            taken = min(count, size + 1)
            start = first + int(draw.integers(count - taken + 1))
            codes[row, :taken] = self.tokens.codes[start : start + taken]
            known[row, :taken] = True
            before, after, join = self._versions(draw, taken, version)
            kept = min(taken, size)
            mels[row, :join] = self.tokens.mels[before, start : start + join]
            mels[row, join:kept] = self.tokens.mels[after, start + join : start + kept]
        targets = np.where(known[:, 1:], codes[:, 1:], -100)
        return torch.from_numpy(codes[:, :-1].copy()), torch.from_numpy(mels), torch.from_numpy(targets)

    def _versions(self, draw: np.random.Generator, taken: int, version: str | None) -> tuple[int, int, int]:
        """The version before the join, the one after it, and the frame of the join."""
        if version is not None:
            index = VERSIONS.index(version)
            return index, index, 0
        if draw.random() < self.recipe.join_share:
            return VERSIONS.index("decoded"), VERSIONS.index("coarse"), int(draw.integers(1, taken))
        index = int(draw.integers(len(VERSIONS)))
        return index, index, 0


def train_lm(
    train: Tokens,
    heldout: Tokens,
    codec: Codec,
    config: ModelConfig,
    out: Path,
    recipe: ModelRecipe,
    licence: str,
) -> None:
    """Train, resuming from ``out`` if a run is there, and write a model folder beside the log.

    The weights kept are those of the best held-out NLL on coarse slices, which is what generation meets.
    """
    torch.manual_seed(recipe.seed)
    model = WhisperGPT(config)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = recipe.dropout
    optimizer = _optimizer(model, recipe)
    run = Run(out, {"recipe": recipe.__dict__, "model": to_dict(config), "train_frames": len(train.codes)})
    crops, check = TokenCrops(train, recipe), TokenCrops(heldout, recipe)
    first = run.resume(model, optimizer)
    best = run.best("heldout_coarse")
    if first == 0:
        run.log(0, **unigram_score(train.codes, heldout.codes))
    began, loss_sum, counted = time.monotonic(), 0.0, 0
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="model", disable=None):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe.steps, recipe.peak_rate, recipe.warmup)
        codes, mels, targets = crops.batch(step)
        loss = F.cross_entropy(model(codes, mels).flatten(0, 1), targets.flatten(), ignore_index=-100)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss_sum, counted = loss_sum + float(loss.detach()), counted + 1
        if (step + 1) % 25 == 0:
            run.log(step + 1, train=loss_sum / counted, seconds=(time.monotonic() - began) / counted)
            began, loss_sum, counted = time.monotonic(), 0.0, 0
        if (step + 1) % 100 == 0 or step + 1 == recipe.steps:
            scores = _check(model, check)
            run.log(step + 1, **scores)
            if scores["heldout_coarse"] < best:
                best = scores["heldout_coarse"]
                save_model(out, model, codec, SamplingDefaults(), licence)
            began = time.monotonic()
        run.save(step + 1, model, optimizer)
    run.save(recipe.steps, model, optimizer, force=True)


def _optimizer(model: WhisperGPT, recipe: ModelRecipe) -> torch.optim.AdamW:
    """AdamW; only matrices decay."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=(0.9, 0.95))


@torch.inference_mode()
def _check(model: WhisperGPT, crops: TokenCrops, batches: int = 4) -> dict[str, float]:
    """Held-out NLL and accuracy on the same crops every time, by version of the slices."""
    model.eval()
    result: dict[str, float] = {}
    for version in VERSIONS if model.hybrid else VERSIONS[:1]:
        nll, right, count = 0.0, 0, 0
        for index in range(batches):
            codes, mels, targets = crops.batch(1_000_000 + index, version)
            logits = model(codes, mels)
            known = targets >= 0
            nll += float(F.cross_entropy(logits[known], targets[known], reduction="sum"))
            right += int((logits.argmax(-1)[known] == targets[known]).sum())
            count += int(known.sum())
        result |= {f"heldout_{version}": nll / count, f"accuracy_{version}": right / count}
    model.train()
    # A token-only model hears nothing, so its NLL is the same for every version.
    result.setdefault("heldout_coarse", result["heldout_original"])
    return result
