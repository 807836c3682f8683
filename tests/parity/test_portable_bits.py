"""Float32 has the same bits on all processors: with vectors of any width, by any compiler, and on ARM."""

from __future__ import annotations

import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from torch import Tensor

from tests.parity.test_native_step import MODELS, busy_state, frame_step
from tests.support.emulated_kernels import emulated, leaves, reach
from tests.support.kernels import kernels_expected
from tests.support.portable_streams import Played, continued, engine_and_prompt, played
from tests.support.rings import paired
from tests.support.tools import require_tool
from whispergpt.engine.checkpoints.checkpoint import load_model
from whispergpt.engine.config import HOP, LIMITS_HZ, NO_LIMIT
from whispergpt.engine.low_pass import HISTORY, LowPass
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import branch, clone, leaf, map_state
from whispergpt.engine.native.builds import build
from whispergpt.engine.native.codec_program import DecodeProgram, EncodeProgram
from whispergpt.engine.native.frame_program import FrameProgram
from whispergpt.engine.native.library import Library, load_library, open_library, processor_targets
from whispergpt.engine.native.read_program import ReadProgram
from whispergpt.engine.native.targets import TARGETS
from whispergpt.engine.native.weights import Weights

pytestmark = pytest.mark.skipif(not kernels_expected(), reason="no compiler, or a processor without kernels")
CPU = torch.device("cpu")
ARM = {target.name: target for target in TARGETS if "aarch64" in target.machines}
FRAMES, SLOTS = 8, 2


@pytest.fixture(scope="module")
def step() -> FrameStep:
    return load_model("speech", CPU).step


@pytest.fixture(scope="module")
def here(step: FrameStep) -> dict[str, Tensor]:
    return results(step, load_library())


def test_other_widths_and_clang(
    step: FrameStep, here: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sixteen floats as AVX-512 has them, here by way of narrower registers, or eight."""
    monkeypatch.setenv("CXX", require_tool("clang++"))
    flags = ("-O1", "-Wall", "-Wextra", "-Werror")  # -O1 compiles sooner
    other = 8 if load_library().functions.whispergpt_panel() == 32 else 16
    library = open_library(build(processor_targets()[0], tmp_path, f"-DLANES={other}", *flags))
    assert library.functions.whispergpt_panel() == 2 * other
    assert_same_bits(results(step, library), here)
    assert torch.equal(int8_logits(step, library), int8_logits(step, load_library()))


def test_arm(step: FrameStep, here: dict[str, Tensor], tmp_path: Path) -> None:
    library = emulated(ARM["aarch64"], tmp_path, "aarch64-linux-gnu-g++")
    assert_same_bits(results(step, library), here)
    assert torch.equal(int8_logits(step, library), int8_logits(step, load_library()))


def test_arm_with_bfloat16(tmp_path: Path) -> None:
    """By clang: products of bfloat16 are near those here, and float32 and int8 have the same bits still."""
    library = emulated(ARM["aarch64-bf16"], tmp_path, "clang++", "--target=aarch64-linux-gnu", "-O1")
    assert library.functions.whispergpt_multiplies_pairs()
    step = frame_step(*MODELS["hybrid"])
    start = busy_state(step)

    def logits(made: Library, dtype: torch.dtype) -> Tensor:
        state = paired(start) if dtype == torch.bfloat16 else clone(start)
        program = FrameProgram(step, state, SLOTS, Weights(made, dtype))
        reach(program)
        program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
        return leaf(state, "logits")[:SLOTS]

    assert torch.equal(logits(library, torch.float32), logits(load_library(), torch.float32))
    assert torch.equal(int8_logits(step, library), int8_logits(step, load_library()))
    found, wanted = (logits(made, torch.bfloat16) for made in (library, load_library()))
    assert float((found - wanted).norm() / wanted.norm()) < 0.01


def int8_logits(step: FrameStep, library: Library) -> Tensor:
    """Logits of two streams after two frames in int8."""
    torch.manual_seed(0)
    state = busy_state(step, torch.int8)
    map_state(lambda t: t.zero_() if t.dtype == torch.int8 else t, state)  # the layout of rings differs
    program = FrameProgram(step, state, SLOTS, Weights(library, torch.int8))
    reach(program)
    for _ in range(2):
        program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
    return leaf(state, "logits")[:SLOTS]


def assert_same_bits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, wanted[name]), name


@torch.inference_mode()
def results(step: FrameStep, library: Library) -> dict[str, Tensor]:
    """Codes, sound and the whole state after a prompt of noise and some frames of two streams, which torch has too."""
    weights, draw = Weights(library), torch.Generator().manual_seed(0)
    left = {"encoder": step.codec.init_encoder_state(1, CPU), "decoder": step.codec.init_decoder_state(1, CPU)}
    left |= {"reader": step.init_state(1, CPU), "streams": step.init_state(SLOTS, CPU)}
    encode = EncodeProgram(step.codec, left["encoder"], FRAMES, weights)
    encode.audio[:] = 0.1 * torch.randn(FRAMES, HOP, generator=draw).numpy()
    decode = DecodeProgram(step.codec, len(encode.codes), left["decoder"], FRAMES, weights)
    read = ReadProgram(step, left["reader"], FRAMES, weights)
    streams = left["streams"]
    program = FrameProgram(step, streams, SLOTS, weights)
    for each in (encode, decode, read, program):
        reach(each)
    encode.run(FRAMES)
    decode.codes[:] = encode.codes
    decode.run(FRAMES)
    read.codes[:], read.audio[:] = encode.codes[0], decode.audio
    read.run(FRAMES)
    # One stream follows the prompt, and the rings of the other are full.
    map_state(lambda to, of: to[:1].copy_(of), streams, left["reader"])
    for _, tensor in leaves(streams):
        if tensor.is_floating_point():
            tensor[1] = 0.3 * torch.randn(tensor[1].shape, generator=draw)
    leaf(branch(streams, "model"), "position")[1] = 9000
    for name, values in (("temperature", [1.0, 0.7]), ("top_k", [0, 50]), ("top_p", [1.0, 0.9]), ("seed", [1, 2])):
        leaf(branch(streams, "sampler"), name).copy_(torch.tensor(values))
    limits = LowPass(SLOTS)
    for each in (program.low_pass, limits):
        each.begin([1], [LIMITS_HZ[0]], [np.full(HISTORY, 100, np.int16)])
    wanted, made = clone(streams), {"codes": torch.from_numpy(encode.codes), "sound": torch.from_numpy(decode.audio)}
    for frame in range(4):
        program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
        codes, samples = step(wanted, torch.ones(SLOTS, dtype=torch.bool))
        assert program.codes.tolist() == codes.tolist()
        limits.apply(range(SLOTS), samples.numpy())
        assert np.abs(program.samples.astype(int) - samples.numpy()).max() <= 1
        made[f"samples {frame}"] = torch.from_numpy(program.samples.copy())
    return made | dict(leaves(left))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="this machine has no AVX2")
def test_streams_move_between_processors(tmp_path: Path) -> None:
    """Engines of this processor and of one with AVX2 alone have one fingerprint and play the same samples, also each of
    them from a snapshot of the other on."""
    engine, prompt = engine_and_prompt()
    assert prompt.limit_hz != NO_LIMIT, "the filter is compared too"
    ours = played(engine, prompt)
    (tmp_path / "ours").write_bytes(pickle.dumps(ours))
    wider = [name for name in __cpu_dispatch__ if __cpu_features__[name] and ("512" in name or "V4" in name)]
    narrow = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    narrow |= {"NPY_DISABLE_CPU_FEATURES": " ".join(wider)}
    code = "from tests.support.portable_streams import main; main()"
    command = [sys.executable, "-c", code, tmp_path / "ours", tmp_path / "theirs"]
    told = subprocess.run(command, env=os.environ | narrow, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("native-x86-64-v3")
    theirs, from_ours = pickle.loads((tmp_path / "theirs").read_bytes())
    assert engine.info().kernels.startswith(f"native-{processor_targets()[0].name}-")  # "engine ready" names them
    assert "/cpu/float32-portable/native-" in ours.fingerprint and theirs.fingerprint == ours.fingerprint
    assert_same_samples(theirs, ours)
    assert_same_samples(from_ours, ours)
    assert_same_samples(continued(engine, theirs), ours)


def assert_same_samples(found: Played, wanted: Played) -> None:
    for frame, (code, pcm) in found.frames.items():
        assert code == wanted.frames[frame][0] and np.array_equal(pcm, wanted.frames[frame][1]), frame
