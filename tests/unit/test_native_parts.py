"""Parts of the compiled kernels: drawing with equal scores, and workspaces that share memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.kernels import kernels_expected
from whispergpt.engine.config import CODEBOOK_SIZE
from whispergpt.engine.model.sampling import sample
from whispergpt.engine.native import kernels as k
from whispergpt.engine.native.emitter import STAGES, Emitter, Signal
from whispergpt.engine.native.library import load_library
from whispergpt.engine.native.weights import Weights

pytestmark = pytest.mark.skipif(not kernels_expected(), reason="no compiler, or a processor without kernels")
SLOTS = 24


def run(program: Emitter, rows: int) -> None:
    program.complete()
    slots, seconds = np.arange(rows, dtype=np.int32), np.zeros(len(STAGES))
    program._library.whispergpt_run(program._handle, slots.ctypes.data, 0, rows, seconds.ctypes.data)


@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 100.0])
def test_codes_are_those_of_torch_where_scores_are_equal(spread: float) -> None:
    """Few different scores, zeros of both signs among them, and most codes far below the best or none."""
    draw = torch.Generator().manual_seed(0)
    logits = spread * torch.randint(-2, 3, (SLOTS, CODEBOOK_SIZE), generator=draw).float()
    logits[:, ::7] *= -1
    seed, frame = torch.arange(SLOTS), torch.arange(SLOTS) * 1000
    temperature = torch.tensor([1.0, 0.0, 0.3]).repeat(SLOTS // 3)
    top_k = torch.tensor([0, 7, 300, 1024]).repeat(SLOTS // 4)
    top_p = torch.tensor([1.0, 0.9, 0.3, 1.0, 0.6, 1.0]).repeat(SLOTS // 6)
    program, found = Emitter(Weights(load_library()), SLOTS), np.full(SLOTS, -1, np.int32)
    places = {"seed": seed, "frame": frame, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    addresses = {name: tensor.data_ptr() for name, tensor in places.items()}
    program.emit(k.Sample(k.Rows.of(logits), CODEBOOK_SIZE, **addresses, codes=k.codes_at(found)))
    run(program, SLOTS)
    assert found.tolist() == sample(logits, seed, frame, temperature, top_k, top_p).tolist()


@pytest.mark.parametrize("consecutive", [False, True])
def test_workspaces_share_memory_and_keep_what_is_needed(consecutive: bool) -> None:
    """A chain of sums, of which the first and the last but one are needed again at the end."""
    rows, width, links = 5, 48, 12
    start = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    program = Emitter(Weights(load_library()), rows, consecutive)
    first = program.window(Signal(k.Rows.of(start), 1, width), 0, None, through_elu=False)
    signals = [first]
    for _ in range(links):
        signals.append(program.window(signals[-1], 0, None, through_elu=False))
        program.emit(k.Add(first.rows, width, signals[-1].rows))
    program.emit(k.Add(signals[-2].rows, width, signals[-1].rows))
    out = torch.zeros(rows, width)
    program.emit(k.Keep(signals[-1].rows, width, k.Rows.of(out)))
    before = len(program._kept)
    run(program, rows)
    wanted: Tensor = start * (links + 1) + start * links
    torch.testing.assert_close(out, wanted)
    assert len(program._kept) - before == 3


def test_tiles_change_nothing_that_outlasts_them() -> None:
    """Twice the values, in the same workspaces for all tiles, beside the values themselves."""
    rows, width = 11, 48
    start = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    program, out = Emitter(Weights(load_library()), rows), torch.zeros(rows, width)
    first = program.window(Signal(k.Rows.of(start), 1, width), 0, None, through_elu=False)

    def twice(x: Signal) -> Signal:
        for _ in range(5):
            x = program.window(x, 0, None, through_elu=False)
        program.emit(k.Add(x.rows, width, x.rows))
        return x

    made = program.in_tiles(first, twice)
    program.emit(k.Add(first.rows, width, made.rows))
    program.emit(k.Keep(made.rows, width, k.Rows.of(out)))
    run(program, rows)
    torch.testing.assert_close(out, 3 * start)
