"""The frame step on a GPU as captured graphs of Triton kernels, one for each of a few batch sizes."""

from __future__ import annotations

import os
import shutil
import sysconfig
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from whispergpt.engine.block_pool import BlockPool
from whispergpt.engine.device import for_steps
from whispergpt.engine.gpu.emitter import UNUSED
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.language import INTERPRETED, MISSING
from whispergpt.engine.gpu.launch import ROW_BLOCK
from whispergpt.engine.gpu.replay import Run, compile_kernels, run_timed, runner
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, leaf

BATCHES = (64, 256, 1024, 2048, 4096, 8192)
"""Rows of the graphs, beside one for all slots. A step replays the smallest that holds its streams."""
OLDEST = (8, 0)
"""Least compute capability: the first with bfloat16 in its tensor cores."""


def missing_because(device: torch.device) -> str | None:
    """Return why the kernels cannot run on a CUDA ``device``, as one sentence; None where they can."""
    if MISSING is not None:
        return f"{MISSING}, so PyTorch computes the steps."
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs gcc or clang to start kernels and finds neither, so PyTorch computes the steps."
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "Triton needs the headers of Python to start kernels, so PyTorch computes the steps."
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        own, least = (".".join(map(str, version)) for version in (capability, OLDEST))
        return f"The GPU has compute capability {own} and the kernels need {least}, so PyTorch computes the steps."
    return None


class GpuPath:
    """Kernels that compute each row by itself: a stream's frame does not depend on the other streams or their number.

    A step copies the slots of its rows to the device, replays a graph, and copies codes and samples back to pinned
    memory: samples to a block that the caller keeps. The host waits only for that last copy. In Triton's interpreter
    the kernels run one by one instead.

    Args:
        state: its rings' format is also that of products: bfloat16 or float32.

    Attributes:
        kernels: launches in a step.
        low_pass: limits of the slots' streams, by which their samples are filtered.
    """

    slow_because: str | None = None

    def __init__(self, frame_step: FrameStep, state: State, slots: int, device: torch.device) -> None:
        self.dtype = leaf(branch(branch(branch(state, "model"), "stack"), "0"), "keys").dtype
        self._device = device
        self._program = FrameProgram(frame_step, state, slots, self.dtype)
        self.low_pass = self._program.low_pass
        rows, captured = self._program.rows, device.type == "cuda"
        self._slots_here = torch.full((rows,), UNUSED, dtype=torch.int32, pin_memory=captured)
        self._codes_here = torch.zeros_like(self._program.codes, device="cpu", pin_memory=captured)
        self._blocks = BlockPool(slots, pinned=captured)
        self._batches = batches(rows)
        self.kernels = len(self._program.launches)
        self.name = f"triton-{_version()}"
        if captured:
            self._done = torch.cuda.Event()
        with for_steps(device), torch.inference_mode():
            self._whole, self._by_stage = self._prepare()

    @torch.inference_mode()
    def step(
        self, slots: list[int] | npt.NDArray[np.int64], stages: dict[str, float] | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        count = len(slots)
        rows = next(rows for rows in self._batches if rows >= count)
        self._slots_here[:count] = torch.as_tensor(slots, dtype=torch.int32)
        self._slots_here[count:rows] = UNUSED
        samples = self._blocks.take(count)
        with for_steps(self._device):
            self._program.slots[:rows].copy_(self._slots_here[:rows], non_blocking=True)
            if stages is None:
                self._whole[rows]()
            else:
                self._run_timed(rows, stages)
            self._codes_here[:count].copy_(self._program.codes[:count], non_blocking=True)
            torch.from_numpy(samples).copy_(self._program.samples[:count], non_blocking=True)
            if self._device.type == "cuda":
                self._done.record()
                self._done.synchronize()
        return self._codes_here[:count].numpy().copy(), samples

    def _run_timed(self, rows: int, stages: dict[str, float]) -> None:
        """Run a step in parts, and add the seconds of each to its stage, as the device's own clock tells them."""
        parts = self._by_stage[rows]
        if self._device.type != "cuda":
            for _, run in parts:
                run()
            return
        run_timed(parts, stages)

    def _prepare(self) -> tuple[dict[int, Run], dict[int, list[tuple[str, Run]]]]:
        """Return for each batch size the whole step, and its parts by stage for steps that are timed.

        On a GPU each is a captured graph. The run before the first capture compiles the kernels. No row has a slot
        then, so that no state changes.
        """
        launches = self._program.launches
        compile_kernels(launches, ROW_BLOCK, self._device)
        pool = None if self._device.type != "cuda" else torch.cuda.graph_pool_handle()
        whole, parts = {}, {}
        for rows in self._batches:
            whole[rows] = runner(launches, rows, self._device, pool)
            by_stage = ((stage, list(of_stage)) for stage, of_stage in groupby(launches, lambda launch: launch.stage))
            parts[rows] = [(stage, runner(of_stage, rows, self._device, pool)) for stage, of_stage in by_stage]
        return whole, parts


def workspace_bytes(frame_step: FrameStep, dtype: torch.dtype) -> int:
    """Return the bytes of the kernels' workspaces for each slot, counted without making any."""
    state = frame_step.init_state(1, torch.device("meta"), dtype)
    return FrameProgram(frame_step, state, ROW_BLOCK, dtype).row_bytes


def batches(rows: int) -> list[int]:
    """Return the batch sizes for up to ``rows`` rows, rising, the last ``rows`` itself."""
    return [size for size in BATCHES if size < rows] + [rows]


def _version() -> str:
    import triton

    return f"{triton.__version__}{'-interpreted' if INTERPRETED else ''}"
