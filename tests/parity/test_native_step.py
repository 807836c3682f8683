"""The compiled frame step equals torch's: codes, samples and state, for every kind of model and any company."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.codec import Codec
from engine.config import ENCODEC_24KHZ, GPT_L, GPT_S, HYBRID, SMALL_CODEC, CodecConfig, ModelConfig
from engine.frame_step import FrameStep
from engine.model import WhisperGPT
from engine.native.library import NativeError, build, load_library, open_library, processor_level
from engine.native.program import FrameProgram
from engine.step_path import NativePath, TorchPath, pick_path
from engine.streaming import State, branch, clone, leaf, map_state

SLOTS = 5
MODELS = {
    "hybrid": (HYBRID, SMALL_CODEC),
    "gpt-s": (GPT_S, SMALL_CODEC),
    "gpt-l": (replace(GPT_L, stack=replace(GPT_L.stack, layers=2)), SMALL_CODEC),
    "full-size codec": (HYBRID, ENCODEC_24KHZ),
    "no LSTM": (HYBRID, replace(SMALL_CODEC, lstm_layers=0)),
}


def have_kernels() -> bool:
    try:
        load_library()
    except NativeError:
        return False
    return True


pytestmark = pytest.mark.skipif(not have_kernels(), reason="no compiler, or no kernels for this processor")


def frame_step(model: ModelConfig, codec: CodecConfig) -> FrameStep:
    torch.manual_seed(0)
    made = FrameStep(Codec(codec), WhisperGPT(model)).eval().requires_grad_(False)
    for weight in made.model.parameters():
        weight.mul_(3 if weight.dim() > 1 else 1)  # far from uniform, so that codes depend on everything
    made.pack()
    return made


def busy_state(step: FrameStep) -> State:
    """Slots in the middle of things, each at another position: a cold one, and rings that are about to wrap."""
    state = map_state(
        lambda t: torch.randn_like(t) * 0.3 if t.is_floating_point() else t,
        step.init_state(SLOTS, torch.device("cpu")),
    )
    leaf(branch(state, "model"), "position").copy_(torch.tensor([0, 37, 510, 511, 9000]))
    sampler = branch(state, "sampler")
    settings = {
        "seed": [1, 2, 3, 2**53 - 1, 5],
        "frame": [0, 1, 2, 1000, 10**7],
        "temperature": [1.0, 0.0, 0.7, 1.3, 0.9],
        "top_k": [0, 0, 40, 0, 1024],
        "top_p": [1.0, 1.0, 1.0, 0.9, 0.8],
    }
    for name, values in settings.items():
        leaf(sampler, name).copy_(torch.tensor(values))
    return state


def assert_same(ours: State, reference: State, path: str = "") -> None:
    for key, value in ours.items():
        other = reference[key]
        if isinstance(value, dict):
            assert isinstance(other, dict)
            assert_same(value, other, f"{path}/{key}")
        else:
            assert isinstance(other, torch.Tensor)
            # Rounding differs, and what it changes comes back through the loop, frame after frame.
            scale = float(other.abs().max()) + 1.0
            assert float((value - other).abs().max()) < 5e-5 * scale, f"{path}/{key} differs"


@pytest.mark.parametrize("name", MODELS)
def test_equals_torch(name: str) -> None:
    step = frame_step(*MODELS[name])
    state = busy_state(step)
    compare(step, state, load_library())


def compare(step: FrameStep, state: State, library: ctypes.CDLL) -> None:
    """Six frames of all slots, by torch and by the kernels, from the same state."""
    native_state = clone(state)
    program = FrameProgram(step, native_state, SLOTS, library)
    slots, active = np.arange(SLOTS, dtype=np.int32), torch.ones(SLOTS, dtype=torch.bool)
    for _ in range(6):
        with torch.inference_mode():
            codes, samples = step(state, active)
        program.run(slots, 0, SLOTS)
        assert program.codes.tolist() == codes.tolist()
        assert np.abs(program.samples.astype(int) - samples.numpy()).max() <= 1
        assert_same(native_state, state)


def test_wide_vectors_too(tmp_path: Path) -> None:
    """The kernels as AVX-512 has them, sixteen floats at a time, computed by narrower registers if need be."""
    if shutil.which("g++") is None:
        pytest.skip("no compiler")
    library = open_library(build(processor_level(), tmp_path, "-DLANES=16"))
    assert library.whispergpt_panel() == 32
    step = frame_step(*MODELS["hybrid"])
    compare(step, busy_state(step), library)


def test_company_changes_no_bit() -> None:
    """Each slot alone, all at once, and in two parts: the same bits, and other slots untouched."""
    step = frame_step(*MODELS["hybrid"])
    start = busy_state(step)
    together, alone, parts = clone(start), clone(start), clone(start)
    everyone = np.arange(SLOTS, dtype=np.int32)
    program = FrameProgram(step, together, SLOTS)
    program.run(everyone, 0, SLOTS)
    single = FrameProgram(step, alone, 1)
    for slot in reversed(range(SLOTS)):
        single.run(np.array([slot], np.int32), 0, 1)
        assert single.codes[0] == program.codes[slot]
        assert (single.samples[0] == program.samples[slot]).all()
        untouched = list(range(slot))
        assert torch.equal(leaf(alone, "logits")[untouched], leaf(start, "logits")[untouched])
    split = FrameProgram(step, parts, SLOTS)
    split.run(everyone[::-1].copy(), 3, SLOTS)
    split.run(everyone[::-1].copy(), 0, 3)
    assert (split.samples[::-1] == program.samples).all()
    for other in (alone, parts):
        map_state(lambda a, b: pytest.fail("states differ") if not torch.equal(a, b) else a, together, other)


def test_sizes_without_kernels_run_by_torch() -> None:
    odd = replace(GPT_S, stack=replace(GPT_S.stack, width=24, heads=2, hidden=40), code_width=24)
    step = frame_step(odd, SMALL_CODEC)
    path = pick_path(step, step.init_state(8, torch.device("cpu")), 8, torch.device("cpu"))
    assert isinstance(path, TorchPath) and path.slow_because is not None
    assert "multiples of 16" in path.slow_because


def test_without_a_compiler_torch_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler and nothing built yet: slower, saying so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    load_library.cache_clear()
    step = frame_step(*MODELS["hybrid"])
    state = step.init_state(8, torch.device("cpu"))
    path = pick_path(step, state, 8, torch.device("cpu"))
    assert isinstance(path, TorchPath) and path.slow_because is not None
    assert "no C++ compiler" in path.slow_because
    codes, samples = path.step([2, 5])
    assert codes.shape == (2,) and samples.shape == (2, 320)
    monkeypatch.undo()
    load_library.cache_clear()
    assert isinstance(pick_path(step, state, 8, torch.device("cpu")), NativePath)


def test_a_failing_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(NativeError, match="no space left"):
        build(processor_level(), tmp_path)
    assert not list(tmp_path.glob("*.so"))
