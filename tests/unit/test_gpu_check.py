"""The counted work of a GPU's step, and the verdicts of `make gpu-check`, which itself is part of CI."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whispergpt.benchmarks.gpu_check.compilation import Compiled
from whispergpt.benchmarks.gpu_check.interpretation import Comparison
from whispergpt.benchmarks.gpu_check.jobs import step_of
from whispergpt.benchmarks.gpu_check.work import bfloat16_program, modelled_seconds, work_of
from whispergpt.benchmarks.lower_bounds import H100
from whispergpt.engine.gpu.launch import Cost, Launch


@pytest.mark.parametrize("name", ["default", "drawn codes", "full-size codec", "token-only"])
def test_a_step_moves_little_more_than_the_least(name: str) -> None:
    step = step_of(name)
    work = work_of(step, bfloat16_program(step).launches)
    assert work.kernels == sum(work.by_name.values()) < 100
    assert 1 < work.above_floor < 1.3
    assert sorted(work.modelled.values()) == list(work.modelled.values())
    assert work.modelled[8192] < 6e-3
    assert 8192 < work.modelled_streams["H100"] < 50_000 and work.modelled_streams["L4"] < 4_000


def test_a_modelled_kernel_takes_the_longer_of_memory_and_arithmetic() -> None:
    reads = Launch(None, lambda rows: (rows,), {}, "lm", Cost(row_bytes=1000, shared_bytes=680_000))
    computes = replace(reads, cost=Cost(row_bytes=0, operations=3_956_000))
    assert modelled_seconds([reads], 2000, H100) == pytest.approx(1.5e-6 + 2_680_000 / 2.68e12)
    assert modelled_seconds([reads, computes], 2000, H100) == pytest.approx(3e-6 + 1e-6 + 2e-5)


def test_spills_and_shared_memory_decide_whether_a_kernel_fits() -> None:
    kernel = Compiled("one", 89, 4, 255, 0, 101_376, True, {})
    assert kernel.fits
    assert not replace(kernel, spilled=4).fits and not replace(kernel, shared=101_377).fits
    assert replace(kernel, capability=90, shared=200_000).fits


def test_a_comparison_passes_only_as_a_whole() -> None:
    equal = Comparison(200, True, 5e-5, 5e-5, True)
    assert equal.passed
    for other in ({"equal_codes": False}, {"sample_error": 2e-4}, {"state_error": 2e-4}, {"equal_in_company": False}):
        assert not replace(equal, **other).passed  # type: ignore[arg-type]
