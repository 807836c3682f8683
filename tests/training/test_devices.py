"""Every command of training with its tensors on a GPU, which is pretended: what a real one would refuse fails here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from tests.support.corpus import audio_set, shorten_codec_training
from tests.support.pretended_gpu import GPU, PretendedGpu
from whispergpt.engine.backends.step_path import TorchPath
from whispergpt.engine.checkpoints.checkpoint import LoadedModel, load_model, save_model
from whispergpt.engine.config import HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.codec.train import train_codec
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.lm import own_sound, train_fine, train_lm
from whispergpt.training.lm.evaluate import evaluate
from whispergpt.training.lm.start import start_from_slices
from whispergpt.training.study.studies import study_bands, study_context
from whispergpt.training.tokens import own_voice
from whispergpt.training.tokens.tokens import Tokens, tokenize

pytestmark = [
    pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN"),
    pytest.mark.filterwarnings("ignore:User provided device_type"),
]
SMALL = replace(HYBRID, fine=FineConfig(), stack=replace(HYBRID.stack, window=32))


@pytest.fixture(scope="module")
def data() -> AudioSet:
    """Two recordings of a second and a half."""
    draw = np.random.default_rng(0)
    return audio_set([draw.normal(0, 3_000, 36_000).astype(np.int16) for _ in range(2)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, WhisperGPT(SMALL), Codec(SMALL_CODEC), SamplingDefaults(), "CC0-1.0")
    return folder


@pytest.fixture(autouse=True)
def fewer_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_lm, "CHECK_BATCHES", 1)
    monkeypatch.setattr(train_fine, "CHECK_BATCHES", 1)


@pytest.fixture
def own_flags() -> Iterator[None]:
    """What training sets for a GPU does not stay for other tests."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = backends[0].allow_tf32, backends[1].allow_tf32, backends[1].benchmark
    backends[0].allow_tf32 = backends[1].benchmark = False
    yield
    backends[0].allow_tf32, backends[1].allow_tf32, backends[1].benchmark = before


def tokens_of(data: AudioSet, loaded: LoadedModel, cache: Path) -> Tokens:
    return tokenize(data, loaded.step.codec, SMALL.mel, [cache])[0]


def test_the_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with PretendedGpu() as gpu:
        here, there = torch.ones(3), torch.ones(3, device=GPU)
        assert there.device == GPU and here.device.type == "cpu" and (there * 2.0).device == GPU
        assert float((there + torch.tensor(1.0)).sum()) == 6.0, "a scalar may be anywhere"
        for mixed in (
            lambda: here + there,
            lambda: here.add_(there),
            lambda: torch.cat([here, there]),
            lambda: here[there > 0],
            lambda: torch.nn.functional.linear(there, here[None]),
        ):
            with pytest.raises(RuntimeError, match="two devices"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert there.cpu().numpy().sum() == 3 and there[torch.tensor([0, 2])].device == GPU
        moved = torch.nn.Linear(2, 2).to(GPU)
        moved(torch.ones(1, 2, device=GPU)).sum().backward()
        assert all(weight.grad is not None and weight.grad.device == GPU for weight in moved.parameters())
        with gpu.capturing():
            assert (there + 1).device == GPU
            for waits in (lambda: there.sum().item(), lambda: bool(there[0] > 0), lambda: there[there > 0], there.cpu):
                with pytest.raises(RuntimeError, match="not permitted when capturing"):
                    waits()


def test_slices_on_another_device_than_the_weights_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stopped ``train lm --device cuda`` once: the check that is made here would have seen it."""
    mels = np.random.default_rng(0).normal(-7, 1, (50, 80)).astype(np.float16)
    tokens = Tokens(np.zeros((50, 8), np.uint16), {"original": mels}, [(0, 50)])
    projection = torch.nn.Linear(80, 16)
    with PretendedGpu():
        projection.to(GPU)
        start_from_slices(projection, [tokens])
        assert projection.weight.device == GPU
        with pytest.raises(RuntimeError, match="two devices"):
            projection.weight.detach().div_(torch.from_numpy(mels).float().std(0))


@pytest.mark.parametrize("on_device", [False, True], ids=["crops from the host", "crops on the device"])
def test_a_codec(
    data: AudioSet, tmp_path: Path, on_device: bool, monkeypatch: pytest.MonkeyPatch, own_flags: None
) -> None:
    """All its stages; the graphs are left out, for a pretended GPU has none."""
    monkeypatch.setattr("whispergpt.training.codec.steps.graphs_of", lambda device: None)
    shorten_codec_training(monkeypatch, 52)
    recipe = CodecRecipe(
        steps=6,
        quantize_from=1,
        adversarial_from=3,
        adversary_alone=1,
        batch=2,
        crop_frames=10,
        adversary_filters=2,
        decoder_average=0.9,
        decoder_kept=0.25,
        on_device=on_device,
    )
    with PretendedGpu():
        train_codec(data, data, tmp_path, recipe, device=GPU)
        train_codec(data, data, tmp_path, replace(recipe, steps=7), device=GPU)  # it resumes
    assert (tmp_path / "codec.safetensors").exists()
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark) == (on_device, on_device)


def test_a_model_and_its_own_sound(
    data: AudioSet, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``lm`` and then ``own``; what a graph would play is played by torch."""
    monkeypatch.setattr(
        own_voice, "step_path", lambda step, state, slots, device, kernels: TorchPath(step, state, slots, device)
    )
    recipe = train_lm.ModelRecipe(steps=2, batch=1, crop_frames=40, warmup=1)
    with PretendedGpu():
        loaded = load_model(str(model), GPU)
        codec, tokens = loaded.step.codec, tokens_of(data, loaded, tmp_path)
        train_lm.train_lm([tokens], [tokens], codec, SMALL, tmp_path / "lm", recipe, "unknown", GPU)
        train_lm.train_lm([tokens], [tokens], codec, SMALL, tmp_path / "lm", replace(recipe, steps=3), "unknown", GPU)
        own = own_sound.with_own_sound(tokens, loaded, 0.5, tmp_path)
        train_lm.train_lm([own], [own], codec, SMALL, tmp_path / "own", recipe, "unknown", GPU, start=loaded)
    assert (tmp_path / "own" / "model.safetensors").exists()


@pytest.mark.parametrize("stage", [FineConfig(), FineConfig(32, kind="nearest")])
def test_a_fine_stage(data: AudioSet, model: Path, tmp_path: Path, stage: FineConfig) -> None:
    recipe = train_fine.FineRecipe(steps=2, batch=1, crop_frames=40)
    with PretendedGpu():
        loaded = load_model(str(model), GPU)
        tokens = tokens_of(data, loaded, tmp_path)
        train_fine.train_fine([tokens], [tokens], loaded, stage, tmp_path / "fine", recipe, GPU)
    assert (tmp_path / "fine" / "model.safetensors").exists()


@pytest.mark.parametrize("condition", ["original", "decoded"])
def test_scores_and_studies(data: AudioSet, model: Path, tmp_path: Path, condition: str) -> None:
    """They give what they give on a CPU."""
    for clip in data.clips:
        soundfile.write(tmp_path / f"{clip.path}.wav", data.samples(clip), 24_000)
    told = []
    for device in (torch.device("cpu"), GPU):
        with PretendedGpu():
            loaded = [load_model(str(model), device)]
            told.append([ask(tmp_path, loaded, condition) for ask in (evaluate, study_bands, study_context)])
    here, there = ([study["models"][0] for study in studies] for studies in told)
    assert there[0]["nll"] == pytest.approx(here[0]["nll"], abs=1e-3) and there[0]["frames"] == 2 * 111
    assert there[1]["lost_without_all"]["nll"] == pytest.approx(here[1]["lost_without_all"]["nll"], abs=1e-3)
    assert [way["frames"] for way in there[2]["by_context"]] == [way["frames"] for way in here[2]["by_context"]]
