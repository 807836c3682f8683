"""Prompts worked through beside the steps: the same as by themselves, remembered, and never another's."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from whispergpt.engine.audio.audio_file import AudioError
from whispergpt.engine.backends.prompt_path import Heard, PromptState, TorchPromptPath
from whispergpt.engine.config import HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.prompts.cache import PromptCache, PromptKey
from whispergpt.engine.prompts.desk import Finished, PromptDesk
from whispergpt.engine.prompts.line import LATE_SECONDS
from whispergpt.engine.prompts.prompt import Prompt, PromptEncoder, Stage
from whispergpt.engine.prompts.shares import AWAY_SECONDS, HEAD_START_FRAMES

Samples = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("speech", "cpu", max_streams=2)


class Desk:
    """A desk, and who waits for it."""

    def __init__(self, cache_bytes: int) -> None:
        self.rung = threading.Event()
        self.desk = PromptDesk(cache_bytes, self.rung.set)

    def wait(self, count: int = 1) -> list[Finished]:
        found = self.desk.finished()
        while len(found) < count:
            assert self.rung.wait(60), "nothing is ever finished"
            self.rung.clear()
            found += self.desk.finished()
        return found

    def send(self, number: int, engine: Engine, audio: Samples, owner: str = "", patience: float | None = None) -> None:
        self.desk.open(number, engine, owner)
        for piece in np.array_split(audio, 7):
            self.desk.append(number, piece)
        self.desk.commit(number, patience=patience)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(cache_bytes=2**26)
    yield made
    made.desk.close()


def noise(seconds: float, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * 24_000)).astype(np.float32)


def test_what_goes_wrong_with_one_prompt_is_its_own_end(
    desk: Desk, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = PromptEncoder.work

    def full(encoder: PromptEncoder, stage: Stage, most: int) -> None:
        if stage is Stage.DECODE and encoder is bad:
            raise MemoryError
        work(encoder, stage, most)

    monkeypatch.setattr(PromptEncoder, "work", full)
    desk.desk.open(1, engine, "")
    bad = desk.desk._arriving[1].encoder
    desk.desk.append(1, noise(1.0))
    desk.desk.commit(1)
    desk.send(2, engine, noise(1.0, seed=1))
    outcomes = {finished.prompt_id: finished.outcome for finished in desk.wait(2)}
    assert isinstance(outcomes[1], AudioError) and outcomes[1].code == "internal"
    assert isinstance(outcomes[2], Prompt)
    desk.send(3, engine, noise(1.0, seed=2))
    assert isinstance(desk.wait()[0].outcome, Prompt), "the desk works on"


def prompt_of(finished: Finished) -> Prompt:
    assert isinstance(finished.outcome, Prompt), finished.outcome
    return finished.outcome


def test_the_same_prompt_as_by_itself(desk: Desk, engine: Engine) -> None:
    alone = engine.encode_prompt(noise(2))
    desk.send(1, engine, noise(2))
    found = prompt_of(desk.wait()[0])
    assert (found.codes == alone.codes).all() and (found.decoded == alone.decoded).all()
    assert len(desk.desk) == 0


@pytest.fixture(scope="module")
def float_engine() -> Engine:
    return Engine.load("speech", "cpu", max_streams=2, dtype="float32")


class Lanes(TorchPromptPath):
    """Torch's path with room for three prompts, which are computed one by one; one sound cannot be encoded."""

    lanes = 3

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.model.step, engine.device)
        self.companies: list[list[int]] = []
        self.read_together: list[int] = []
        self.refused: Samples | None = None

    def encode(self, chunks: Sequence[tuple[PromptState, Samples]]) -> list[Tensor]:
        self.companies.append([len(audio) // HOP for _, audio in chunks])
        if any(np.array_equal(audio, self.refused[: len(audio)]) for _, audio in chunks if self.refused is not None):
            raise MemoryError
        return [super(Lanes, self).encode([one])[0] for one in chunks]

    def decode(self, chunks: Sequence[tuple[PromptState, Tensor]]) -> list[Heard]:
        return [super(Lanes, self).decode([one])[0] for one in chunks]

    def read(self, chunks: Sequence[tuple[PromptState, Heard]]) -> None:
        self.read_together.append(len(chunks))
        for one in chunks:
            super().read([one])


def test_prompts_that_wait_share_lanes(float_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ones whose turn is next go together, by owner and length, and each is the prompt that it is alone."""
    lanes = Lanes(float_engine)
    monkeypatch.setattr(float_engine, "_prompts", lanes)
    monkeypatch.setattr("whispergpt.engine.prompts.desk.THREADS", 0)
    audio = {number: noise(0.5 + 0.4 * (number % 3), seed=number) for number in range(5)}
    alone = {number: float_engine.encode_prompt(samples) for number, samples in audio.items()}
    lanes.companies.clear()
    desk = PromptDesk(cache_bytes=0)
    for number, samples in audio.items():
        desk.open(number, float_engine, "hog" if number < 4 else "bob")
        desk.append(number, samples)
        desk.commit(number)
    desk._shares.worked["hog"] += HEAD_START_FRAMES + 1
    due = desk._next()
    assert due is not None and [one.prompt_id for one in due[0]] == [4], "one owner's do not ride ahead of their turn"
    desk._advance(*due)
    desk._shares.worked["hog"] = desk._shares.worked["bob"]
    while len(desk):
        due = desk._next()
        assert due is not None
        desk._advance(*due)
    found = {finished.prompt_id: prompt_of(finished) for finished in desk.finished()}
    assert max(map(len, lanes.companies)) == max(lanes.read_together) == 3
    for number, prompt in found.items():
        assert torch.equal(prompt.codes, alone[number].codes) and torch.equal(prompt.row, alone[number].row)
    assert len(found) == 5


def test_an_error_in_company_ends_one_prompt(float_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = Lanes(float_engine)
    monkeypatch.setattr(float_engine, "_prompts", lanes)
    desk = Desk(cache_bytes=0)
    with desk.desk._changed:  # the desk's threads see all three at once
        lanes.refused = noise(1, seed=1)
        for number in range(3):
            desk.send(number, float_engine, noise(1, seed=number))
    with closing(desk.desk):
        outcomes = {finished.prompt_id: finished.outcome for finished in desk.wait(3)}
    assert [isinstance(outcomes[number], Prompt) for number in range(3)] == [True, False, True]
    assert 3 in map(len, lanes.companies), "they were tried together first"


def test_a_prompt_sent_again_is_known_but_not_to_others(desk: Desk, engine: Engine) -> None:
    outcomes = []
    for number, owner in ((1, "ann"), (2, "ann"), (3, "bob"), (4, "ann")):
        desk.send(number, engine, noise(1, seed=number // 4), owner)
        outcomes += desk.wait()
    assert [finished.known for finished in outcomes] == [False, True, False, False]
    assert prompt_of(outcomes[1]) is prompt_of(outcomes[0])
    assert prompt_of(outcomes[2]) is not prompt_of(outcomes[0])


def test_a_short_prompt_does_not_wait_for_a_long_one(desk: Desk, engine: Engine) -> None:
    desk.send(1, engine, noise(40))
    desk.send(2, engine, noise(1))
    assert [finished.prompt_id for finished in desk.wait(2)] == [2, 1]


def test_prompts_of_one_owner_do_not_hold_up_those_of_another(desk: Desk, engine: Engine) -> None:
    """Eight of seven seconds are ready before another's twenty would have had their turn, if all were one line."""
    for number in range(8):
        desk.send(number, engine, noise(7, seed=number), "hog")
    desk.send(8, engine, noise(20), "bob")
    ended = [finished.prompt_id for finished in desk.wait(9)]
    assert ended.index(8) <= 5, ended


def test_an_owner_who_comes_now_and_then_goes_before_prompts_without_end(desk: Desk, engine: Engine) -> None:
    """Its prompt neither waits for shorter ones, for whose owner much was done already, nor shares turns with them."""
    desk.desk.open(10, engine, "hog")
    desk.desk._shares.worked["hog"] += 100_000
    desk.desk.open(11, engine, "bob")
    for number in range(4):
        desk.send(number, engine, noise(6, seed=number), "hog")
    desk.send(4, engine, noise(9, seed=4), "bob")
    ended = [finished.prompt_id for finished in desk.wait(5)]
    assert ended.index(4) <= 1, ended


def test_a_short_prompt_goes_before_another_owners_long_one(desk: Desk, engine: Engine) -> None:
    """Also where more was done for its owner, as long as it is not much more."""
    desk.desk.open(10, engine, "bob")
    desk.desk._shares.worked["bob"] += HEAD_START_FRAMES // 2
    desk.send(1, engine, noise(30, seed=1), "hog")
    desk.send(2, engine, noise(2, seed=2), "bob")
    assert [finished.prompt_id for finished in desk.wait(2)] == [2, 1]


def test_a_stage_is_kept_for_the_prompt_whose_turn_it_is(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long prompt is not worked on between the chunks of a short one, but is as soon as that leaves a stage free."""
    monkeypatch.setattr("whispergpt.engine.prompts.desk.THREADS", 0)
    desk = PromptDesk(cache_bytes=0)

    def send(number: int, seconds: float, owner: str) -> None:
        desk.open(number, engine, owner)
        desk.append(number, noise(seconds, seed=number))
        desk.commit(number)

    def begin() -> tuple[int, Stage] | None:
        due = desk._due()
        if due is None:
            return None
        begun.append(due)
        return due[0][0].prompt_id, due[1]

    begun: list[tuple[list[Any], Stage]] = []
    send(1, 20, "hog")
    assert begin() == (1, Stage.ENCODE)
    desk._advance(*begun.pop())  # the long one has a chunk to decode now
    send(2, 0.5, "bob")
    turns = []
    while 2 in desk.prompt_ids and not desk._finished:
        first, second = begin(), begin()
        turns += [first, second]
        while begun:
            desk._advance(*begun.pop(0))
    encoded = max(place for place, turn in enumerate(turns) if turn == (2, Stage.ENCODE))
    assert all(turn is None or turn[0] == 2 for turn in turns[: encoded + 1]), turns
    assert (1, Stage.ENCODE) in turns[encoded:], "a stage that the short one has left is not idle"
    assert (1, Stage.READ) not in turns


def test_who_was_away_for_long_does_not_go_first_until_as_much_is_done_for_it(desk: Desk, engine: Engine) -> None:
    """Two seconds of an owner who comes all the time are done before thirty of one who comes for the first time."""
    desk.send(1, engine, noise(1, seed=1), "bob")
    desk.wait(1)
    desk.desk._shares.worked["bob"] += 100_000
    desk.send(2, engine, noise(30, seed=2), "hog")
    desk.send(3, engine, noise(30, seed=3), "hog")
    desk.send(4, engine, noise(2, seed=4), "bob")
    assert desk.wait(3)[0].prompt_id == 4


def test_prompts_of_an_owner_with_other_work_go_behind(desk: Desk, engine: Engine) -> None:
    with desk.desk._changed:  # nothing is worked on meanwhile
        desk.desk.open(1, engine, "hog", behind=True)
        desk.desk.append(1, noise(0.6, seed=1))
        desk.desk.commit(1)
        desk.send(2, engine, noise(3, seed=2), "bob")
        desk.desk.open(3, engine, "hog", behind=True)
        assert [arriving.prompt_id for arriving in desk.desk._line.in_turn()] == [2], (
            "the others are left out meanwhile"
        )
    assert [finished.prompt_id for finished in desk.wait(2)] == [2, 1]


def test_who_has_no_patience_is_refused_at_once_where_others_go_first(desk: Desk, engine: Engine) -> None:
    desk.send(1, engine, noise(1, seed=1), patience=0.0)
    assert isinstance(desk.wait()[0].outcome, Prompt), "nobody is before it, however long it takes itself"
    with desk.desk._changed:  # nothing is worked on meanwhile
        for number, patience in ((2, None), (3, 0.0), (4, 600.0)):
            desk.send(number, engine, noise(number), patience=patience)
        (refused,) = desk.wait()
    assert refused.prompt_id == 3 and isinstance(refused.outcome, AudioError)
    assert refused.outcome.code == "no_capacity" and "before this one" in str(refused.outcome)
    assert sorted(finished.prompt_id for finished in desk.wait(2)) == [2, 4]


def test_who_would_have_one_of_its_owner_wait_too_long_is_refused(desk: Desk, engine: Engine) -> None:
    """A shorter prompt goes first, so that each more delays the long one; another owner's is not refused for it."""
    with desk.desk._changed:  # nothing is worked on meanwhile
        desk.desk._line.speed.observe(len(Stage) * 75, 2.0)  # a second of a prompt takes two of a thread
        desk.send(1, engine, noise(20, seed=1), "ann", patience=2.5)
        for number in (2, 3, 4):
            desk.send(number, engine, noise(1, seed=number), "ann", patience=2.5)
        desk.send(5, engine, noise(1, seed=5), "bob", patience=2.5)
        (refused,) = desk.desk.finished()
    assert refused.prompt_id == 4 and isinstance(refused.outcome, AudioError)
    assert refused.outcome.code == "no_capacity" and "came before" in str(refused.outcome)
    assert {finished.prompt_id for finished in desk.wait(4)} == {1, 2, 3, 5}


def test_who_waits_far_longer_than_foreseen_is_refused(desk: Desk, engine: Engine) -> None:
    with desk.desk._changed:  # nothing is worked on meanwhile
        for number, patience in ((1, 2.0), (2, None)):
            desk.send(number, engine, noise(1, seed=number), patience=patience)
        desk.desk._refuse_late()
        assert not desk.desk.finished()
        for arriving in desk.desk._arriving.values():
            assert arriving.committed_at is not None
            arriving.committed_at -= 2.0 + LATE_SECONDS
        desk.desk._looked_at = 0.0
        desk.desk._refuse_late()
        (refused,) = desk.desk.finished()
    assert refused.prompt_id == 1 and isinstance(refused.outcome, AudioError)
    assert isinstance(desk.wait()[0].outcome, Prompt), "the other one has all time"


def test_prompts_give_way_to_listeners_for_a_while(desk: Desk, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.engine.prompts.desk.LONGEST_PAUSE_SECONDS", 1e9)
    desk.desk.give_way(True)
    desk.send(1, engine, noise(1, seed=1))
    assert not desk.rung.wait(0.3), "no chunk is begun"
    desk.desk.give_way(False)
    assert isinstance(desk.wait()[0].outcome, Prompt)
    desk.desk.give_way(True)
    monkeypatch.setattr("whispergpt.engine.prompts.desk.LONGEST_PAUSE_SECONDS", 0.01)
    desk.send(2, engine, noise(1, seed=2))
    assert isinstance(desk.wait()[0].outcome, Prompt), "a prompt goes on, if slowly"


def test_a_prompt_that_is_not_committed_changes_no_order(desk: Desk, engine: Engine) -> None:
    """Also where nothing was done for its owner: beside it, long prompts of others would go before short ones."""
    with desk.desk._changed:  # nothing is worked on meanwhile
        for number, owner in ((1, "eve"), (2, "hog"), (3, "bob")):
            desk.desk.open(number, engine, owner)
        desk.desk._shares.worked |= {"hog": 10_000, "bob": 10_000 + HEAD_START_FRAMES // 2}
        desk.send(4, engine, noise(30, seed=1), "hog")
        desk.send(5, engine, noise(2, seed=2), "bob")
        assert desk.desk._line.in_turn()[0].prompt_id == 5


def test_who_comes_has_a_head_start_and_who_pauses_briefly_stays_where_it_was(desk: Desk, engine: Engine) -> None:
    desk.desk.open(1, engine, "hog")
    desk.desk._shares.worked["hog"] = 10_000
    desk.desk.open(2, engine, "bob")
    assert desk.desk._shares.worked == {"hog": 2 * HEAD_START_FRAMES, "bob": 0}
    desk.desk._shares.worked |= {"hog": 10_000, "bob": 400}
    for number in (1, 2):
        desk.desk.drop(number)
    desk.desk.open(3, engine, "hog")
    desk.desk.open(4, engine, "bob")
    assert desk.desk._shares.worked == {"hog": 10_000, "bob": 400}, "nobody is another burst after a moment"
    desk.desk.drop(3)
    desk.desk._shares._left_at["hog"] -= AWAY_SECONDS
    desk.desk.open(5, engine, "eve")
    assert desk.desk._shares.worked == {"bob": 400, "eve": 0}, "what was done for those that are away is forgotten"


def test_a_prompt_is_worked_on_while_it_arrives(desk: Desk, engine: Engine) -> None:
    desk.desk.open(1, engine, "")
    encoder = desk.desk._arriving[1].encoder
    desk.desk.append(1, noise(1))
    until = threading.Event()
    for _ in range(3000):
        if encoder.passed(Stage.READ) >= 72:
            break
        until.wait(0.01)
    assert 72 <= encoder.passed(Stage.READ) <= 75
    desk.desk.commit(1)
    assert prompt_of(desk.wait()[0]).frames == 75


def test_prompts_that_cannot_be_used_and_prompts_that_are_dropped(desk: Desk, engine: Engine) -> None:
    desk.send(1, engine, noise(0.2))
    desk.send(2, engine, noise(61))
    desk.send(3, engine, noise(5))
    desk.desk.drop(3)
    desk.desk.append(3, noise(1))
    desk.desk.commit(3)
    desk.send(4, engine, noise(1))
    outcomes = {finished.prompt_id: finished.outcome for finished in desk.wait(3)}
    assert set(outcomes) == {1, 2, 4}
    assert isinstance(outcomes[1], AudioError) and outcomes[1].code == "too_short"
    assert isinstance(outcomes[2], AudioError) and outcomes[2].code == "too_long"


def test_a_thread_that_fails_is_told(desk: Desk, engine: Engine) -> None:
    desk.desk.open(1, engine, "")
    desk.desk._arriving[1].encoder._path = None  # type: ignore[assignment]
    desk.desk.append(1, noise(1))
    assert desk.rung.wait(10)
    with pytest.raises(RuntimeError, match="cannot be encoded any more"):
        desk.desk.finished()


def test_the_cache_is_bounded_and_keeps_what_was_used_last(engine: Engine) -> None:
    prompts = [engine.encode_prompt(noise(1, seed)) for seed in range(3)]
    keys = [PromptKey("speech", "", bytes([n])) for n in range(3)]
    cache = PromptCache(2 * prompts[0].bytes)
    cache.add(keys[0], prompts[0])
    cache.add(keys[1], prompts[1])
    assert cache.find(keys[0]) is prompts[0]
    cache.add(keys[2], prompts[2])
    assert cache.find(keys[1]) is None and cache.find(keys[0]) is prompts[0] and cache.find(keys[2]) is prompts[2]
    assert cache.bytes == 2 * prompts[0].bytes
    none = PromptCache(0)
    none.add(keys[0], prompts[0])
    assert none.find(keys[0]) is None


_NICE = """
import os, threading
from whispergpt.engine.prompts.desk import PromptDesk
from whispergpt.engine.prompts.shares import HEAD_START_FRAMES
os.nice(15)
os.setuid(65534) if os.getuid() == 0 else None  # nobody may not raise a priority, as root may
desk = PromptDesk(0, lambda: None)
threads = [thread.native_id for thread in threading.enumerate() if thread is not threading.main_thread()]
while len({os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} - {15}) == 0:
    desk.finished()
print([os.getpriority(os.PRIO_PROCESS, thread) for thread in threads])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
def test_a_process_that_is_nice_may_work_on_prompts() -> None:
    """As under Ray, which starts its workers with 15."""
    found = subprocess.run([sys.executable, "-c", _NICE], capture_output=True, text=True, timeout=60, check=True)
    assert set(ast.literal_eval(found.stdout)) <= {15, 19} and found.stderr == ""
