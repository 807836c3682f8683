"""Training of a fine stage alone, from the start; the model's prediction of coarse codes does not change."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import trange

from whispergpt.engine.checkpoints.checkpoint import LoadedModel, save_model
from whispergpt.engine.config import FineConfig, to_dict
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.fine.stage import FineStage, new_fine_stage
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.lm.fine_loss import fine_loss
from whispergpt.training.lm.start import start_from_frequencies
from whispergpt.training.optimizers import set_rate
from whispergpt.training.precision import products_in
from whispergpt.training.run import Run, learning_rate
from whispergpt.training.scalars import Means
from whispergpt.training.tokens.token_crops import Batch, TokenCrops
from whispergpt.training.tokens.tokens import Tokens

CHECK_EVERY = 100
CHECK_BATCHES = 4
STAGE = "fine."
"""Start of the names of a fine stage's weights."""
ODDS = {"original": 0.2, "decoded": 0.6, "coarse": 0.2}


@dataclass(frozen=True)
class FineRecipe:
    """Recipe of a fine stage's own training; for its crops see ``ModelRecipe``.

    ``dropout`` and ``weight_decay`` are for a stage of nearest codes, which soon knows its recordings by heart.
    """

    steps: int = 2_000
    batch: int = 2
    crop_frames: int = 768
    peak_rate: float = 2e-3
    warmup: int = 50
    dropout: float = 0.0
    weight_decay: float = 0.0
    seed: int = 0
    shares: tuple[float, ...] | None = None


NEAREST_RECIPE = FineRecipe(steps=1_500, batch=4, peak_rate=1.5e-3, dropout=0.1, weight_decay=0.05)
"""Recipe of a stage whose codes are the nearest."""
NEAREST_WIDTH = 512
"""Width of such a stage, unless another is given."""


def train_fine(
    train: list[Tokens],
    heldout: list[Tokens],
    loaded: LoadedModel,
    config: FineConfig,
    out: Path,
    recipe: FineRecipe,
    device: torch.device,
    autocast: torch.dtype = torch.float32,
    boards: Path | None = None,
) -> None:
    """Train, resuming a run in ``out``, and write the model of the least held-out loss there.

    Args:
        config: of the new stage, which may be of another kind and width than the model's.
        boards: folder for TensorBoard.

    Raises:
        ValueError: the model has no fine stage, or ``out`` has a run of another configuration.
    """
    if loaded.step.model.fine is None:
        raise ValueError(f"{loaded.id} has no fine stage to train")
    codec = loaded.step.plain_codec
    torch.manual_seed(recipe.seed)
    model, stage = _with_new_stage(loaded.step.model, config, recipe.dropout)
    model = model.to(device)
    if isinstance(stage, DrawnStage):
        start_from_frequencies(stage, train)
    optimizer = torch.optim.AdamW(_groups(stage, recipe.weight_decay), recipe.peak_rate, (0.9, 0.95))
    described = {"recipe": asdict(recipe), "model": to_dict(model.config), "of": loaded.digest}
    run = Run(out, described, {"fine": stage, "optimizer": optimizer}, boards=boards)
    crops, check = _crops(train, recipe), _crops(heldout, recipe)
    first, best = run.resume(), run.best("fine_decoded")

    means = Means()
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="fine stage", disable=None):
        set_rate(optimizer, learning_rate(step, recipe.steps, recipe.peak_rate, recipe.warmup, held=0.3))
        with products_in(autocast, device):
            loss = _loss(model, codec, crops.batch(step).to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimizer.step()
        means.add({"fine": loss})
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == recipe.steps:
            stage.eval()
            score = _score(model, codec, check, device)
            run.log(step + 1, **means.take(), fine_decoded=score)
            if score < best:
                best = score
                save_model(out, model, codec, loaded.defaults, loaded.licence)
            stage.train()
            means = Means()
        run.save(step + 1)
    run.save(recipe.steps, force=True)


def _with_new_stage(old: WhisperGPT, config: FineConfig, dropout: float) -> tuple[WhisperGPT, FineStage]:
    """Return a model with all weights of another and a new fine stage, which alone learns; and this stage."""
    model = WhisperGPT(replace(old.config, fine=None)).eval().requires_grad_(False)
    model.load_state_dict({name: weight for name, weight in old.state_dict().items() if not name.startswith(STAGE)})
    model.config = replace(old.config, fine=config)
    stage = new_fine_stage(config, old.config.stack.width)
    for module in stage.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    model.fine = stage
    return model, stage


def _loss(model: WhisperGPT, codec: Codec, batch: Batch) -> torch.Tensor:
    """Return the loss of all finer codes of a batch."""
    with torch.no_grad():
        hidden = model.hidden(batch.codes[:, :-1, 0], batch.mels)
    return fine_loss(model, codec, hidden, batch, 1.0)


@torch.inference_mode()
def _score(model: WhisperGPT, codec: Codec, crops: TokenCrops, device: torch.device) -> float:
    """Return the mean loss on fixed crops, of slices of decoded sound."""
    batches = (crops.batch(1_000_000 + index, "decoded").to(device) for index in range(CHECK_BATCHES))
    return sum(float(_loss(model, codec, batch)) for batch in batches) / CHECK_BATCHES


def _groups(stage: FineStage, decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups of weights: matrices alone decay."""
    matrices = [weight for weight in stage.parameters() if weight.dim() > 1]
    vectors = [weight for weight in stage.parameters() if weight.dim() == 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _crops(sources: list[Tokens], recipe: FineRecipe) -> TokenCrops:
    """Return crops of the versions that generation meets, with joins from a prompt to a continuation."""
    join = ("original", "decoded")
    return TokenCrops(sources, recipe.batch, recipe.crop_frames, recipe.seed, ODDS, join, 0.2, recipe.shares)
