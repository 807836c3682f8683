"""A codec's training whose recordings, crops and steps live on a device; here the device is the CPU."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from tests.support.augmentation import augment
from tests.support.corpus import audio_set, run_main, shorten_codec_training, speakers
from tests.support.pretended_gpu import GPU, PretendedGpu
from whispergpt.engine.config import HOP, SMALL_CODEC
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.quantizer import Codebook
from whispergpt.training.codec import vector_quantization
from whispergpt.training.codec.captured import WARM_UP_RUNS, CapturedFunction, Function
from whispergpt.training.codec.recipe import CodecRecipe, gpu_recipe
from whispergpt.training.codec.step import CodecStep
from whispergpt.training.codec.train import train_codec
from whispergpt.training.codec.weight_average import WeightAverage
from whispergpt.training.data.augmentation import Augmentation
from whispergpt.training.data.crops import SILENCE_KEPT, Crops
from whispergpt.training.data.datasets import AudioSet
from whispergpt.training.data.device_crops import DeviceCrops
from whispergpt.training.data.prepare import prepare
from whispergpt.training.optimizers import DeviceAdam, set_rate
from whispergpt.training.run import Run
from whispergpt.training.scalars import Board

CPU = torch.device("cpu")
PLAIN = Augmentation(equalizer_share=0.0, room_share=0.0, noise_share=0.0)
RECIPE = CodecRecipe(
    steps=9,
    quantize_from=2,
    adversarial_from=4,
    adversary_alone=2,
    batch=2,
    adversary_batch=1,
    crop_frames=10,
    mel_from=(1, 3),
    adversary_filters=4,
    decoder_rate=3e-4,
    decoder_average=0.5,
    decoder_kept=0.25,
    on_device=True,
)


def noise(seconds: int, level: float = 3_000.0, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.random.default_rng(seed).normal(0, level, 24_000 * seconds).astype(np.int16)


def unaltered(data: AudioSet, count: int, shares: tuple[float, ...] | None = None) -> tuple[Tensor, Tensor]:
    """Crops of ten frames as the CPU and as a device draws them, before they are altered."""
    torch.manual_seed(0)
    crops = Crops(data, count, 10, 0, PLAIN, shares)
    crops._augment = lambda drawn: drawn  # type: ignore[assignment]  # altering thousands at once takes long
    return crops.batch(0), DeviceCrops(data, count, 10, 0, PLAIN, shares, CPU).recorded(count)


def test_shares_and_silence_are_those_of_the_cpu() -> None:
    """Folders are told by the sign of a constant; the first one's recording is silent for two thirds of its time."""
    half = [np.full(24_000 * 20, 40, np.int16), np.full(24_000 * 10, 5_000, np.int16)]
    data = audio_set([np.concatenate(half), np.full(24_000 * 10, -5_000, np.int16)], [0, 1])
    for shares, odds in ((None, (3.0, 1.0)), ((1.0, 3.0), (1.0, 3.0))):
        sounding = odds[0] * (1 / 3 + SILENCE_KEPT * 2 / 3)
        wanted = odds[1] / (odds[1] + sounding)
        for crops in unaltered(data, 3_000, shares):
            assert float((crops.mean(1) < 0).float().mean()) == pytest.approx(wanted, abs=0.04)
    quiet = audio_set([np.concatenate([half[0], np.negative(half[1])])])
    wanted = 2 * SILENCE_KEPT / (2 * SILENCE_KEPT + 1)
    for crops in unaltered(quiet, 3_000):
        assert float((crops.mean(1) > 0).float().mean()) == pytest.approx(wanted, abs=0.03)


def test_every_place_of_a_clip_is_drawn_and_none_beyond_it() -> None:
    """Clips that are hardly longer than a crop, each of one value: a crop has one value."""
    lengths = [10 * HOP + 1, 10 * HOP + 5, 11 * HOP + 7, 30 * HOP]
    data = audio_set([np.full(length, 2_000 * (-1) ** i, np.int16) for i, length in enumerate(lengths)])
    torch.manual_seed(0)
    crops = DeviceCrops(data, 1, 10, 0, PLAIN, None, CPU).recorded(4_000)
    assert (crops == crops[:, :1]).all() and set(crops[:, 0].sign().tolist()) == {-1.0, 1.0}
    ramp = audio_set([np.arange(3_000, 3_000 + 12 * HOP).astype(np.int16)])
    first = DeviceCrops(ramp, 1, 10, 0, PLAIN, None, CPU).recorded(6_000)[:, 0] * 32_768 - 3_000
    drawn = torch.bincount(first.long())
    assert len(drawn) == 2 * HOP and int(drawn.min()) > 0


def level_db(crops: Tensor) -> Tensor:
    return 10 * crops.square().mean(1).log10()


def band_db(low: float, high: float) -> Callable[[Tensor], Tensor]:
    """How loud a band is beside the whole crop."""

    def measure(crops: Tensor) -> Tensor:
        power = torch.fft.rfft(crops).abs().square()
        bins = slice(int(low / 12_000 * power.shape[1]), int(high / 12_000 * power.shape[1]))
        return 10 * (power[:, bins].mean(1) / power.mean(1)).log10()

    return measure


def echo_db(after: float) -> Callable[[Tensor], Tensor]:
    """How loud a crop is from so many seconds behind its loudest sample on."""

    def measure(crops: Tensor) -> Tensor:
        peak = int(crops.abs().mean(0).argmax()) + int(after * 24_000)
        rest = crops[:, peak:].square().sum(1) / crops.square().sum(1)
        return 10 * (rest + 1e-9).log10()

    return measure


TONE = (6_000 * np.sin(np.arange(24_000 * 20) * 2 * np.pi * 440 / 24_000)).astype(np.int16)
CLICK = np.zeros(40 * HOP + 1, np.int16)
CLICK[1_000] = 32_000


@pytest.mark.parametrize(
    ("how", "sound", "measure"),
    [
        (PLAIN, noise(20), level_db),
        (Augmentation(), noise(20), level_db),
        *(
            (replace(PLAIN, equalizer_share=1.0), noise(20), band_db(low, high))
            for low, high in ((100, 200), (1_300, 1_700), (9_000, 11_000))
        ),
        (replace(PLAIN, noise_share=1.0), TONE, band_db(3_000, 12_000)),
        (replace(PLAIN, room_share=1.0), CLICK, echo_db(0.001)),
        (replace(PLAIN, room_share=1.0), CLICK, echo_db(0.02)),
        (replace(PLAIN, room_share=1.0, room_seconds=(0.5, 0.5)), CLICK, echo_db(0.2)),
    ],
    ids=["level", "level of all", "150 Hz", "1.5 kHz", "10 kHz", "noise", "room", "late room", "one room"],
)
def test_changes_have_the_distribution_of_the_reference(
    how: Augmentation, sound: np.ndarray[Any, np.dtype[np.int16]], measure: Callable[[Tensor], Tensor]
) -> None:
    data, frames = audio_set([sound]), len(sound) // HOP if sound is CLICK else 20
    drawn, draw = DeviceCrops(data, 400, frames, 0, how, None, CPU), np.random.default_rng(0)
    devices = measure(drawn.batch(0))
    reference = np.stack([augment(crop.numpy(), draw, how) for crop in drawn.recorded(400)])
    cpus = measure(torch.from_numpy(reference))
    at = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    spread = float(cpus.std())
    assert spread > 0.3, "there is a distribution to be compared"
    torch.testing.assert_close(devices.quantile(at), cpus.quantile(at), rtol=0, atol=0.3 * spread)
    assert float(devices.std()) == pytest.approx(spread, rel=0.15)


def test_as_many_crops_are_changed_as_is_asked_for() -> None:
    """Of a click: the others are silent behind it, and those without another band are flat."""
    data = audio_set([CLICK])
    measures: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        ("equalizer_share", lambda crops: (band_db(9_000, 11_000)(crops).abs() > 0.01).float()),
        ("room_share", lambda crops: (echo_db(0.02)(crops) > -70).float()),
        ("noise_share", lambda crops: (crops[:, :900].abs().amax(1) > 1e-5).float()),
    ]
    for name, is_changed in measures:
        crops = DeviceCrops(data, 500, 40, 0, replace(PLAIN, **{name: 0.3}), None, CPU).batch(0)
        assert float(is_changed(crops).mean()) == pytest.approx(0.3, abs=0.07), name


def test_a_step_draws_the_same_crops_whatever_came_before() -> None:
    crops = DeviceCrops(audio_set([noise(5)]), 2, 10, 7, Augmentation(), None, CPU)
    first = crops.batch(3)
    crops.batch(4)
    assert torch.equal(crops.batch(3), first) and not torch.equal(crops.batch(4), first)
    other = DeviceCrops(audio_set([noise(5)]), 2, 10, 8, Augmentation(), None, CPU)
    assert not torch.equal(other.batch(3), first)


def test_a_codebook_follows_running_averages_and_revives_by_the_same_draw() -> None:
    """Against sums made one vector at a time."""
    torch.manual_seed(0)
    codebook, vectors = Codebook(4, 16), torch.randn(50, 4)
    vector_quantization.go_on_from_entries(codebook, 3.0)
    codebook.cluster_size[5] = 0.0  # dead, whatever it gets
    index = torch.randint(0, 5, (50,))
    sizes, averages = codebook.cluster_size.clone(), codebook.embed_avg.clone()
    for code in range(16):
        own = vectors[index == code]
        sizes[code] = 0.99 * sizes[code] + 0.01 * len(own)
        averages[code] = 0.99 * averages[code] + 0.01 * own.sum(0)
    torch.manual_seed(1)
    taken = vectors[torch.randint(50, (16,))]
    torch.manual_seed(1)
    vector_quantization._update(codebook, vectors, index)
    wanted = averages / sizes[:, None]
    wanted[5] = taken[5]
    torch.testing.assert_close(codebook.embed, wanted)
    assert float(codebook.cluster_size[5]) == pytest.approx(50 / 16)


def test_a_trained_codebook_goes_on_with_statistics_of_the_batch() -> None:
    assert CodecRecipe().vectors_for_entry == 1.0 and gpu_recipe(None, None).vectors_for_entry == 3.75
    codebook = Codebook(4)
    before = codebook.embed.clone()
    vector_quantization.go_on_from_entries(codebook, 3.75)
    assert float(codebook.cluster_size.min()) == float(codebook.cluster_size.max()) == 3.75
    torch.testing.assert_close(codebook.embed_avg / codebook.cluster_size[:, None], before)


def test_interrupted_and_resumed_on_the_device_equals_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "save", partialmethod(Run.save, force=True))
    monkeypatch.setattr("whispergpt.training.codec.train.CHECK_BATCHES", 1)
    data, recipe = audio_set([noise(2), noise(2, seed=1)]), replace(RECIPE, quantize_from=0)
    train_codec(data, data, tmp_path / "straight", recipe)
    real = CodecStep.begin
    for stop in (3, 7):

        def pulled_plug(self: CodecStep, step: int, rate: float, stop: int = stop) -> None:
            if step == stop:
                raise KeyboardInterrupt
            real(self, step, rate)

        monkeypatch.setattr(CodecStep, "begin", pulled_plug)
        with pytest.raises(KeyboardInterrupt):
            train_codec(data, data, tmp_path / "broken", recipe)
    monkeypatch.setattr(CodecStep, "begin", real)
    train_codec(data, data, tmp_path / "broken", recipe)
    straight, broken = (
        torch.load(tmp_path / name / "last.pt", weights_only=True, map_location="cpu")
        for name in ("straight", "broken")
    )
    for part in ("model", "adversary", "average", "before", "balancer"):
        assert all(torch.equal(value, broken[part][name]) for name, value in straight[part].items()), part
    written, learnt = load_file(tmp_path / "broken" / "codec.safetensors"), broken["model"]
    averaged = {name.removeprefix("module."): value for name, value in broken["average"].items()}
    wanted = {name: torch.lerp(value, broken["before"][name], 0.25) for name, value in averaged.items()}
    assert all(torch.equal(written[f"decoder.{name}"], value.half()) for name, value in wanted.items())
    for other in (averaged, broken["before"], {name: learnt[f"decoder.{name}"] for name in averaged}):
        assert not all(torch.equal(wanted[name], other[name]) for name in averaged)


def test_an_average_lies_where_its_decay_says() -> None:
    module = nn.Linear(2, 2)
    average, wanted = WeightAverage(module, 0.9), module.weight.detach().clone()
    for _ in range(3):
        with torch.no_grad():
            module.weight.add_(1.0)
        average.follow(module)
        wanted = 0.9 * wanted + 0.1 * module.weight.detach()
    assert isinstance(average.module, nn.Linear)
    torch.testing.assert_close(average.module.weight, wanted, check_stride=False)
    assert all(not weight.requires_grad for weight in average.parameters())
    average.restart(module)
    assert torch.equal(average.module.weight, module.weight)


def test_a_loaded_optimizer_goes_on_with_the_rate_that_graphs_read() -> None:
    weights = [nn.Parameter(torch.zeros(3))]
    rate = torch.tensor(0.5)
    optimizer = DeviceAdam(weights, rate, (0.9, 0.99))
    weights[0].grad = torch.ones(3)
    optimizer.step()
    optimizer.load_state_dict(json_like(optimizer.state_dict()))
    set_rate(optimizer, 0.125)
    assert float(rate) == 0.125 and optimizer.param_groups[0]["lr"] is rate
    optimizer.step()
    torch.testing.assert_close(weights[0].detach(), torch.full((3,), -0.625))


def json_like(state: Any) -> Any:
    """A copy without the same tensors, as a checkpoint is."""
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: json_like(value) for key, value in state.items()}
    return [json_like(value) for value in state] if isinstance(state, list) else state


class Recorded:
    """Graphs that are only counted: a replay runs the function, and a capture does not."""

    def __init__(self, error: str | None = None) -> None:
        self.error, self.warmed, self.captured, self.replayed = error, 0, 0, 0

    def warm_up(self, function: Function) -> dict[str, Tensor]:
        self.warmed += 1
        return function()

    def capture(self, function: Function) -> tuple[Callable[[], None], dict[str, Tensor]]:
        self.captured += 1
        if self.error:
            raise RuntimeError(self.error)
        result = {"total": torch.zeros(())}

        def replay() -> None:
            self.replayed += 1
            result["total"].copy_(function()["total"])

        return replay, result


def test_every_run_of_a_captured_function_counts(capsys: pytest.CaptureFixture[str]) -> None:
    runs, forgotten = [], []

    def function() -> dict[str, Tensor]:
        runs.append(1)
        return {"total": torch.tensor(float(len(runs)))}

    graphs = Recorded()
    step = CapturedFunction(function, lambda: forgotten.append(1), graphs)
    found = [float(step()["total"]) for _ in range(WARM_UP_RUNS + 4)]
    assert found == [float(n) for n in range(1, WARM_UP_RUNS + 5)]
    assert (graphs.warmed, graphs.captured, graphs.replayed, len(forgotten)) == (WARM_UP_RUNS, 1, 4, 1)
    assert capsys.readouterr().err == ""


def test_a_step_that_cannot_be_captured_ends_the_run_in_a_sentence() -> None:
    graphs = Recorded("operation not permitted\nand much more")
    step = CapturedFunction(dict, lambda: None, graphs)
    for _ in range(WARM_UP_RUNS):
        step()
    with pytest.raises(ValueError, match="captured as a graph: operation not permitted; --preset cpu needs none$"):
        step()


@pytest.mark.filterwarnings("ignore:PyTorch was compiled without cuDNN")
@pytest.mark.parametrize("recipe", (RECIPE, replace(RECIPE, coarse_by_mel=True, coarse_share=0.5, adversary_batch=2)))
def test_every_kind_of_step_can_be_captured(recipe: CodecRecipe) -> None:
    """As far as it can be told without a GPU: nothing waits for values or comes from the CPU, from crops to weights."""
    kinds = set()
    with PretendedGpu() as gpu:
        codec = Codec(SMALL_CODEC).to(GPU)
        stepper = CodecStep(codec, recipe, GPU, torch.float32)
        crops = DeviceCrops(audio_set([noise(2)]), 2, 10, 0, Augmentation(), None, GPU)
        mel_weight = torch.ones((), device=GPU)
        for step in (0, 2, 4, 6, 7):
            stepper.begin(step, 1e-4)
            kind = recipe.kind(step)
            if kind not in kinds:  # the first run of a kind makes the optimisers' states
                stepper.compute(kind, crops.draw(2), stepper.draw_codebooks_used(2), mel_weight)
                kinds.add(kind)
            with gpu.capturing():
                terms = stepper.compute(kind, crops.draw(2), stepper.draw_codebooks_used(2), mel_weight)
            assert all(gpu.is_there(term) for term in terms.values())
    assert len(kinds) == 5, "without codes, with them, the adversary alone, the decoder with it, and without"


def test_a_gpu_run_has_its_stages_in_shares_and_two_falling_rates() -> None:
    recipe = gpu_recipe(1_000, None)
    assert (recipe.quantize_from, recipe.adversarial_from) == (290, 830)
    rates = [recipe.rate(step) for step in range(1_000)]
    assert max(rates[:830]) == rates[100] == 6e-4 and rates[829] < 0.06 * 6e-4
    assert max(rates[830:]) == rates[830] == 3e-4 and rates[-1] < 0.06 * 3e-4
    assert (recipe.crops_in(829), recipe.crops_in(830)) == (96, 32)
    assert gpu_recipe(None, "runs/codec").quantize_from == 0
    assert gpu_recipe(1_000, None, 500).rate(500) == 3e-4


def test_codebooks_used_have_the_shares_of_the_recipe() -> None:
    stepper = CodecStep(Codec(SMALL_CODEC), RECIPE, CPU, torch.float32)
    torch.manual_seed(0)
    used = stepper.draw_codebooks_used(20_000)
    shares = torch.bincount(used, minlength=9) / len(used)
    assert float(shares[0]) == 0 and float(shares[1]) == pytest.approx(0.25, abs=0.02)
    assert float(shares[8]) == pytest.approx(0.5 + 0.25 / 7, abs=0.02)
    assert shares[2:8].tolist() == pytest.approx([0.25 / 7] * 6, abs=0.01)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_one_command_trains_both_stages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_codec_training(monkeypatch, 14)
    prepare([speakers(tmp_path / "audio", count=2, files=1, seconds=31)], tmp_path / "data", heldout=1)
    small = ("--batch", 2, "--adversary-batch", 2, "--adversary-filters", 2, "--device", "cpu", "--preset", "gpu")
    run = ("train", "codec", tmp_path / "data", "-o", tmp_path / "run", *small, "--tensorboard", tmp_path / "boards")
    assert run_main(*run, "--steps", 3, "--adversarial-from", 2, "--quantize-from", 1) == 0
    said = capsys.readouterr().err
    assert said.count("A cpu device has no graphs: every step runs operation by operation.") == 1
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert recipe["on_device"] and recipe["crop_frames"] == 40 and recipe["adversary_filters"] == 2
    (line,) = (json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    shown = scalars(tmp_path / "boards" / "run")
    assert {name: [(3, pytest.approx(value, abs=1e-4))] for name, value in line.items() if name != "step"} == shown

    again = ("train", "codec", tmp_path / "data", "-o", tmp_path / "more", *small, "--start-from", tmp_path / "run")
    assert run_main(*again, "--steps", 1, "--decoder-average", 0.9) == 0
    recipe = json.loads((tmp_path / "more" / "run.json").read_text())["recipe"]
    assert recipe["quantize_from"] == 0 and recipe["adversarial_from"] == 1 and recipe["decoder_average"] == 0.9
    monkeypatch.chdir(tmp_path)
    by_another_name = (*again[:-1], "run", "--steps", 1, "--decoder-average", 0.9)
    assert run_main(*by_another_name) == 0, "the codec counts, not the name that it was given by"
    known = (*again[:4], tmp_path / "known", *again[5:], "--steps", 2, "--adversary-of")
    assert run_main(*known, tmp_path / "more") == 0
    recipe = json.loads((tmp_path / "known" / "run.json").read_text())["recipe"]
    assert len(recipe["adversary_of"]) == 8
    capsys.readouterr()
    assert run_main(*known, tmp_path / "data") == 2
    assert "has no checkpoint of a run" in " ".join(capsys.readouterr().err.split())


def test_the_cpus_recipe_is_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.training.codec.train.CHECK_BATCHES", 1)
    prepare([speakers(tmp_path / "audio", count=2, files=1, seconds=31)], tmp_path / "data", heldout=1)
    run = ("train", "codec", tmp_path / "data", "-o", tmp_path / "run", "--device", "cpu", "--steps", 1, "--batch", 2)
    assert run_main(*run) == 0
    recipe = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert recipe.pop("augmentation")["level_db"] == [-32.0, -14.0]
    assert recipe == {
        "steps": 1,
        "quantize_from": 14_000,
        "adversarial_from": None,
        "start_from": None,
        "mel_from": [300, 1_500],
        "batch": 2,
        "crop_frames": 30,
        "peak_rate": 5e-4,
        "warmup": 100,
        "held": 0.4,
        "commitment": 1.0,
        "coarse_share": 0.25,
        "full_share": 0.5,
        "coarse_by_mel": False,
        "adversary_rate": 5e-4,
        "adversary_alone": 100,
        "adversary_shares": [1.0, 0.25, 0.25],
        "adversary_every": 2,
        "adversary_filters": 8,
        "adversary_of": None,
        "adversary_batch": None,
        "decoder_rate": None,
        "decoder_average": None,
        "decoder_kept": None,
        "drawn_by": None,
        "drawn_share": None,
        "drawn_shares": None,
        "on_device": False,
        "seed": 0,
        "shares": None,
    }
    # A run of the time before these were fields goes on.
    before = json.loads((tmp_path / "run" / "run.json").read_text())
    for name in (
        "adversary_filters",
        "adversary_batch",
        "decoder_rate",
        "decoder_average",
        "decoder_kept",
        "drawn_by",
        "drawn_share",
        "drawn_shares",
        "coarse_by_mel",
        "on_device",
    ):
        del before["recipe"][name]
    (tmp_path / "run" / "run.json").write_text(json.dumps(before))
    assert run_main(*run) == 0


def test_tensorboard_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert run_main("train", "codec", tmp_path, "-o", tmp_path / "run", "--tensorboard", tmp_path / "boards") == 2
    assert "pip install 'whispergpt[tensorboard]'." in capsys.readouterr().err


def test_curves_of_a_resumed_run_do_not_go_back(tmp_path: Path) -> None:
    for values in ({10: 3.0, 20: 2.0, 30: 9.0}, {20: 2.5, 30: 2.0}):  # the checkpoint was of step 10
        board = Board(tmp_path)
        for step, value in values.items():
            board.add(step, {"total": value})
        time.sleep(0.01)  # files are read in the order of their times
    assert scalars(tmp_path) == {"total": [(10, 3.0), (20, 2.5), (30, 2.0)]}


def test_a_run_keeps_the_generators_of_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.arange(16, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [state, state + 1])
    found: dict[int, Tensor] = {}
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda value, device: found.update({device: value}))
    run = Run(tmp_path, {}, {"model": nn.Linear(1, 1)})
    run.save(3, force=True)
    assert run.resume() == 3
    assert found.keys() == {0} and torch.equal(found[0], state), "there may be fewer of them by then"
