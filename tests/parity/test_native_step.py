"""The compiled frame step equals torch's: codes, samples and state, for every kind of model and any company."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.emulated_kernels import leaves
from tests.support.kernels import kernels_expected
from tests.support.rings import paired, scales_of, unpaired_keys, unpaired_values
from whispergpt.engine.backends.step_path import NativePath, StepPath, TorchPath, step_path
from whispergpt.engine.config import (
    ENCODEC_24KHZ,
    GPT_L,
    GPT_S,
    HYBRID,
    SMALL_CODEC,
    CodecConfig,
    FineConfig,
    MelConfig,
    ModelConfig,
)
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.streaming import State, branch, clone, leaf, map_state
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.engine.native.builds import NativeError, build
from whispergpt.engine.native.check import find_kernels
from whispergpt.engine.native.frame_program import FrameProgram
from whispergpt.engine.native.library import (
    Library,
    _cache,
    _from_cache,
    _load_once,
    load_library,
    processor_targets,
)
from whispergpt.engine.native.read_program import ReadProgram
from whispergpt.engine.native.targets import FLAGS
from whispergpt.engine.native.weights import Weights

SLOTS = 5
DTYPES = [torch.float32, torch.bfloat16]
MODELS = {
    "hybrid": (HYBRID, SMALL_CODEC),
    "gpt-s": (GPT_S, SMALL_CODEC),
    "gpt-l": (replace(GPT_L, stack=replace(GPT_L.stack, layers=2)), SMALL_CODEC),
    "full-size codec": (HYBRID, ENCODEC_24KHZ),
    "long slices": (replace(HYBRID, mel=MelConfig(192, 4096, high_hz=6_000.0)), SMALL_CODEC),
    "fine stage": (replace(HYBRID, fine=FineConfig()), SMALL_CODEC),
    "nearest codes": (replace(HYBRID, fine=FineConfig(512, kind="nearest")), SMALL_CODEC),
    "no LSTM": (HYBRID, replace(SMALL_CODEC, lstm_layers=0)),
}


pytestmark = pytest.mark.skipif(not kernels_expected(), reason="no compiler, or a processor without kernels")


def frame_step(model: ModelConfig, codec: CodecConfig, half: bool = False) -> FrameStep:
    torch.manual_seed(0)
    made = FrameStep(Codec(codec), WhisperGPT(model)).eval().requires_grad_(False)
    for weight in made.model.parameters():
        weight.mul_(3 if weight.dim() > 1 else 1)  # far from uniform, so that codes depend on everything
    if half:
        made.load_state_dict({name: value.half().float() for name, value in made.state_dict().items()})
    made.pack()
    return made


def busy_state(step: FrameStep, kept_in: torch.dtype = torch.float32) -> State:
    """Slots in the middle of things, each at another position: a cold one, and rings that are about to wrap."""
    state = map_state(
        lambda t: torch.randn_like(t) * 0.3 if t.is_floating_point() else t,
        step.init_state(SLOTS, torch.device("cpu"), kept_in),
    )
    if kept_in == torch.int8:
        for _, ring in leaves(state):
            if ring.dtype == torch.int8:
                ring.random_(-127, 128)
                scales_of(ring).uniform_(0, 0.01)
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
            if not value.is_floating_point():
                assert torch.equal(value, other), f"{path}/{key} differs"
                continue
            scale = float(other.abs().max()) + 1.0
            assert float((value - other).abs().max()) < 5e-5 * scale, f"{path}/{key} differs"


@pytest.mark.parametrize("name", MODELS)
def test_equals_torch(name: str) -> None:
    step = frame_step(*MODELS[name])
    state = busy_state(step)
    compare(step, state, load_library())


def test_programs_of_one_model_share_their_weights() -> None:
    step, weights = frame_step(*MODELS["gpt-s"]), Weights(load_library())
    states = [step.init_state(1, torch.device("cpu")) for _ in range(2)]
    FrameProgram(step, states[0], 1, weights)
    held = sum(weight.numel() for weight, _ in weights._packed.values())
    FrameProgram(step, states[1], 1, weights)
    again = sum(weight.numel() for weight, _ in weights._packed.values())
    assert held <= again < 1.02 * held, "all but the convolutions whose windows are put together"


def test_half_precision_weights_equal_torch_too() -> None:
    """As they come from a model's files: kept in half precision, computed in single."""
    step = frame_step(*MODELS["hybrid"], half=True)
    program = compare(step, busy_state(step), load_library())
    packed = [weight for weight, _ in program._weights._packed.values() if weight.dtype == torch.float16]
    assert len(packed) > 40


def compare(step: FrameStep, state: State, library: Library) -> FrameProgram:
    """Six frames of all slots, by torch and by the kernels, from the same state."""
    native_state = clone(state)
    program = FrameProgram(step, native_state, SLOTS, Weights(library))
    slots, active = np.arange(SLOTS, dtype=np.int32), torch.ones(SLOTS, dtype=torch.bool)
    for _ in range(6):
        with torch.inference_mode():
            codes, samples = step(state, active)
        program.run(slots, 0, SLOTS)
        assert program.codes.tolist() == codes.tolist()
        assert np.abs(program.samples.astype(int) - samples.numpy()).max() <= 1
        assert_same(native_state, state)
    return program


@pytest.mark.parametrize("name", ["hybrid", "gpt-l"])
@pytest.mark.parametrize("window", [512, 50])
def test_rings_in_bfloat16_are_near_torchs(name: str, window: int) -> None:
    """Groups of one, two and four heads, over blocks whole and not; what is in no filled place is not seen."""
    config, codec = MODELS[name]
    step = frame_step(replace(config, stack=replace(config.stack, window=window)), codec)
    state = busy_state(step)
    leaf(branch(state, "model"), "position").copy_(torch.tensor([0, 37, window - 2, window - 1, 9000]))
    held = paired(state)
    stack = branch(branch(held, "model"), "stack")
    for layer in stack:
        leaf(branch(stack, layer), "values")[0] = float("nan")  # left by another stream
    before = clone(held)
    program = FrameProgram(step, held, SLOTS, Weights(load_library()))
    with torch.inference_mode():
        step(state, torch.ones(SLOTS, dtype=torch.bool))
    program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
    wanted, found = leaf(state, "logits"), leaf(held, "logits")
    assert 1e-6 < float((found - wanted).norm() / wanted.norm()) < 1e-2
    row, place = torch.arange(SLOTS), torch.tensor([0, 37, window - 2, window - 1, 9000 % window])
    for layer in stack:
        ring, old = branch(stack, layer), branch(branch(branch(before, "model"), "stack"), layer)
        reference = branch(branch(branch(state, "model"), "stack"), layer)
        for kind, unpaired in (("keys", unpaired_keys), ("values", unpaired_values)):
            now, was = unpaired(leaf(ring, kind), window), unpaired(leaf(old, kind), window)
            torch.testing.assert_close(
                now[row, :, place].float(), leaf(reference, kind)[row, :, place], rtol=0.02, atol=0.05
            )
            now[row, :, place] = was[row, :, place]
            if kind == "values":
                halves = (torch.tensor([0, 2]), slice(None), torch.tensor([1, window - 1]))
                assert (now[halves] == 0).all(), "the other halves of new pairs"
                now[halves] = was[halves]
            torch.testing.assert_close(now, was, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["hybrid", "nearest codes"])
def test_bfloat16_is_near_torch(name: str) -> None:
    """Inputs and weights of products have eight bits there: logits are within some hundredths."""
    step = frame_step(*MODELS[name])
    state = busy_state(step)
    logits = {}
    for dtype in DTYPES:
        held = clone(state)
        program = FrameProgram(step, held, SLOTS, Weights(load_library(), dtype))
        program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
        logits[dtype] = leaf(held, "logits")
    with torch.inference_mode():
        step(state, torch.ones(SLOTS, dtype=torch.bool))
    wanted = leaf(state, "logits")
    exact, rounded = (float((logits[dtype] - wanted).norm() / wanted.norm()) for dtype in DTYPES)
    assert exact < 1e-4 < rounded < 0.05


def test_bfloat16_is_the_same_thing_without_units_for_it() -> None:
    """What is no number stays so, in that stream alone."""
    step = frame_step(*MODELS["hybrid"])
    state = paired(busy_state(step))
    values = leaf(branch(branch(branch(state, "model"), "stack"), "0"), "values")
    values[1] = float("nan")
    logits = []
    for made in (load_library(), load_library(processor_targets()[-1])):
        held = clone(state)
        program = FrameProgram(step, held, SLOTS, Weights(made, torch.bfloat16))
        program.run(np.arange(SLOTS, dtype=np.int32), 0, SLOTS)
        logits.append(leaf(held, "logits"))
        assert logits[-1].isnan().any(1).tolist() == [slot == 1 for slot in range(SLOTS)]
    one, other = (each[[0, 2, 3, 4]] for each in logits)
    assert float((one - other).norm() / other.norm()) < 0.01


@pytest.mark.parametrize("name", ["hybrid", "nearest codes"])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int8])
def test_company_changes_no_bit(dtype: torch.dtype, name: str) -> None:
    """Each slot alone, all at once, and in two parts: the same bits, and other slots untouched."""
    step = frame_step(*MODELS[name])
    start = busy_state(step, dtype)
    together, alone, parts = clone(start), clone(start), clone(start)
    everyone = np.arange(SLOTS, dtype=np.int32)
    program = FrameProgram(step, together, SLOTS, Weights(load_library(), dtype))
    program.run(everyone, 0, SLOTS)
    single = FrameProgram(step, alone, 1, Weights(load_library(), dtype))
    for slot in reversed(range(SLOTS)):
        single.run(np.array([slot], np.int32), 0, 1)
        assert (single.codes[0] == program.codes[slot]).all()
        assert (single.samples[0] == program.samples[slot]).all()
        untouched = list(range(slot))
        assert torch.equal(leaf(alone, "logits")[untouched], leaf(start, "logits")[untouched])
    split = FrameProgram(step, parts, SLOTS, Weights(load_library(), dtype))
    split.run(everyone[::-1].copy(), 3, SLOTS)
    split.run(everyone[::-1].copy(), 0, 3)
    assert (split.samples[::-1] == program.samples).all()
    for other in (alone, parts):
        map_state(lambda a, b: pytest.fail("states differ") if not torch.equal(a, b) else a, together, other)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int8])
def test_threads_change_no_bit(dtype: torch.dtype) -> None:
    """Sixteen slots over four threads, in any order, and in parts of every size."""
    step = frame_step(*MODELS["hybrid"])
    start = map_state(lambda t: t.repeat(4, *[1] * (t.dim() - 1))[:16].clone(), busy_state(step, dtype))
    expected, threaded, parts = clone(start), clone(start), clone(start)
    order = np.random.default_rng(0).permutation(16).astype(np.int32)
    program, path = (
        FrameProgram(step, expected, 16, Weights(load_library(), dtype)),
        NativePath(step, threaded, 16, Weights(load_library(), dtype), threads=4),
    )
    split = FrameProgram(step, parts, 16, Weights(load_library(), dtype))
    for _ in range(5):
        program.run(order, 0, 16)
        codes, samples = path.step(order.tolist())
        assert (codes == program.codes).all() and (samples == program.samples).all()
        for begin, end in ((0, 1), (1, 3), (3, 6), (6, 10), (10, 16)):
            split.run(order, begin, end)
        assert (split.codes == program.codes).all() and (split.samples == program.samples).all()
    for other in (threaded, parts):
        map_state(lambda a, b: pytest.fail("states differ") if not torch.equal(a, b) else a, expected, other)


@pytest.mark.parametrize("window", [512, 1000, 8192])
def test_mel_windows_without_kernels_are_refused(window: int) -> None:
    step = frame_step(replace(HYBRID, mel=replace(HYBRID.mel, window=window)), SMALL_CODEC)
    with pytest.raises(NativeError, match="mel windows"):
        FrameProgram(step, step.init_state(1, torch.device("cpu")), 1, Weights(load_library()))


def test_a_codec_of_other_frames_is_refused() -> None:
    step = frame_step(GPT_S, replace(SMALL_CODEC, n_filters=32, ratios=(8, 5, 4)))
    with pytest.raises(NativeError, match="320"):
        FrameProgram(step, step.init_state(1, torch.device("cpu")), 1, Weights(load_library()))


def path_of(step: FrameStep) -> StepPath:
    cpu = torch.device("cpu")
    return step_path(step, step.init_state(8, cpu), 8, cpu, find_kernels(step, cpu))


def test_sizes_without_kernels_run_by_torch() -> None:
    odd = replace(GPT_S, stack=replace(GPT_S.stack, width=24, heads=2, hidden=40), code_width=24)
    step = frame_step(odd, SMALL_CODEC)
    path = path_of(step)
    assert isinstance(path, TorchPath) and path.slow_because is not None
    assert "multiples of 16" in path.slow_because


def test_without_a_compiler_torch_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler and nothing built yet: slower, saying so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("whispergpt.engine.native.library.prebuilt_library", lambda target: None)
    _load_once.cache_clear()
    step = frame_step(*MODELS["hybrid"])
    path = path_of(step)
    assert isinstance(path, TorchPath) and path.slow_because is not None
    assert "no C++ compiler" in path.slow_because
    codes, samples = path.step([2, 5])
    assert codes.shape == (2, 1) and samples.shape == (2, 320)
    monkeypatch.undo()
    _load_once.cache_clear()
    assert isinstance(path_of(step), NativePath)


def test_kernels_that_compute_something_else_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine compares before it trusts: here the samples come out wrong."""
    step = frame_step(*MODELS["hybrid"])
    assert isinstance(path_of(step), NativePath)
    real = FrameProgram.run

    def wrong(self: FrameProgram, slots: np.ndarray, begin: int, end: int) -> dict[str, float]:
        seconds = real(self, slots, begin, end)
        self.samples[:] = self.samples // 2
        return seconds

    monkeypatch.setattr(FrameProgram, "run", wrong)
    path = path_of(step)
    assert isinstance(path, TorchPath) and path.slow_because is not None
    assert "do not compute what torch does" in path.slow_because


def test_kernels_that_take_prompts_in_wrongly_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    step = frame_step(*MODELS["hybrid"])
    real = ReadProgram.run

    def wrong(self: ReadProgram, frames: int) -> None:
        real(self, frames)
        leaf(self._state, "logits").mul_(1.1)

    monkeypatch.setattr(ReadProgram, "run", wrong)
    path = path_of(step)
    assert isinstance(path, TorchPath) and path.slow_because is not None
    assert "do not compute what torch does" in path.slow_because


def test_a_failing_compiler_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'a note' >&2\necho 'error: no space left' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", f"{broken} --with-arguments")
    with pytest.raises(NativeError, match="error: no space left"):
        build(processor_targets()[0], tmp_path)
    assert not list(tmp_path.glob("*.so"))


def test_builds_are_kept_and_damaged_ones_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("whispergpt.engine.native.builds.FLAGS", (*FLAGS, "-O0"))
    first = _from_cache(processor_targets()[0])
    (kept,) = (tmp_path / "whispergpt").glob("*.so")
    made = kept.stat().st_mtime_ns
    assert _from_cache(processor_targets()[0]).name == first.name
    assert kept.stat().st_mtime_ns == made, "built again"
    # Elsewhere, since a path that is loaded stays so in this process.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    damaged = tmp_path / "other" / "whispergpt" / kept.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a library")
    assert _from_cache(processor_targets()[0]).name == first.name
    assert damaged.stat().st_size > 10_000


def test_a_cache_that_others_can_write_is_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _cache() == tmp_path / "whispergpt"
    (tmp_path / "whispergpt").chmod(0o777)
    with pytest.raises(OSError, match="others may write to it"):
        _cache()
