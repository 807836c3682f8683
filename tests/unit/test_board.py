"""What front ends share: numbers, tokens and streams, exact with several processes and after one has died."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace, SamplingParams, StreamPlan
from whispergpt.server.access.api_keys import add_key, digest_of
from whispergpt.server.access.guard import Guard
from whispergpt.server.admission.held_bytes import Pot, Share
from whispergpt.server.errors import ApiError
from whispergpt.server.link.places import Places
from whispergpt.server.settings import Settings
from whispergpt.server.workers.board import Board
from whispergpt.server.workers.front_ends import free_lane
from whispergpt.server.workers.stream_rows import FreeRows, StreamRows

LANES = 3
MODELS = {name: ModelInfo(name, 1, 24_000, 75, {}, "", "", 8) for name in ("speech", "piano")}


def boards() -> list[Board]:
    """A board as each of its processes sees it, the hub first."""
    hub = Board.make(LANES)
    return [hub, *(Board(hub.descriptor, LANES, lane) for lane in range(1, LANES))]


def test_a_bound_holds_for_processes_that_count_at_once() -> None:
    board, most = Board.make(LANES), 3000
    code = (
        "import sys; from whispergpt.server.workers.board import Board\n"
        f"board = Board({board.descriptor}, {LANES}, int(sys.argv[1])); number = board.number('streams')\n"
        "while True:\n"
        "    with board.turn:\n"
        f"        if number.total >= {most}: break\n"
        "        number.part += 1\n"
    )
    lanes = range(1, LANES)
    running = [subprocess.Popen([sys.executable, "-c", code, str(lane)], pass_fds=[board.descriptor]) for lane in lanes]
    assert [one.wait(60) for one in running] == [0] * len(running)
    number = board.number("streams")
    assert number.total == most
    board.clear(1)
    assert number.total == number.of(2)


def test_a_dead_process_leaves_its_accounts_exact(tmp_path: Path) -> None:
    key = digest_of(add_key(tmp_path / "keys.toml", "studio", 2, 100.0))
    seen = boards()
    guards = [Guard(Settings(keys=tmp_path / "keys.toml"), board) for board in seen]
    hub, dead, alive = (guard.caller_with(key) for guard in guards)
    visit, kept = dead.enter(75 * 40), alive.enter(75 * 30)
    visit.go_on(75 * 10)
    Places(seen[1]).keep("speech", "realtime", True, dead)
    uploads = [Pot(1000, 0.5, "prompts", 1, board) for board in seen]
    Share(uploads[1], dead).set(400)
    assert not alive.has_room and uploads[2].bytes_of(alive) == 400 and Places(seen[2]).kept() == 1
    with pytest.raises(ApiError, match="2 streams at once"):
        alive.enter(75)
    free_lane(seen[0], guards[0], 1)
    assert alive.has_room and uploads[2].bytes == 0 and Places(seen[2]).kept() == 0
    kept.close(75 * 30)
    alive.pay(100.0 - 10.0 - 30.0 - 1.0)  # seconds that were made, and one less than is left
    alive.pay(2.0)
    with pytest.raises(ApiError, match="used up"):
        hub.pay(1.0)


def test_a_token_is_used_up_for_all() -> None:
    first, *others = boards()
    now, token = time.time(), bytes(range(16))
    assert first.use_up(token, now + 60, now)
    assert all(board.is_used(token) and not board.is_used(token[::-1]) for board in others)
    assert first.use_up(token, now - 1, now + 61) and not first.is_used(token), "it is too old to be used again"
    same_place = [token[:8] + number.to_bytes(8, "little") for number in range(100)]
    assert not all(first.use_up(one, now + 60, now) for one in same_place), "there is a bound"


@dataclass
class Playing:
    stream_id: int
    model: ModelInfo
    plan: StreamPlan
    seconds_left: float | None = None
    waits: bool = False


def test_streams_of_all_processes_are_seen() -> None:
    _, one, other = boards()
    free = FreeRows()
    mine, theirs = StreamRows(one, free, 0), StreamRows(other, FreeRows(), 0)
    elsewhere = StreamRows(one, free, 1)

    def playing(number: int, model: str, pace: Pace, left: float | None = None) -> Playing:
        plan = StreamPlan(SamplingParams(1, 1.0, 0, 1.0), None, pace)
        return Playing(number, MODELS[model], plan, left, waits=left is None)

    for rows, stream in (
        (mine, playing(1, "speech", "realtime", 3.5)),
        (mine, playing(2, "piano", "fast")),
        (theirs, playing(1, "speech", "realtime")),
        (elsewhere, playing(3, "speech", "realtime")),
    ):
        rows.note(stream)
    found = mine.live(MODELS, "speech", "realtime")
    assert len(found) == 2 and sorted((one.seconds_left or 0, one.waits) for one in found) == [(0, True), (3.5, False)]
    assert [len(theirs.live(MODELS, None, pace)) for pace in (None, "realtime", "fast")] == [3, 2, 1]
    assert [one.model.id for one in theirs.live(MODELS, "piano", None)] == ["piano"]
    mine.forget(1)
    other.clear(2)
    assert [one.model.id for one in theirs.live(MODELS, None, None)] == ["piano"]
    assert len(elsewhere.live(MODELS, None, None)) == 1
