"""The bench counts what torch counts, finds the streams that a machine has, and says all that it promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from whispergpt.benchmarks import prompt_interference
from whispergpt.benchmarks.arithmetic import decoder_flops, flops_per_frame, mel_flops, stack_flops, traffic_per_frame
from whispergpt.benchmarks.peers import measure as peer_measure
from whispergpt.benchmarks.peers.measure import Probe
from whispergpt.benchmarks.peers.peer import PeerRunner, Sizes, Variant
from whispergpt.benchmarks.peers.process import SkippedPeer, run_peer
from whispergpt.benchmarks.realtime import ADJACENT, LEAD_SECONDS, Clock, Point, curve, estimate, most_streams, play
from whispergpt.benchmarks.soak import soak
from whispergpt.cli.main import main
from whispergpt.engine.config import ENCODEC_24KHZ, FRAME_RATE, HYBRID, SMALL_CODEC, FineConfig
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.seanet import Decoder
from whispergpt.engine.model.streaming import branch
from whispergpt.engine.model.whisper_gpt import WhisperGPT

# --- counts


def frame_step() -> FrameStep:
    torch.manual_seed(0)
    made = FrameStep(Codec(SMALL_CODEC), WhisperGPT(replace(HYBRID, fine=FineConfig())))
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("config", [SMALL_CODEC, ENCODEC_24KHZ])
def test_decoder_flops_are_those_of_its_steps(config: object) -> None:
    """Each step makes its frames by products; torch counts them all but the LSTM's, which are one frame each."""
    decoder = Decoder(config).eval()  # type: ignore[arg-type]
    state = decoder.init_state(1, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        for _ in range(4):
            decoder.step(torch.randn(1, 128, 1), state)
    assert decoder_flops(decoder) == pytest.approx(counter.get_total_flops() / 4, rel=0.01)


def test_frame_flops_are_those_of_a_step() -> None:
    step = frame_step()
    state = step.init_state(1, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        step(state, torch.ones(1, dtype=torch.bool))
    flops = flops_per_frame(step)
    bins, bands = step.mel.bank.shape
    dense = 2 * bins * bands  # torch multiplies by the filterbank's zeros, and does not count transforms
    least = sum(flops.values()) - flops["mel"]
    assert counter.get_total_flops() - dense == pytest.approx(least, rel=0.01)
    assert set(flops) == {"lm", "fine", "codec", "mel"}
    assert flops["fine"] <= 5e6, "what the fine stage may cost"
    assert mel_flops(step.mel) < dense, "most of the bank is zero"


def test_attention_is_counted_over_a_full_window() -> None:
    stack = HYBRID.stack
    longer = replace(stack, window=2 * stack.window)
    assert stack_flops(longer) - stack_flops(stack) == 4 * stack.layers * stack.width * stack.window


def test_traffic_is_what_lies_in_memory() -> None:
    step = frame_step()
    traffic = traffic_per_frame(step)
    state = step.init_state(1, torch.device("cpu"))
    rings = [branch(branch(state, "model"), "stack"), branch(branch(state, "model"), "slices")]
    keys_values = sum(t.nbytes for ring in rings for layer in ring.values() for t in layer.values())  # type: ignore[union-attr]
    assert traffic.keys_values == keys_values
    assert traffic.weights == sum(traffic.stage_weights.values())
    parameters = sum(p.nbytes for p in step.codec.decoder.parameters())
    assert traffic.stage_weights["codec"] == parameters


# --- the search


class FakeMachine:
    """A clock that only work and sleep move: a step costs a fixed time and a time for each stream."""

    def __init__(self, fixed: float, each: float, frames: int = 1, stall: float = 0.0) -> None:
        self.frames, self.time, self.steps, self.runs = frames, 0.0, 0, 0
        self._fixed, self._each, self._stall, self._streams = fixed, each, stall, 0
        self.clock = Clock(now=lambda: self.time, sleep=self._sleep)

    @property
    def capacity(self) -> float:
        return (self.frames / FRAME_RATE - self._fixed) / self._each

    def prepare(self, streams: int) -> None:
        self._streams, self.steps, self.runs = streams, 0, self.runs + 1

    def advance(self) -> None:
        self.steps += 1
        self.time += self._fixed + self._each * self._streams
        if self.steps == 100:
            self.time += self._stall

    def _sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.mark.parametrize("frames", [1, 8, 25])
@pytest.mark.parametrize("wrong", [1.0, 0.5, 1.6])
@pytest.mark.parametrize("capacity", [0.5, 3.5, 47.5, 400.5])
def test_the_search_finds_what_the_machine_bears(frames: int, capacity: float, wrong: float) -> None:
    allowed = frames / FRAME_RATE
    machine = FakeMachine(0.1 * allowed, 0.9 * allowed / capacity, frames)
    guess = estimate(curve(machine, 0.1, clock=machine.clock), frames)
    assert guess == pytest.approx(machine.capacity, rel=0.1, abs=0.5)
    runs_before = machine.runs
    found = most_streams(machine, wrong * guess, 30.0, machine.clock)
    # The lead is used up in the run's 30 s: a little more than the rate alone would bear.
    assert found.streams in (pytest.approx(int(capacity), rel=ADJACENT), int(capacity) + 1)
    assert found.failed - found.streams <= max(1, ADJACENT * found.streams)
    assert machine.runs - runs_before < 15


def test_a_run_never_works_further_ahead_than_the_lead() -> None:
    machine = FakeMachine(0.001, 0.0)
    run = play(machine, 1, 10.0, machine.clock)
    assert run.held and run.seconds == pytest.approx(10.0, abs=0.1)
    assert machine.steps == pytest.approx(10 * FRAME_RATE, abs=10)
    assert run.slack == pytest.approx(LEAD_SECONDS, abs=0.02)


def test_a_stall_longer_than_the_lead_is_heard() -> None:
    held = FakeMachine(0.001, 0.0, stall=0.9 * LEAD_SECONDS)
    assert play(held, 1, 5.0, held.clock).held
    late = FakeMachine(0.001, 0.0, stall=1.2 * LEAD_SECONDS)
    run = play(late, 1, 5.0, late.clock)
    assert not run.held and run.seconds < 2.0, "it ends at the first late frame"


# --- peers


class FakePeer:
    """Groups that only count."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def group(self, streams: int) -> FakePeer:
        self.sizes.append(streams)
        return self

    def advance(self) -> None:
        self.sizes.append(0)


def test_peers_may_take_their_streams_in_equal_groups() -> None:
    peer = FakePeer()
    runner = PeerRunner(peer, frames=1, batch=8)
    runner.prepare(20)
    assert peer.sizes == [6, 7, 7]
    runner.advance()
    assert peer.sizes[3:] == [0, 0, 0]


def test_a_probe_knows_the_best_batch() -> None:
    second = FRAME_RATE / 75
    growing = Probe(Variant(frames=75), [Point(1, second / 2), Point(2, second / 2), Point(4, second * 2)])
    assert growing.batch == 2 and growing.streams == pytest.approx(4.0)
    alone = Probe(Variant(frames=75), [Point(1, second * 2)])
    assert alone.batch is None and alone.streams == pytest.approx(0.5)
    assert Probe(Variant(), failed="no").streams == 0


def test_a_real_peer_says_how_it_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain loop at tiny sizes, every variant of it but the compiled ones."""
    if find_spec("encodec") is None:
        pytest.skip("needs the encodec package")
    from whispergpt.benchmarks.peers import plain_loop

    monkeypatch.setattr(plain_loop, "CHUNKS", (2, 4))
    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(peer_measure, "most_streams", partial(most_streams, most=2))
    monkeypatch.setattr(peer_measure, "curve", lambda runner, seconds: curve(runner, 0.01, most=2))
    sizes = Sizes(replace(HYBRID.stack, layers=1, window=16), replace(SMALL_CODEC, n_filters=2))
    said = peer_measure.measure(plain_loop, sizes, torch.device("cpu"), 0.2, lambda line: None)  # type: ignore[arg-type]
    assert isinstance(said["realtime_streams"], int) and said["name"] == plain_loop.NAME
    by_kind = {(v["dtype"], v["compiled"], v["frames"]): v for v in said["variants"]}
    assert ("float32", False, 2) in by_kind and ("float32", False, 4) in by_kind
    compiled = [v for kind, v in by_kind.items() if kind[1]]
    assert all("no compiler" in v["failed"] for v in compiled), "what does not run is said"


def no_compiler(model: object) -> object:
    raise RuntimeError("no compiler")


def test_a_peer_without_its_packages_is_skipped_with_the_reason() -> None:
    sizes = Sizes(HYBRID.stack, SMALL_CODEC)
    skipped = run_peer("nobody", sizes, 0.1, "cpu", None)
    assert isinstance(skipped, SkippedPeer) and "No module named" in skipped.reason and "make peers" in skipped.reason


# --- the command


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_command_says_all_that_the_contract_names(
    capsys: pytest.CaptureFixture[str], one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whispergpt.benchmarks.ceiling.SIZES", (256,))
    for search in (curve, most_streams):  # a hundred streams take many times as long to begin
        monkeypatch.setattr(f"whispergpt.benchmarks.bench.{search.__name__}", partial(search, most=4))
    peer = {"name": "a peer", "realtime_streams": 4, "variant": {}}
    monkeypatch.setattr("whispergpt.benchmarks.bench.PEERS", ("a_peer", "nobody"))
    monkeypatch.setattr(
        "whispergpt.benchmarks.bench.run_peer", lambda name, *rest: peer if name == "a_peer" else run_peer(name, *rest)
    )
    with pytest.raises(SystemExit) as left:
        main(["bench", "--json", "--seconds", "0.2", "--curve"])
    assert not left.value.code
    said = json.loads(capsys.readouterr().out)
    assert said["preset"] == "default" and said["device"] and said["threads"] >= 1
    assert said["dtype"] in ("float32", "bfloat16") and said["dtype"] in said["fingerprint"]
    assert "native" in said["fingerprint"] or said["slow_because"]
    for name in ("time_to_first_audio_ms", "frame_ms"):
        assert 0 < said["single"][name]["p50"] <= said["single"][name]["p99"]
    assert set(said["single"]["stage_ms"]) == set(said["megaflops_per_frame"])
    assert isinstance(said["realtime_streams"], int)
    assert said["gemm_gflops"] > 0 and said["roofline_fraction"] >= 0 and said["roofline_fraction_codec"] > 0
    around = (said["realtime_streams"] + said["realtime_streams_after_peers"]) / 2
    assert said["peers"] == [peer | {"ratio": around / 4}], "a peer stands between two measurements"
    assert [skipped["name"] for skipped in said["skipped"]] == ["nobody"]
    assert said["quality"]["snr_db_vs_float32"] > 35
    assert said["curve"][0]["streams"] == 1 and said["curve"][0]["step_ms"] > 0


def test_a_soak_compares_an_old_stream_with_fresh_ones() -> None:
    engine = Engine.load("speech", "cpu")
    minutes = list(soak(engine, minutes=3, turns=2))
    assert [one.minute for one in minutes] == [1, 2, 3]
    assert all(0.3 < one.ratio < 3 and one.resident_mb > 50 for one in minutes)
    assert engine.scheduler.active == 0


def test_a_wrong_preset_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["bench", "--preset", "huge"])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.strip().splitlines()) == 1


def test_what_prompts_hold_up_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["prompt_interference", "--streams", "2", "--seconds", "1"])
    monkeypatch.setattr("whispergpt.benchmarks.prompt_interference.PROMPT_SECONDS", 1)
    assert prompt_interference.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert told["prompts_read"] > 0 and 0 < told["step_ms"]["p50"] <= told["step_ms"]["p99"]
    assert told["slowdown_ms"]["p99"] == pytest.approx(
        told["step_with_prompts_ms"]["p99"] - told["step_ms"]["p99"], abs=0.02
    )
