"""Training from a folder of audio to a model that is served, through the command line; and resuming exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partialmethod
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tests.support.corpus import run_main, shorten_codec_training
from whispergpt.cli.train import models
from whispergpt.engine.checkpoints.checkpoint import save_model
from whispergpt.engine.config import GPT_L, GPT_S, HYBRID, SMALL_CODEC, FineConfig, SamplingDefaults
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.fine.drawn_stage import DrawnStage
from whispergpt.engine.model.fine.nearest_stage import NearestStage
from whispergpt.engine.model.quantizer import ResidualVectorQuantizer
from whispergpt.engine.model.whisper_gpt import WhisperGPT
from whispergpt.training.codec.recipe import CodecRecipe
from whispergpt.training.codec.start import start_codebooks
from whispergpt.training.codec.train import train_codec
from whispergpt.training.codec.vector_quantization import quantize_for_training, start_from_kmeans
from whispergpt.training.data.augmentation import Augmentation
from whispergpt.training.data.crops import Crops
from whispergpt.training.data.datasets import find_audio, load_prepared
from whispergpt.training.data.prepare import prepare
from whispergpt.training.lm import train_lm
from whispergpt.training.lm.start import start_from_frequencies, start_from_slices
from whispergpt.training.lm.unigram import unigram_score
from whispergpt.training.run import Run, learning_rate
from whispergpt.training.tokens.token_crops import Batch, TokenCrops
from whispergpt.training.tokens.tokens import Tokens, tokenize

RECIPE = CodecRecipe(steps=7, quantize_from=3, adversarial_from=5, batch=2, crop_frames=10, mel_from=(1, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers of two clips of eight seconds each, at 16 kHz: buzzing tones with a rhythm."""
    root = tmp_path_factory.mktemp("corpus")
    times = np.arange(16_000 * 8) / 16_000
    for speaker in range(2):
        for clip in range(2):
            path = root / f"speaker{speaker}" / "chapter" / f"{clip}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            pitch = 90 + 40 * speaker + 5 * clip
            tone = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 6))
            soundfile.write(path, 0.1 * tone * (np.sin(2 * np.pi * 2 * times) > -0.5), 16_000)
    return root


@pytest.fixture(autouse=True)
def half_a_minute_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.training.data.prepare.LEAST_SECONDS", 30.0)


def test_interrupted_and_resumed_equals_uninterrupted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "save", partialmethod(Run.save, force=True))
    shorten_codec_training(monkeypatch, 52)
    prepare([folder], tmp_path / "data", heldout=1)
    data = load_prepared([tmp_path / "data"])
    train, heldout = data.train, data.heldout
    train_codec(train, heldout, tmp_path / "straight", RECIPE)

    real = Crops.batch

    def pulled_plug(self: Crops, step: int) -> torch.Tensor:
        if step == 4:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(Crops, "batch", pulled_plug)
    with pytest.raises(KeyboardInterrupt):
        train_codec(train, heldout, tmp_path / "broken", RECIPE)
    monkeypatch.setattr(Crops, "batch", real)
    train_codec(train, heldout, tmp_path / "broken", RECIPE)
    straight, broken = (load_file(tmp_path / name / "codec.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(straight[key], broken[key]) for key in straight)


def test_a_model_resumes_behind_its_best_weights(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after the model folder was written: the run goes on, to the same weights."""
    monkeypatch.setattr(Run, "save", partialmethod(Run.save, force=True))
    monkeypatch.setattr(train_lm, "CHECK_EVERY", 2)
    prepare([folder], tmp_path / "data", heldout=1)
    data, codec, mel = load_prepared([tmp_path / "data"]), Codec(SMALL_CODEC).eval(), HYBRID.mel
    train, heldout = (tokenize(part, codec, mel, [tmp_path / "tokens"]) for part in (data.train, data.heldout))
    config = replace(HYBRID, fine=FineConfig())

    def run(name: str) -> None:
        recipe = train_lm.ModelRecipe(steps=4, batch=2, crop_frames=40, warmup=1)
        train_lm.train_lm(train, heldout, codec, config, tmp_path / name, recipe, "unknown")

    run("straight")
    real = TokenCrops.batch

    def pulled_plug(self: TokenCrops, step: int, version: str | None = None) -> Batch:
        if step == 3:
            raise KeyboardInterrupt
        return real(self, step, version)

    monkeypatch.setattr(TokenCrops, "batch", pulled_plug)
    with pytest.raises(KeyboardInterrupt):
        run("broken")
    assert (tmp_path / "broken" / "model.safetensors").exists()
    monkeypatch.setattr(TokenCrops, "batch", real)
    run("broken")
    straight, broken = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("straight", "broken")
    )
    assert all(torch.equal(straight[key], broken[key]) for key in straight)


def test_a_fine_stage_is_trained_anew_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    prepare([folder], tmp_path / "data", heldout=1)
    torch.manual_seed(0)
    codec = Codec(SMALL_CODEC)
    save_model(tmp_path / "model", WhisperGPT(replace(HYBRID, fine=FineConfig())), codec, SamplingDefaults(), "CC0-1.0")
    run = ("--model", str(tmp_path / "model"), "-o", str(tmp_path / "finer"), "--steps", "3", "--batch", "1")
    assert run_main("train", "fine", str(tmp_path / "data"), *run) == 0
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "finer"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fine"} and before.keys() == after.keys()
    assert Engine.load(str(tmp_path / "finer"), "cpu").model.licence == "CC0-1.0"
    (line,) = (json.loads(line) for line in (tmp_path / "finer" / "log.jsonl").read_text().splitlines())
    assert line["step"] == 3 and line["fine_decoded"] < np.log(1024)  # these recordings have few codes


def test_a_fine_stage_may_become_one_of_nearest_codes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare([folder], tmp_path / "data", heldout=1)
    torch.manual_seed(0)
    model = WhisperGPT(replace(HYBRID, fine=FineConfig()))
    save_model(tmp_path / "model", model, Codec(SMALL_CODEC), SamplingDefaults(), "CC0-1.0")

    def run(*more: str) -> int:
        where = ("--model", str(tmp_path / "model"), "-o", str(tmp_path / "finer"), "--batch", "1")
        return run_main("train", "fine", str(tmp_path / "data"), *where, *more)

    assert run("--kind", "nearest", "--width", "64", "--steps", "100") == 0
    made = Engine.load(str(tmp_path / "finer"), "cpu").model.step
    assert isinstance(made.model.fine, NearestStage) and made.model.fine.config.width == 64
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "finer"))
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("fine."))
    (line,) = (json.loads(line) for line in (tmp_path / "finer" / "log.jsonl").read_text().splitlines())
    assert line["step"] == 100 and line["fine_decoded"] < 1, "better than no estimate"
    assert run("--width", "64", "--steps", "101") == 2
    assert "model.fine.kind was nearest and is now drawn" in capsys.readouterr().err
    more = ("--model", str(tmp_path / "finer"), "-o", str(tmp_path / "own"), "--steps", "1", "--batch", "1")
    assert run_main("train", "own", str(tmp_path / "data"), *more, "--fine-temperature", "0.3") == 2
    assert "finer codes are not drawn, so they have no temperature" in capsys.readouterr().err
    assert run_main("train", "own", str(tmp_path / "data"), *more) == 0


def test_a_model_goes_on_with_its_own_sound(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_lm, "CHECK_BATCHES", 1)
    prepare([folder], tmp_path / "data", heldout=1)
    torch.manual_seed(0)
    codec = Codec(SMALL_CODEC)
    for name, config in (("fine", replace(HYBRID, fine=FineConfig())), ("plain", HYBRID)):
        save_model(tmp_path / name, WhisperGPT(config), codec, SamplingDefaults(temperature=0.7), "CC0-1.0")

    def run(model: str, *more: str) -> int:
        out = ("--model", str(tmp_path / model), "-o", str(tmp_path / "own"), "--batch", "1", *more)
        return run_main("train", "own", str(tmp_path / "data"), *out)

    assert run("fine", "--steps", "2", "--fine-temperature", "0.3") == 0
    made = Engine.load(str(tmp_path / "own"), "cpu").model
    fine = made.step.model.config.fine
    assert fine is not None and fine.temperature == 0.3
    assert made.defaults.temperature == 0.7 and made.licence == "CC0-1.0"
    lines = [json.loads(line) for line in (tmp_path / "own" / "log.jsonl").read_text().splitlines()]
    before, after = (line for line in lines if "heldout_own" in line)
    assert before["step"] == 0 and after["step"] == 2 and after["heldout_own"] < before["heldout_own"]
    assert {f"heldout_{version}" for version in ("original", "decoded", "coarse", "own")} <= before.keys()
    assert run("fine", "--steps", "3", "--fine-temperature", "0.4") == 2, "another run"
    assert "model.fine.temperature was 0.3 and is now 0.4" in capsys.readouterr().err
    assert json.loads((tmp_path / "own" / "run.json").read_text())["recipe"]["crop_frames"] == 768
    assert run("fine", "--steps", "1", "--window", "900", "-o", str(tmp_path / "farther")) == 0
    assert Engine.load(str(tmp_path / "farther"), "cpu").model.step.model.config.stack.window == 900
    assert json.loads((tmp_path / "farther" / "run.json").read_text())["recipe"]["crop_frames"] == 1_350
    assert run("plain") == 2
    assert "has no fine stage" in capsys.readouterr().err


def test_a_run_with_stalls_keeps_its_last_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rate at which NLL rises from the first check on, so that another run keeps what it began with."""
    monkeypatch.setattr(train_lm, "CHECK_BATCHES", 1)
    monkeypatch.setattr(models, "OWN_RECIPE", train_lm.ModelRecipe(warmup=1))
    prepare([folder], tmp_path / "data", heldout=1)
    torch.manual_seed(0)
    model = WhisperGPT(replace(HYBRID, fine=FineConfig()))
    save_model(tmp_path / "start", model, Codec(SMALL_CODEC), SamplingDefaults(), "CC0-1.0")
    started = load_file(tmp_path / "start" / "model.safetensors")
    for share in ("0", "0.9"):
        out = ("--model", str(tmp_path / "start"), "-o", str(tmp_path / share), "--batch", "1", "--steps", "2")
        assert run_main("train", "own", str(tmp_path / "data"), *out, "--stall-share", share, "--rate", "5") == 0
        kept = load_file(tmp_path / share / "model.safetensors")
        assert any(not torch.equal(kept[name], started[name]) for name in kept) == (share == "0.9")
        assert json.loads((tmp_path / share / "run.json").read_text())["recipe"]["stall_share"] == float(share)


def test_a_fine_stage_starts_with_the_frequencies_of_codes() -> None:
    draw = np.random.default_rng(0)
    codes = draw.geometric(0.02, (5_000, 8)).clip(1, 1024).astype(np.uint16) - 1
    fine, hidden = DrawnStage(FineConfig(), 16), torch.randn(5_000, 16)
    start_from_frequencies(fine, [Tokens(codes, np.zeros((3, 5_000, 80), np.float16), [(0, 5_000)])])
    now = torch.from_numpy(codes.astype(np.int64))
    logits = fine(hidden, torch.randn(5_000, 128), now, list(torch.randn(8, 1024, 128)))
    wanted = np.mean([unigram_score(book, book)["unigram_nll"] for book in codes.T[1:]])
    found = F.cross_entropy(logits.flatten(0, 1), now[:, 1:].flatten()).item()
    assert found == pytest.approx(wanted, abs=1e-3)


def test_a_hybrid_starts_with_equal_halves() -> None:
    """Code and slices are equally large in what the stack reads, and slices differ from frame to frame."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    mels = (draw.normal(-7, 0.5, (4_000, 80)) * np.linspace(0.5, 1.5, 80)).astype(np.float16)
    tokens = Tokens(draw.integers(0, 1024, (4_000, 8)).astype(np.uint16), {"original": mels}, [(0, 4_000)])
    model = WhisperGPT(HYBRID).eval()
    assert model.slice_projection is not None and model.slice_stack is not None
    start_from_slices(model.slice_projection, [tokens])
    with torch.inference_mode():
        projected = model.slice_projection(torch.from_numpy(mels).float())
        heard = model.slice_stack(projected[None, :400])
        said = model.code_embedding(torch.from_numpy(tokens.codes[:400, 0].astype(np.int64)))
    assert float(projected.mean(0).abs().max()) < 0.02 and 0.8 < float(projected.std()) < 1.2
    assert 0.5 < float(heard.std() / said.std()) < 2
    assert float(heard.std(1).mean() / heard.std()) > 0.9, "what stands in every frame is little"


def test_linked_folders_are_walked_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "linked").symlink_to(folder)
    (tmp_path / "corpus" / "round").symlink_to(tmp_path / "corpus")
    assert len(find_audio(tmp_path / "corpus")) == len(find_audio(folder)) == 4


def test_codebooks_learn_clusters_and_dead_codes_revive() -> None:
    torch.manual_seed(0)
    centres = torch.randn(1024, 8) * 5

    def latents(batch: int) -> torch.Tensor:
        chosen = centres[torch.randint(1024, (batch, 100))]
        return (chosen + 0.01 * torch.randn_like(chosen)).transpose(1, 2)

    quantizer = ResidualVectorQuantizer(8, 2)
    start_from_kmeans(quantizer, latents(60).transpose(1, 2).reshape(-1, 8))
    with torch.no_grad():
        quantizer.codebooks[0].embed[:512] = 1e3
        quantizer.codebooks[0].embed_avg[:512] = 1e3
    for _ in range(300):
        quantize_for_training(quantizer, latents(20), torch.full((20,), 2))
    x = latents(20)
    codes = quantizer.encode(x)
    assert len(codes[:, 0].unique()) > 600
    assert float((quantizer.decode(codes) - x).pow(2).mean() / x.var()) < 0.01


def test_codebooks_start_at_unit_spread_and_change_nothing_else(folder: Path, tmp_path: Path) -> None:
    prepare([folder], tmp_path / "data", heldout=1)
    codec = Codec(SMALL_CODEC)
    crops = Crops(load_prepared([tmp_path / "data"]).train, 2, 10, 0, Augmentation())
    audio = crops.batch(0)[:, None]
    before = codec.decoder(codec.encoder(audio))
    start_codebooks(codec, crops, 1, torch.device("cpu"))
    latents = codec.encoder(audio)
    torch.testing.assert_close(codec.decoder(latents), before, rtol=1e-3, atol=1e-5)
    assert 0.3 < float(latents.detach().std()) < 3
    nearest = codec.quantizer.decode(codec.quantizer.encode(latents))
    assert float((nearest - latents).detach().std()) < 0.7 * float(latents.detach().std())


def test_codebook_dropout_and_straight_through() -> None:
    torch.manual_seed(0)
    quantizer = ResidualVectorQuantizer(8, 3)
    x = torch.randn(2, 8, 5, requires_grad=True)
    out, commitment = quantize_for_training(quantizer, x, torch.tensor([1, 3]))
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones_like(x))
    assert float(commitment.detach()) > 0


def test_wider_stacks_learn_at_a_lower_rate() -> None:
    recipe = train_lm.ModelRecipe(peak_rate=1e-3)
    assert recipe.rate_for(HYBRID) == recipe.rate_for(GPT_S) == 1e-3 and recipe.rate_for(GPT_L) == pytest.approx(4e-4)


def test_learning_rate_warms_up_and_falls() -> None:
    rates = [learning_rate(step, 100, 1.0, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0.05)
