"""SamplingParams draws from the distribution it is told to, by noise that depends on seed, frame and codebook alone."""

from __future__ import annotations

import math

import pytest
import torch

from whispergpt.engine.model.sampling import gumbel_noise, sample


def draw(
    logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, draws: int = 20_000
) -> torch.Tensor:
    """Codes of one distribution at many frames of one seed, in batches."""
    codes = []
    for start in range(0, draws, 2000):
        frame = torch.arange(start, start + 2000)
        full = torch.full_like
        codes.append(
            sample(
                logits.expand(2000, -1),
                full(frame, 7),
                frame,
                torch.full((2000,), temperature),
                full(frame, top_k),
                torch.full((2000,), top_p),
            )
        )
    return torch.cat(codes)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_softmax(temperature: float) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    found = torch.bincount(draw(logits, temperature), minlength=5) / 20_000
    wanted = (logits / temperature).softmax(0)
    # Four standard deviations of a binomial share.
    assert ((found - wanted).abs() < 4 * (wanted * (1 - wanted) / 20_000).sqrt() + 1e-4).all()


def test_temperature_zero_takes_the_likeliest_whatever_the_seed() -> None:
    logits = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    seeds = torch.arange(64)
    zeros = torch.zeros(64)
    codes = sample(logits, seeds, seeds * 3, zeros, torch.zeros(64, dtype=torch.int64), torch.ones(64))
    assert (codes == logits.argmax(-1)).all()


def test_top_k_keeps_exactly_k() -> None:
    logits = torch.linspace(0, 1, 50)
    assert set(draw(logits, temperature=2.0, top_k=3).tolist()) == {47, 48, 49}


def test_top_k_one_is_greedy() -> None:
    assert set(draw(torch.tensor([0.0, 0.1, 0.0]), top_k=1).tolist()) == {1}


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert set(draw(logits, top_p=0.7).tolist()) == {0, 1}
    assert set(draw(logits, top_p=0.81).tolist()) == {0, 1, 2}
    assert set(draw(logits, top_p=1e-6).tolist()) == {0}
    kept = torch.bincount(draw(logits, top_p=0.7), minlength=4) / 20_000
    assert abs(float(kept[0]) - 0.625) < 0.02  # renormalised over what is kept


def test_rows_have_their_own_parameters() -> None:
    logits = torch.tensor([[0.0, 0.2, 0.1]]).expand(3, -1)
    frame = torch.arange(3)
    codes = sample(
        logits, frame, frame, torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0, 1, 0]), torch.tensor([1.0, 1.0, 1e-9])
    )
    assert codes.tolist() == [1, 1, 1]


def test_a_row_does_not_depend_on_its_batch() -> None:
    logits = torch.randn(8, 1024, generator=torch.Generator().manual_seed(1))
    seed, frame = torch.arange(8) + 2**52, torch.arange(8) * 100
    temperature, top_k, top_p = torch.full((8,), 0.9), torch.zeros(8, dtype=torch.int64), torch.full((8,), 0.95)
    together = sample(logits, seed, frame, temperature, top_k, top_p)
    order = torch.tensor([5, 0, 7, 2, 1, 6, 3, 4])
    shuffled = sample(logits[order], seed[order], frame[order], temperature, top_k, top_p)
    assert (shuffled == together[order]).all()


def test_noise_is_gumbel_and_differs_by_seed_frame_and_codebook() -> None:
    seed, frame = torch.zeros(200, dtype=torch.int64), torch.arange(200)
    noise = gumbel_noise(seed, frame, 0, 1024)
    assert noise.isfinite().all()
    assert abs(float(noise.mean()) - 0.5772) < 0.02
    assert abs(float(noise.var()) - math.pi**2 / 6) < 0.05
    for other in (gumbel_noise(seed + 1, frame, 0, 1024), gumbel_noise(seed, frame, 1, 1024)):
        correlation = torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1]
        assert abs(float(correlation)) < 0.01
    between_frames = torch.corrcoef(torch.stack([noise[:-1].flatten(), noise[1:].flatten()]))[0, 1]
    assert abs(float(between_frames)) < 0.01


def test_largest_seed_is_its_own() -> None:
    frame = torch.zeros(2, dtype=torch.int64)
    noise = gumbel_noise(torch.tensor([2**53 - 1, 2**53 - 2]), frame, 0, 1024)
    assert (noise[0] != noise[1]).float().mean() > 0.99


def test_no_noise_is_infinite() -> None:
    """With 24 bits of randomness this draw rounded to 1, whose noise is infinite: once in some three minutes."""
    noise = gumbel_noise(torch.tensor([1]), torch.tensor([1100]), 0, 1024)
    assert torch.isfinite(noise).all() and float(noise.max()) < 17
    assert float(gumbel_noise(torch.arange(3000), torch.arange(3000), 0, 1024).max()) < 17
