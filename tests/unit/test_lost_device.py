"""A GPU that cannot be used, has too little memory, or is lost while streams play: a sentence, and no GPU is needed."""

from __future__ import annotations

import re
import sys
import threading

import numpy as np
import pytest
import torch

from whispergpt.engine.backends.step_path import workspace_bytes
from whispergpt.engine.checkpoints.checkpoint import ModelError
from whispergpt.engine.checkpoints.room import BESIDE_SLOTS, require_room
from whispergpt.engine.config import EngineOptions
from whispergpt.engine.device import DeviceError, loss_of_device, pick_device
from whispergpt.engine.engine import Engine
from whispergpt.engine.gpu import step as gpu_step
from whispergpt.engine.messages.commands import DropPrompt
from whispergpt.engine.process import worker
from whispergpt.engine.process.commands import Worker
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.prompts.prompt import PromptEncoder
from whispergpt.engine.stream_plan import SamplingParams

LOST = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later."
SENTENCE = (
    "The device is lost to this process (CUDA error: an illegal memory access was encountered); the engine has to be "
    "started again."
)
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("speech", "cpu", max_streams=2)


def lose(*_: object, **__: object) -> None:
    raise RuntimeError(LOST)


def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            OLD_DRIVER,
            r"The NVIDIA driver is too old for torch \S+, which needs one for CUDA \S+; update the driver",
        ),
        ("No CUDA GPUs are available", r"torch \S+ cannot use 'cuda:0': No CUDA GPUs are available$"),
    ],
)
def test_a_driver_that_is_too_old_is_named(said: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # as the driver's library says without CUDA
    monkeypatch.setattr(torch.cuda, "init", refuse)
    with pytest.raises(DeviceError, match=told):
        pick_device("cuda:0")


def test_a_device_without_a_number_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch makes no device without a number the current one."""
    made: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch._C, "_cuda_setDevice", made.append, raising=False)
    for name in ("cuda", "cuda:1"):
        torch.cuda.set_device(pick_device(name))
    assert made == [0, 1]


def test_too_little_memory_says_how_many_fit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is free, less what prompts and graphs take; workspaces of the kernels count."""
    free = BESIDE_SLOTS + 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**40))
    monkeypatch.setattr(gpu_step, "missing_because", lambda device: None)
    model, device = engine.model, torch.device("cuda")
    workspace = workspace_bytes(model.step, device, torch.bfloat16)
    assert 30_000 < workspace < 100_000

    def asked(slots: int) -> None:
        require_room(model, slots, device, torch.bfloat16, 64, workspace)

    with pytest.raises(ModelError) as refused:
        asked(8192)
    found = re.search(
        r"8192 streams, and can have 1\.0 GiB .*: (\d+) fit at most \(--max-streams \1\)", str(refused.value)
    )
    assert found is not None
    fit = int(found[1])
    assert fit % 64 == 0
    asked(fit)
    with pytest.raises(ModelError):
        asked(fit + 64)
    free = 2**20
    with pytest.raises(ModelError, match="too little for the 64 that are the fewest"):
        asked(64)


def test_a_lost_device_is_told_from_other_errors() -> None:
    assert loss_of_device(RuntimeError(LOST)) == SENTENCE
    assert loss_of_device(torch.AcceleratorError(LOST)) == SENTENCE
    assert loss_of_device(RuntimeError("Triton Error [CUDA]: unspecified launch failure")) is not None
    wrapped = RuntimeError("prompts cannot be encoded any more")
    wrapped.__cause__ = RuntimeError(LOST)
    assert loss_of_device(wrapped) == SENTENCE
    for other in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("CUDA error: out of memory"),
        ValueError(LOST),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ):
        assert loss_of_device(other) is None


def test_neither_prompts_nor_starts_go_on_without_the_device(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would end one by one, and the engine would seem to live."""
    prompt = engine.encode_prompt(noise())
    with monkeypatch.context() as patch:
        patch.setattr(type(engine._slots), "fill", lose)
        stream = engine.stream(prompt, SamplingParams(0, 1.0, 0, 1.0), 5)
        with pytest.raises(RuntimeError, match="CUDA error"):
            engine.step()
        engine.cancel(stream)
    rung = threading.Event()
    monkeypatch.setattr(PromptEncoder, "work", lose)
    desk = PromptDesk(0, rung.set)
    desk.open(1, engine, "")
    desk.append(1, noise())
    desk.commit(1)
    assert rung.wait(30)
    with pytest.raises(RuntimeError) as ended:
        desk.finished()
    assert loss_of_device(ended.value) == SENTENCE
    desk.close()
    monkeypatch.setattr(desk, "drop", lose)
    with pytest.raises(RuntimeError, match="CUDA error"):
        Worker({}, print, desk, None).handle(DropPrompt(1))  # type: ignore[arg-type]


def test_the_engines_process_says_so_and_ends(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    """In place of the loop, an error of the first step; the server starts a process that ended anew."""
    interval = sys.getswitchinterval()
    monkeypatch.setattr(Engine, "load", lambda *_: engine)
    monkeypatch.setattr(worker, "loop", lose)
    options = EngineOptions(
        models=["speech"], device="cpu", dtype="auto", max_streams=2, prompt_cache_bytes=0, max_load=0.7, exact=False
    )
    try:
        status = worker.serve(f"ipc://{tmp_path}/none", 0, options)
    finally:
        sys.setswitchinterval(interval)
    assert status == worker.DEVICE_LOST and capsys.readouterr().err.splitlines()[-1] == SENTENCE
