"""The engine's process, spoken to as the server speaks to it: in its own loop here, and once as a real process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import zmq

from whispergpt.engine.config import EngineOptions
from whispergpt.engine.engine import Engine
from whispergpt.engine.messages.commands import (
    Acknowledge,
    AppendPrompt,
    CancelStream,
    ChangeSampling,
    CloseLink,
    Command,
    CommitPrompt,
    Drain,
    DropPrompt,
    OpenLink,
    OpenPrompt,
    StartStream,
    pack,
    unpack_command,
)
from whispergpt.engine.messages.events import (
    Event,
    Load,
    LoadFailed,
    PromptFailed,
    PromptReady,
    Ready,
    SamplingChanged,
    SnapshotTaken,
    StepDone,
    StreamEnded,
    StreamStarted,
    unpack_event,
)
from whispergpt.engine.messages.links import CREDIT_FRAMES, first_id
from whispergpt.engine.process.commands import Worker
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.stream_plan import SamplingParams, StreamPlan
from whispergpt.engine.streams.capacity import MOST_LOAD, Capacity, StepCost

SAMPLING = SamplingParams(seed=1, temperature=0.9, top_k=0, top_p=0.95)
PROMPT = (np.random.default_rng(0).normal(0, 0.1, 24_000)).astype("<f4").tobytes()


class Peer:
    """A worker over two slots, and everything that it has said."""

    def __init__(self) -> None:
        self.said: list[Event] = []
        self.desk = PromptDesk(cache_bytes=0)
        self.cost = StepCost([1, 2], [0.001, 0.002])
        capacity = Capacity({"speech": self.cost}, max_load=0)
        self.worker = Worker({"speech": Engine.load("speech", "cpu", max_streams=2)}, self._hear, self.desk, capacity)
        self._load = (0, 0)

    def tell(self, *commands: Command) -> None:
        for command in commands:
            self.worker.handle(unpack_command(pack(command)))

    def turn(self, times: int = 1) -> list[Event]:
        before = len(self.said)
        for _ in range(times):
            self.worker.turn()
        return self.said[before:]

    def prompt(self, number: int, decoded: bool = False) -> PromptReady:
        self.tell(OpenPrompt(number, "speech"), AppendPrompt(number, PROMPT), CommitPrompt(number, decoded))
        return self.turn_until_ready(number)

    def turn_until_ready(self, number: int) -> PromptReady:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            self.turn()
            ready = [e for e in self.said if isinstance(e, PromptReady) and e.prompt_id == number]
            if ready:
                assert len(ready) == 1
                return ready[0]
            time.sleep(0.001)
        raise AssertionError("the prompt is never ready")

    def load(self) -> tuple[int, int]:
        """Slots in use and streams waiting, as last reported."""
        return self._load

    def _hear(self, event: Event) -> None:
        self.said.append(event)
        if isinstance(event, Load):
            self._load = (event.active, event.waiting)


@pytest.fixture(scope="module")
def shared_peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.desk.close()


@pytest.fixture
def peer(shared_peer: Peer) -> Iterator[Peer]:
    del shared_peer.said[:]
    yield shared_peer
    shared_peer.tell(*(CancelStream(n) for n in range(100)), *(DropPrompt(n) for n in range(100)))
    shared_peer.turn()
    assert shared_peer.load() == (0, 0)


class Frame(NamedTuple):
    stream_id: int
    index: int
    pcm: bytes


def frames_of(events: list[Event], stream: int) -> list[Frame]:
    frames = [Frame(*frame) for event in events if isinstance(event, StepDone) for frame in event.frames]
    return [frame for frame in frames if frame.stream_id == stream]


def ended(events: list[Event], stream: int) -> list[StreamEnded]:
    return [e for e in events if isinstance(e, StreamEnded) and e.stream_id == stream]


def test_a_prompt_and_its_stream(peer: Peer) -> None:
    ready = peer.prompt(1, decoded=True)
    assert ready.frames == 75 and len(ready.decoded) == 75 * 640
    unasked = peer.prompt(2)
    assert unasked.frames == 75 and unasked.decoded == b"", "samples that nobody asks for are not sent"
    peer.tell(StartStream(1, 1, StreamPlan(SAMPLING, frames=7)), DropPrompt(1))
    events = peer.turn(9)
    frames = frames_of(events, 1)
    assert [f.index for f in frames] == list(range(7))
    assert all(len(f.pcm) == 640 for f in frames)
    assert [(e.status, e.frames) for e in ended(events, 1)] == [("completed", 7)]


def test_cancelled_stream_frees_its_slot_within_one_frame(peer: Peer) -> None:
    peer.prompt(1)
    peer.tell(*(StartStream(n, 1, StreamPlan(SAMPLING, frames=None)) for n in (1, 2, 3)))
    peer.turn()
    assert peer.load() == (2, 1)
    peer.tell(CancelStream(1))
    events = peer.turn()
    assert not frames_of(events, 1)
    assert len(frames_of(events, 3)) == 1, "the one who waited plays in the very next step"
    assert [e.stream_id for e in events if isinstance(e, StreamStarted)] == [3]
    assert [e.status for e in ended(peer.said, 1)] == ["cancelled"]


def test_unread_stream_stops_at_its_credit_and_goes_on(peer: Peer) -> None:
    peer.prompt(1)
    peer.tell(StartStream(50, 1, StreamPlan(SAMPLING, frames=None)))
    events = peer.turn(CREDIT_FRAMES + 20)
    assert len(frames_of(events, 50)) == CREDIT_FRAMES
    assert peer.worker.turn() is None
    peer.tell(Acknowledge({50: 10}))
    assert [f.index for f in frames_of(peer.turn(20), 50)] == list(range(CREDIT_FRAMES, CREDIT_FRAMES + 10))


def test_a_real_time_stream_waits_for_time_and_a_fast_one_does_not(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams would take more of a frame than there is; what is measured then is what a laptop does."""
    capacity = Capacity({"speech": StepCost([1, 2], [0.009, 0.5])}, max_load=0.8)
    monkeypatch.setattr(peer.worker, "_capacity", capacity)
    peer.prompt(1)
    peer.tell(
        StartStream(1, 1, StreamPlan(SAMPLING, None, "realtime")),
        StartStream(2, 1, StreamPlan(SAMPLING, None, "realtime")),
    )
    peer.tell(StartStream(3, 1, StreamPlan(SAMPLING, frames=40)))
    events = peer.turn(160)
    assert [e.stream_id for e in events if isinstance(e, StreamStarted)] == [1, 3]
    assert next(e.most_listened for e in events if isinstance(e, Load)) == 1
    assert ended(events, 3) and frames_of(events, 1) and not frames_of(events, 2)
    assert 0 < capacity.slowdown != 1, "every step corrects what was measured at start"
    roomy = Capacity({"speech": StepCost([1, 2], [0.0001, 0.0002])}, max_load=0.8)
    monkeypatch.setattr(peer.worker, "_capacity", roomy)
    assert frames_of(peer.turn(2), 2), "there is time now"


def test_who_goes_on_elsewhere_knows_of_a_change_at_once(peer: Peer) -> None:
    """Not at the next full second: what was made between would be made again with the old seed."""
    peer.prompt(1)
    peer.tell(StartStream(1, 1, StreamPlan(SAMPLING, frames=30, snapshots=True)))
    while len(frames_of(peer.said, 1)) < 10:
        peer.turn()
    other = msgspec.structs.replace(SAMPLING, seed=SAMPLING.seed + 1)
    peer.tell(ChangeSampling(1, other), ChangeSampling(1, SAMPLING), ChangeSampling(1, other))
    peer.turn()
    changed = [event.frame for event in peer.said if isinstance(event, SamplingChanged)]
    after = [event for event in peer.said if isinstance(event, SnapshotTaken) and event.frame > 0]
    assert [(event.frame, event.sampling) for event in after] == [(changed[-1], other)], "one, however many came"


def test_prompts_that_fail_say_why(peer: Peer) -> None:
    peer.tell(OpenPrompt(1, "nonesuch"))
    peer.tell(OpenPrompt(2, "speech"), AppendPrompt(2, PROMPT[:4000]), CommitPrompt(2))
    peer.tell(OpenPrompt(3, "speech"), *[AppendPrompt(3, PROMPT)] * 61)
    peer.turn(3)
    failed = {e.prompt_id: e for e in peer.said if isinstance(e, PromptFailed)}
    assert {n: e.code for n, e in failed.items()} == {1: "unknown_model", 2: "too_short", 3: "too_long"}
    assert "nonesuch" in failed[1].message
    peer.tell(StartStream(60, 2, StreamPlan(SAMPLING, frames=5)))
    assert [e.status for e in ended(peer.said, 60)] == ["failed"]


def test_what_is_not_known_is_ignored(peer: Peer) -> None:
    before = len(peer.said)
    peer.tell(CancelStream(77), Acknowledge({77: 5}), DropPrompt(77), CommitPrompt(77), AppendPrompt(77, b""))
    peer.turn()
    assert len(peer.said) == before


def test_a_stream_goes_on_while_a_prompt_is_encoded(peer: Peer) -> None:
    """A fast one too, in real time: it leaves the rest of the processors to the prompt."""
    peer.prompt(1)
    peer.tell(StartStream(70, 1, StreamPlan(SAMPLING, frames=None)))
    peer.tell(OpenPrompt(2, "speech"), *[AppendPrompt(2, PROMPT)] * 30, CommitPrompt(2))
    turns = frames = 0
    while not any(isinstance(e, PromptReady) and e.prompt_id == 2 for e in peer.said):
        frames += len(frames_of(peer.turn(), 70))
        peer.tell(Acknowledge({70: frames}))
        turns += 1
    assert turns > 30, "no turn waits for the prompt"
    assert 5 < frames < turns


def test_prompts_give_way_to_a_listener_who_is_short_of_audio(peer: Peer) -> None:
    peer.prompt(1)
    peer.tell(StartStream(71, 1, StreamPlan(SAMPLING, None, "realtime")))
    peer.turn()
    assert not peer.desk._gives_way, "there is no prompt"
    peer.tell(OpenPrompt(2, "speech"))
    peer.turn()
    assert peer.desk._gives_way
    for _ in range(1000):
        peer.turn()
        if not peer.desk._gives_way:
            break
    assert not peer.desk._gives_way, "it has some lead"


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Yield the address of a socket in a new folder; the path of ``tmp_path`` may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="worker-") as folder:
        yield f"ipc://{folder}/engine.sock"


def options(model: str, max_streams: int = 64) -> str:
    """The engine's options as its command line has them."""
    given = EngineOptions(
        models=[model],
        device="cpu",
        dtype="auto",
        max_streams=max_streams,
        prompt_cache_bytes=0,
        max_load=MOST_LOAD,
        exact=False,
    )
    return msgspec.json.encode(given).decode()


def start(endpoint: str, options: str, parent: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "whispergpt.engine.process.worker", endpoint, str(parent or os.getpid()), options]
    return subprocess.Popen(command)


def receive(socket: zmq.Socket[bytes], seconds: float = 120) -> Event:
    assert socket.poll(int(seconds * 1000)), "the worker says nothing"
    return unpack_event(socket.recv_multipart())


def test_a_real_process_loads_plays_and_drains(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(endpoint)
        process = start(endpoint, options("speech", max_streams=3))
        try:
            ready = receive(socket)
            assert isinstance(ready, Ready)
            assert (ready.models[0].id, ready.models[0].slots) == ("speech", 3)
            for command in (OpenPrompt(1, "speech"), AppendPrompt(1, PROMPT), CommitPrompt(1)):
                socket.send(pack(command))
            socket.send(pack(StartStream(1, 1, StreamPlan(SAMPLING, 4))))
            while not isinstance(event := receive(socket), PromptReady):
                pass
            socket.send(pack(StartStream(2, 1, StreamPlan(SAMPLING, 4))))
            socket.send(pack(Drain()))
            while not (isinstance(event, StreamEnded) and event.stream_id == 2):
                event = receive(socket)
            assert event.status == "completed"
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_each_link_hears_of_its_own_streams_and_takes_them_with_it(endpoint: str) -> None:
    with zmq.Context() as context, contextlib.ExitStack() as sockets:
        first, *others = [sockets.enter_context(context.socket(zmq.PAIR)) for _ in range(3)]
        addresses = [endpoint, f"{endpoint}-1", f"{endpoint}-2"]
        for socket, address in zip([first, *others], addresses, strict=True):
            socket.bind(address)
        process = start(endpoint, options("speech", max_streams=4))
        try:
            assert isinstance(receive(first), Ready)
            heard: list[list[Event]] = [[], []]
            for link in (1, 2):
                first.send(pack(OpenLink(link, addresses[link])))
            for link, socket in enumerate(others, 1):
                assert isinstance(receive(socket), Ready)
                one, plan = first_id(link), StreamPlan(SAMPLING, None)
                for command in (OpenPrompt(one, "speech"), AppendPrompt(one, PROMPT), CommitPrompt(one)):
                    socket.send(pack(command))
                while not isinstance(event := receive(socket), PromptReady):
                    heard[link - 1].append(event)
                assert event.prompt_id == one
                socket.send(pack(StartStream(one, one, plan)))
            steps: list[list[StepDone]] = [[], []]
            for socket, done in zip(others, steps, strict=True):
                while len(done) < 40:
                    event = receive(socket)
                    done.extend([event] if isinstance(event, StepDone) else [])
            frames = [frames_of(list(done), first_id(link)) for link, done in enumerate(steps, 1)]
            assert [len(one) for one in frames] == [40, 40], "none of another link"
            assert [f.pcm for f in frames[0]] == [f.pcm for f in frames[1]], "whoever asks, the same samples"
            second = {bytes(step.samples) for step in steps[1] if step.streams == 0}
            assert second and all(step.step_seconds == 0 for step in steps[1] if step.streams == 0)
            assert {step.streams for step in steps[0]} <= {1, 2}, "each step is counted once, by the first link"
            first.send(pack(CloseLink(1)))
            loads = iter(lambda: receive(first), None)
            assert any(isinstance(event, Load) and event.active == 1 for event in loads), "its slot is free"
            others[1].send(pack(CancelStream(first_id(2))))
            first.send(pack(Drain()))
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_model_that_is_not_there_is_told(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(endpoint)
        process = start(endpoint, options("nonesuch"))
        event = receive(socket)
        assert isinstance(event, LoadFailed) and "nonesuch" in event.message
        assert process.wait(30) == 2


def test_a_process_whose_parent_died_before_it_could_look_ends_too(endpoint: str) -> None:
    """It is another's child by then, and was told whose it had been."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(endpoint)
        process = start(endpoint, options("speech"), parent=2**22)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_the_process_ends_with_its_parent(endpoint: str) -> None:
    """The worker's parent is killed outright; the worker must not stay behind."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(endpoint)
        parent_code = (
            "import os, subprocess, sys, time\n"
            f"command = [sys.executable, '-m', 'whispergpt.engine.process.worker', {endpoint!r}, str(os.getpid())]\n"
            f"p = subprocess.Popen([*command, {options('speech')!r}])\n"
            "print(p.pid, flush=True)\n"
            "time.sleep(600)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE)
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert isinstance(receive(socket), Ready)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 20
        while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
            if Path(f"/proc/{worker}/stat").read_text().split(")")[1].split()[0] == "Z":
                break
            time.sleep(0.1)
        else:
            if Path(f"/proc/{worker}").exists():
                os.kill(worker, signal.SIGKILL)
                pytest.fail("the worker outlived its parent")
