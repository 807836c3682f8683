"""Bytes that clients make the server hold: shares of keys and connections, and what of a connection counts as what."""

from __future__ import annotations

import pytest

from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.held_bytes import (
    FREE_CONTROL_BYTES,
    MESSAGE_OVERHEAD_BYTES,
    ConnectionBytes,
    Pot,
    Share,
)
from whispergpt.server.errors import ApiError
from whispergpt.server.session.events import MAX_TEXT_BYTES

MOST = 1024


def pot(most: int = MOST, share: float = 0.5) -> Pot:
    return Pot(most, share, "prompts", retry_after_seconds=5)


def fill(share: Share, step: int = 1) -> int:
    """Hold as much as is allowed, and return that."""
    try:
        while True:
            share.set(share.bytes + step)
    except ApiError as error:
        assert error.status in (413, 429)
    return share.bytes


def test_whoever_comes_finds_room() -> None:
    room = pot()
    for name in "abcdefgh":
        caller, before = Caller(name, identity=name), room.bytes
        for _ in range(20):
            fill(Share(room, caller))
        taken = room.bytes_of(caller)
        assert 0 < taken <= (MOST - before) / 2 and room.bytes < MOST


def test_a_key_that_is_alone_leaves_nothing_for_others() -> None:
    room, alone = pot(), Caller(alone=True)
    first, *others = (fill(Share(room, alone)) for _ in range(20))
    assert first == MOST // 2 and MOST - 5 <= first + sum(others) <= MOST


def test_what_can_never_fit_is_told_apart_from_what_has_to_wait() -> None:
    room, caller = pot(), Caller("a", identity="a")
    with pytest.raises(ApiError, match="at most 256 bytes of prompts") as never:
        Share(room, caller).set(257)
    assert (never.value.status, never.value.code) == (413, "too_large")
    held = Share(room, caller)
    held.set(256)
    with pytest.raises(ApiError, match="try again in 5 s") as later:
        Share(room, caller).set(200)
    assert (later.value.status, later.value.code, later.value.retry_after) == (429, "no_capacity", 5)
    held.set(0)
    Share(room, caller).set(200)
    assert room.bytes == 200


def test_what_is_held_goes_with_the_caller() -> None:
    room, first, second = pot(), Caller("a", identity="a"), Caller("a", identity="b")
    share = Share(room, first)
    share.set(100)
    share.belong_to(second)
    assert room.bytes_of(first) == 0 and room.bytes_of(second) == room.bytes == 100


class Connection:
    """A connection's count, and the pots that it is counted in."""

    def __init__(self, prompts: int = 2**30, control: int = 2**30) -> None:
        self.prompts, self.control = pot(prompts), pot(control)
        self.held = ConnectionBytes(self.prompts, self.control)

    @property
    def bytes(self) -> tuple[int, int]:
        return self.prompts.bytes, self.control.bytes


def test_a_message_is_counted_until_it_is_handled() -> None:
    one, text = Connection(), 10_000
    one.held.arrive(5_000, is_text=True)
    assert one.bytes == (0, 5_000 - FREE_CONTROL_BYTES)
    one.held.arrive(MAX_TEXT_BYTES + 7, is_text=True)
    assert one.bytes == (7, MAX_TEXT_BYTES - FREE_CONTROL_BYTES), "no text is longer"
    one.held.arrive(5_000, is_text=False)
    assert one.bytes == (5_000, 0)
    one.held.come(1_000_000, is_text=False)
    assert one.bytes == (1_000_000 + MESSAGE_OVERHEAD_BYTES, 0), "it arrives no longer"
    one.held.come(text, is_text=True)
    counted = (1_000_000 + MESSAGE_OVERHEAD_BYTES, text + MESSAGE_OVERHEAD_BYTES - FREE_CONTROL_BYTES)
    assert one.bytes == counted
    one.held.take()
    assert one.bytes == counted, "while it is being handled"
    one.held.keep(1_000_000)
    one.held.handled()
    assert one.bytes == (1_000_000, counted[1]), "the prompt has it"
    one.held.take()
    one.held.handled()
    one.held.hold_prompt(5)
    assert one.bytes == (5, 0)
    one.held.come(10, is_text=False)
    one.held.close()
    assert one.bytes == (0, 0)
    one.held.come(10, is_text=False)
    assert one.bytes == (0, 0), "of a session that is over nobody handles messages"


def test_a_text_that_is_longer_than_any_is_audio_in_base64() -> None:
    one = Connection(control=FREE_CONTROL_BYTES + MAX_TEXT_BYTES)
    one.held.come(MAX_TEXT_BYTES + 1, is_text=True)
    assert one.bytes == (MAX_TEXT_BYTES + 1 + MESSAGE_OVERHEAD_BYTES, 0)
    one.held.take()
    one.held.handled()
    assert one.bytes == (0, 0)


def test_small_control_messages_are_never_refused() -> None:
    one, hog = Connection(prompts=2_000_000, control=100_000), Caller("hog", identity="hog", alone=True)
    for room in (one.prompts, one.control):
        for _ in range(40):
            fill(Share(room, hog), 997)
    for _ in range(10):
        one.held.arrive(100, is_text=True)
        one.held.come(100, is_text=True)
        one.held.arrive(0, is_text=True)
    with pytest.raises(ApiError):
        one.held.come(200_000, is_text=True)
    with pytest.raises(ApiError):
        one.held.come(200_000, is_text=False)
    before = one.bytes
    for _ in range(10):
        one.held.take()
        one.held.handled()
    one.held.close()
    assert one.bytes == before, "what was refused was never counted"


def test_audio_that_arrives_leaves_the_room_of_control_messages_alone() -> None:
    prompts, control = pot(2**30), pot(2**20)
    for _ in range(130):
        ConnectionBytes(prompts, control).arrive(MAX_TEXT_BYTES, is_text=False)
    assert (prompts.bytes, control.bytes) == (130 * MAX_TEXT_BYTES, 0)
    ConnectionBytes(prompts, control).come(200_000, is_text=True)


def test_what_is_refused_keeps_its_kind() -> None:
    one = Connection(prompts=100_000, control=100_000)
    one.held.arrive(10_000, is_text=True)
    with pytest.raises(ApiError):
        one.held.arrive(90_000, is_text=False)
    one.held.hold_prompt(1)
    assert one.bytes == (1, 10_000 - FREE_CONTROL_BYTES)
