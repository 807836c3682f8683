"""Muon: its matrices, beside PyTorch's own; and which weights it is given."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from whispergpt.engine.config import HYBRID, FineConfig
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.optimizers import ModelOptimizer, Muon, orthogonal

SHAPES = [(48, 48), (96, 32), (32, 96)]


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_are_brought_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * 1e-3
    before, after = torch.linalg.svdvals(matrix), torch.linalg.svdvals(orthogonal(matrix))
    assert before[0] / before[-1] > 3
    assert after.min() > 0.5 and after.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    alike = torch.nn.functional.cosine_similarity(orthogonal(matrix).flatten(), (left @ right).flatten(), dim=0)
    assert alike > 0.98, "the directions stay"


@pytest.mark.parametrize("shape", SHAPES)
def test_it_steps_as_pytorchs_own_does(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    start = ours.detach().clone()
    optimizer = Muon([ours], 0.01, 0.1)
    reference = torch.optim.Muon([theirs], 0.01, 0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(shape)
        for weight, stepper in ((ours, optimizer), (theirs, reference)):
            weight.grad = gradient.clone()
            stepper.step()
    moved = (theirs - start).norm()
    assert moved > 0.1 and (ours - theirs).norm() < 0.02 * moved, "but for its products in bfloat16"


def test_every_weight_of_a_model_has_one_optimizer() -> None:
    torch.manual_seed(2)
    model = WhisperGPT(replace(HYBRID, fine=FineConfig()))
    optimizer = ModelOptimizer(model, 1e-3, 0.1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    optimizer.step(1e-3)
    changes = {
        name: (weight.detach() - before[name]).square().mean().sqrt() for name, weight in model.named_parameters()
    }
    # One learning rate moves all weights alike: by itself for AdamW's first step, by a fifth of it for Muon's.
    assert all(1e-4 < change < 1.2e-3 for change in changes.values()), changes
    assert all(weight.grad is None for weight in model.parameters())
