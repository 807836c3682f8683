"""Training by preference (DPO): of two continuations of a prompt the better one becomes likelier than the worse one.

Rafailov et al., "Direct Preference Optimization" (2023, arXiv 2305.18290), equation 7. Beside it the model goes on to
learn the true continuations, without which it would forget recordings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm, trange

from whispergpt.engine.checkpoints.checkpoint import LoadedModel, save_model
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.optimizers import ModelOptimizer
from whispergpt.training.precision import products_in
from whispergpt.training.preference.draws import Codes, Examples
from whispergpt.training.run import Run, learning_rate
from whispergpt.training.scalars import Means
from whispergpt.training.tokens.tokens import Mels

CHECK_EVERY = 20
"""Steps between two checks."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PreferenceRecipe:
    """Recipe of training by preference.

    ``pairs``: pairs of continuations in a step; as many recordings are learnt beside them. ``sharpness``: DPO's β, for
    log-likelihoods in nats of whole continuations. ``recordings``: weight of the recordings' NLL in nats a code.
    """

    steps: int = 80
    pairs: int = 4
    peak_rate: float = 3e-4
    warmup: int = 10
    sharpness: float = 0.05
    recordings: float = 0.5
    seed: int = 0


def train_preference(
    examples: Examples,
    heldout: tuple[Codes, Mels],
    start: LoadedModel,
    prompt_frames: int,
    out: Path,
    recipe: PreferenceRecipe,
    device: torch.device,
    autocast: torch.dtype,
    boards: Path | None = None,
) -> None:
    """Train, resuming a run in ``out``, and write a model folder beside the log, with the weights of the last step.

    The fine stage and the codec stay as they are.

    Args:
        heldout: recordings to check with, that are not among the examples.
        boards: folder for TensorBoard.

    Raises:
        ValueError: ``out`` has a run of another configuration, or no checkpoint can be written there.
    """
    torch.manual_seed(recipe.seed)
    model = WhisperGPT(start.step.model.config)
    model.load_state_dict(start.step.model.state_dict())
    model = model.to(device).eval()  # without dropout, so that both continuations are seen by one model
    if model.fine is not None:
        model.fine.requires_grad_(False)
    optimizer = ModelOptimizer(model, recipe.peak_rate, 0.0)
    described = {"recipe": asdict(recipe), "examples": examples.key, "of": start.digest}
    run = Run(out, described, {"model": model, **optimizer.parts}, boards=boards)
    learner = Learner(model, examples, prompt_frames, recipe, autocast)  # before the checkpoint's weights are loaded
    first = run.resume()
    if first == 0:
        run.log(0, heldout_decoded=learner.nll(*heldout))
    means = Means()
    for step in trange(first, recipe.steps, initial=first, total=recipe.steps, desc="preference", disable=None):
        means.add(learner.learn(step))
        with products_in(autocast, device):
            optimizer.step(learning_rate(step, recipe.steps, recipe.peak_rate, recipe.warmup))
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == recipe.steps:
            run.log(step + 1, **means.take(), heldout_decoded=learner.nll(*heldout))
            means = Means()
        run.save(step + 1)
    save_model(out, model, start.step.plain_codec, start.defaults, start.licence)
    run.save(recipe.steps, force=True)


class Learner:
    """A model that learns from examples; ``before``: log-likelihoods of their continuations at the start, in nats."""

    def __init__(
        self,
        model: WhisperGPT,
        examples: Examples,
        prompt_frames: int,
        recipe: PreferenceRecipe,
        autocast: torch.dtype,
    ) -> None:
        self._model, self._examples, self._border = model, examples, prompt_frames
        self._recipe, self._autocast = recipe, autocast
        self._device = next(model.parameters()).device
        self.before = self._log_likelihoods_of_pairs()

    def learn(self, step: int) -> dict[str, Tensor]:
        """Compute the gradients of one step, clipped, and return its losses."""
        examples, recipe = self._examples, self._recipe
        pairs = examples.pairs
        chosen = dealt(len(examples.codes) * pairs, recipe.pairs, step, recipe.seed)
        prompts, ranks = chosen // pairs, chosen % pairs
        rows = np.concatenate([ranks, ranks + pairs])
        both = self._log_likelihoods(np.tile(prompts, 2), rows)
        better, worse = (both - self.before[np.tile(prompts, 2), rows].to(self._device)).chunk(2)
        preference = -F.logsigmoid(recipe.sharpness * (better - worse)).mean()
        preference.backward()
        recordings = self._recordings_nll(prompts)
        (recipe.recordings * recordings).backward()  # by itself, so that less is in memory at once
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        right = (better > worse).float().mean()
        return {
            "train": preference,
            "right": right,
            "better": better.mean(),
            "worse": worse.mean(),
            "decoded": recordings,
        }

    @torch.no_grad()
    def nll(self, codes: Codes, mels: Mels) -> float:
        """Return the mean NLL in nats of recordings' codes ``[N, T]`` but the first ones."""
        return float(
            torch.stack([self._losses(codes[i : i + 1], mels[i : i + 1]).mean() for i in range(len(codes))]).mean()
        )

    @torch.no_grad()
    def _log_likelihoods_of_pairs(self) -> Tensor:
        """Return the log-likelihood in nats of every continuation but the true one, ``[N, 2·pairs]``."""
        rows = np.arange(2 * self._examples.pairs)
        prompts = range(len(self._examples.codes))
        shown = tqdm(prompts, desc="before", disable=None)
        return torch.stack([self._log_likelihoods(np.full_like(rows, prompt), rows).cpu() for prompt in shown])

    def _log_likelihoods(self, prompts: Indices, rows: Indices) -> Tensor:
        """Return the log-likelihood in nats of continuations behind their prompts, ``[n]``."""
        losses = self._losses(self._examples.codes[prompts, rows], self._examples.mels[prompts, rows])
        return -losses[:, self._border - 1 :].sum(1)

    def _recordings_nll(self, prompts: Indices) -> Tensor:
        """Return the mean NLL in nats of the recordings that prompts were cut from."""
        return self._losses(self._examples.codes[prompts, -1], self._examples.mels[prompts, -1]).mean()

    def _losses(self, codes: Codes, mels: Mels) -> Tensor:
        """Return the NLL in nats ``[n, T - 1]`` of each code of ``[n, T]`` but the first."""
        targets = torch.from_numpy(codes.astype(np.int64)).to(self._device)
        slices = torch.from_numpy(mels.astype(np.float32)).to(self._device)
        with products_in(self._autocast, self._device):
            logits = self._model.head(self._model.hidden(targets[:, :-1], slices[:, :-1]))
        losses = F.cross_entropy(logits.flatten(0, 1).float(), targets[:, 1:].flatten(), reduction="none")
        return losses.view(len(codes), -1)


def dealt(count: int, size: int, step: int, seed: int) -> Indices:
    """Return the ``size`` of ``count`` examples that a step learns from; all are dealt before any comes again."""
    epochs, places = divmod(np.arange(step * size, (step + 1) * size), count)
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(count) for epoch in set(epochs.tolist())}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places, strict=True)])
