"""Training of a hybrid or a token-only model, with its fine stage if it has one, on a trained codec's codes; also
further training on the model's own sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

from whispergpt.engine.checkpoints.checkpoint import LoadedModel, save_model
from whispergpt.engine.config import ModelConfig, SamplingDefaults, to_dict
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.lm.fine_loss import fine_loss
from whispergpt.training.lm.guide import Guide
from whispergpt.training.lm.own_sound import OWN
from whispergpt.training.lm.pitch_task import PitchTask
from whispergpt.training.lm.start import start_from_frequencies, start_from_slices
from whispergpt.training.lm.unigram import unigram_score
from whispergpt.training.optimizers import ModelOptimizer
from whispergpt.training.precision import products_in
from whispergpt.training.run import Run, learning_rate
from whispergpt.training.scalars import Means
from whispergpt.training.tokens.token_crops import NO_TARGET, Batch, TokenCrops
from whispergpt.training.tokens.tokens import VERSIONS, Tokens

CHECK_EVERY = 50
CHECK_BATCHES = 4
CPU = torch.device("cpu")
SLICE_INPUT = "slice_projection."
"""Start of the names of the weights that take slices in."""
WIDTH = 256
"""Width of the stack that a recipe's peak rate is for."""


@dataclass(frozen=True)
class ModelRecipe:
    """Recipe of a model's training.

    ``peak_rate`` is for a stack of width 256; wider ones take proportionally lower rates (``rate_for``).
    ``crop_frames`` exceeds the attention window, so that training covers windows that have moved past the start.
    ``join_share``, ``shares`` and ``stall_share``: see ``TokenCrops``. ``fine_share``: share of a crop's frames whose
    finer codes are learnt in one step; ``fine_weight``: weight of their loss. ``pitch_ahead``: weight of the second
    task (``PitchTask``); 0: there is none. ``guide``: weight of a ``Guide``, whose odds are learnt instead of the
    recordings' codes; 0: there is none.
    """

    steps: int = 1_200
    batch: int = 8
    crop_frames: int = 768
    peak_rate: float = 1.5e-3
    warmup: int = 60
    weight_decay: float = 0.1
    dropout: float = 0.1
    join_share: float = 0.4
    originals: bool = False
    fine_share: float = 0.2
    fine_weight: float = 0.3
    seed: int = 0
    shares: tuple[float, ...] | None = None
    stall_share: float = 0.0
    pitch_ahead: float = 0.0
    guide: float = 0.0

    def rate_for(self, config: ModelConfig) -> float:
        """Return the peak rate of this model; wider inputs need lower rates (Yang et al., arXiv 2203.03466,
        table 3)."""
        return self.peak_rate * min(1.0, WIDTH / config.stack.width)

    def for_window(self, config: ModelConfig) -> ModelRecipe:
        """Return the recipe with crops of at least one and a half of this model's attention windows."""
        return replace(self, crop_frames=max(self.crop_frames, 3 * config.stack.window // 2))


OWN_RECIPE = ModelRecipe(steps=300, peak_rate=1e-3)
"""Recipe for further training of a trained model on its own sound."""


def train_lm(
    train: list[Tokens],
    heldout: list[Tokens],
    codec: Codec,
    config: ModelConfig,
    out: Path,
    recipe: ModelRecipe,
    licence: str,
    device: torch.device = CPU,
    autocast: torch.dtype = torch.float32,
    start: LoadedModel | None = None,
    boards: Path | None = None,
) -> None:
    """Train, resuming a run in ``out``, and write a model folder beside the log.

    The weights kept have the best held-out NLL on slices like those in generation. These are of the model's own sound
    if the tokens have it, else of audio decoded from all codes, or from coarse codes without a fine stage. With
    ``originals``, they are of the recordings. With stalls, a second task or a guide those of the last step are kept:
    NLL shows neither hums nor whether a key is kept.

    Args:
        train: the recordings first, then altered copies of them, if there are any.
        start: the model whose training goes on. If its slices are others, the layer that takes them in begins anew.
        boards: folder for TensorBoard.

    Raises:
        ValueError: ``out`` has a run of another configuration, or no checkpoint can be written there.
    """
    torch.manual_seed(recipe.seed)
    model = _model(config, recipe.dropout, start).to(device)
    codec, peak_rate = codec.to(device), recipe.rate_for(config)
    optimizer = ModelOptimizer(model, peak_rate, recipe.weight_decay)
    task, guide = _other_teachers(config, recipe, start, device)
    parts = {"model": model, **optimizer.parts, **(task.parts if task else {})}
    run = Run(out, _described(train, config, recipe, start), parts, boards=boards)
    crops, check = _crops(train, config, recipe), _crops(heldout, config, replace(recipe, stall_share=0.0))
    kept_by = "heldout_original" if recipe.originals else f"heldout_{_heard(train, config)}"
    first, best = run.resume(), run.best(kept_by)
    if first == 0:
        scores = _begin(model, start, train, heldout, lambda: _check(model, codec, check, device))
        run.log(0, **scores)
        if start:  # stays if nothing better is kept
            best = scores[kept_by]
            save_model(out, model, codec, start.defaults, licence)
    means = Means()
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="model", disable=None):
        means.add(_learn(model, codec, crops.batch(step).to(device), recipe, autocast, task, guide))
        with products_in(autocast, device):
            optimizer.step(learning_rate(step, recipe.steps, peak_rate, recipe.warmup))
        if (step + 1) % 25 == 0:
            run.log(step + 1, **means.take())
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == recipe.steps:
            scores = _check(model, codec, check, device)
            run.log(step + 1, **scores)
            if _is_kept(recipe, step + 1, scores[kept_by], best):
                best = scores[kept_by]
                save_model(out, model, codec, start.defaults if start else SamplingDefaults(), licence)
            means = Means()
        run.save(step + 1)
    run.save(recipe.steps, force=True)


def _model(config: ModelConfig, dropout: float, start: LoadedModel | None) -> WhisperGPT:
    """Return a new model, with the weights of ``start`` if its training goes on, less those for other slices."""
    model = WhisperGPT(config)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    if start is not None:
        weights = start.step.model.state_dict()
        if _slices_are_new(config, start):
            weights |= {name: own for name, own in model.state_dict().items() if name.startswith(SLICE_INPUT)}
        model.load_state_dict(weights)
    return model


def _slices_are_new(config: ModelConfig, start: LoadedModel | None) -> bool:
    """Return whether the model that ``start`` goes on as has not heard such slices."""
    return start is None or config.mel != start.step.model.config.mel


def _other_teachers(
    config: ModelConfig, recipe: ModelRecipe, start: LoadedModel | None, device: torch.device
) -> tuple[PitchTask | None, Guide | None]:
    """Return the second task and the guide, as far as the recipe has them.

    Raises:
        ValueError: there is no model that could guide, or it has not heard such slices.
    """
    if recipe.guide and _slices_are_new(config, start):
        raise ValueError("a guide is a trained model with the same slices: give one to start from")
    task = PitchTask(config.stack.width, device) if recipe.pitch_ahead else None
    return task, Guide(start.step.model, recipe.guide) if start and recipe.guide else None


def _begin(
    model: WhisperGPT,
    start: LoadedModel | None,
    train: list[Tokens],
    heldout: list[Tokens],
    check: Callable[[], dict[str, float]],
) -> dict[str, float]:
    """Set the parts that begin at statistics of the training tokens; return the scores before the first step.

    A new model's are those of the codes' frequencies, else they are what ``check`` returns.
    """
    if start is None and isinstance(model.fine, DrawnStage):
        start_from_frequencies(model.fine, train)
    if model.slice_projection is not None and _slices_are_new(model.config, start):
        start_from_slices(model.slice_projection, train)
    return check() if start else unigram_score(_coarse(train), _coarse(heldout))


def _coarse(sources: list[Tokens]) -> npt.NDArray[np.uint16]:
    return np.concatenate([source.codes[:, 0] for source in sources])


def _described(
    train: list[Tokens], config: ModelConfig, recipe: ModelRecipe, start: LoadedModel | None
) -> dict[str, Any]:
    """Return what a resumed run must have in common with the run that it resumes."""
    described = {
        "recipe": asdict(recipe),
        "model": to_dict(config),
        "train_frames": sum(len(source.codes) for source in train),
        "optimizer": "muon",
    }
    return described if start is None else {**described, "of": start.digest}


def _learn(
    model: WhisperGPT,
    codec: Codec,
    batch: Batch,
    recipe: ModelRecipe,
    autocast: torch.dtype,
    task: PitchTask | None = None,
    guide: Guide | None = None,
) -> dict[str, torch.Tensor]:
    """Compute the gradients of one batch, clipped, and return its losses and its accuracy.

    The head of a second task learns by them at once.
    """
    with products_in(autocast, batch.codes.device):
        hidden = model.hidden(batch.codes[:, :-1, 0], batch.mels)
        logits = model.head(hidden)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=NO_TARGET)
        fine = fine_loss(model, codec, hidden, batch, recipe.fine_share)
        told = {} if task is None or batch.ahead is None else {"pitch_ahead": task.divergence(hidden, batch.ahead)}
    second = sum(recipe.pitch_ahead * loss for loss in told.values())
    learnt = loss
    if guide is not None:
        learnt = told["guided"] = guide.loss(logits.float(), batch)
    (learnt + recipe.fine_weight * fine + second).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if task is not None:
        task.step()
    known = batch.targets >= 0
    right = (logits.detach().argmax(-1)[known] == batch.targets[known]).float().mean()
    return {"train": loss, "train_accuracy": right, **({"fine": fine} if model.fine else {}), **told}


def _is_kept(recipe: ModelRecipe, step: int, score: float, best: float) -> bool:
    """Return whether the weights after a step replace those kept so far."""
    return step == recipe.steps if recipe.stall_share or recipe.pitch_ahead or recipe.guide else score < best


def _heard(sources: list[Tokens], config: ModelConfig) -> str:
    """Return the version of the sound that is most like the model's input in generation."""
    if all(OWN in source.mels for source in sources):
        return OWN
    return "decoded" if config.fine else "coarse"


def _crops(sources: list[Tokens], config: ModelConfig, recipe: ModelRecipe) -> TokenCrops:
    """Return crops of the versions that generation meets, with joins from a prompt to a continuation."""
    odds, join = {
        OWN: ({"original": 0.1, "decoded": 0.3, "coarse": 0.1, OWN: 0.5}, ("decoded", OWN)),
        "decoded": ({"original": 0.2, "decoded": 0.6, "coarse": 0.2}, ("original", "decoded")),
        "coarse": (dict.fromkeys(VERSIONS, 1.0), ("decoded", "coarse")),
    }[_heard(sources, config)]
    share = recipe.join_share
    if recipe.originals:
        odds, share = {"original": 1.0}, 0.0
    shares, stalls = recipe.shares, recipe.stall_share
    return TokenCrops(sources, recipe.batch, recipe.crop_frames, recipe.seed, odds, join, share, shares, stalls)


@torch.inference_mode()
def _check(model: WhisperGPT, codec: Codec, crops: TokenCrops, device: torch.device) -> dict[str, float]:
    """Return held-out NLL and accuracy by version of the slices, and the finer codes' loss, on fixed crops."""
    model.eval()
    result: dict[str, float] = {}
    for version in crops.versions if model.hybrid else VERSIONS[:1]:
        nll, fine, right, count = 0.0, 0.0, 0, 0
        for index in range(CHECK_BATCHES):
            batch = crops.batch(1_000_000 + index, version).to(device)
            hidden = model.hidden(batch.codes[:, :-1, 0], batch.mels)
            logits, targets = model.head(hidden), batch.targets
            known = targets >= 0
            nll += float(F.cross_entropy(logits[known], targets[known], reduction="sum"))
            right += int((logits.argmax(-1)[known] == targets[known]).sum())
            count += int(known.sum())
            fine += float(fine_loss(model, codec, hidden, batch, 1.0)) / CHECK_BATCHES
        result |= {f"heldout_{version}": nll / count, f"accuracy_{version}": right / count}
        if model.fine:
            result[f"fine_{version}"] = fine
    model.train()
    # A token-only model has no slices, so its NLL is the same for every version.
    for version in crops.versions:
        result.setdefault(f"heldout_{version}", result["heldout_original"])
    return result
