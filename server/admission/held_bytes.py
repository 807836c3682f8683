"""Bytes that clients make the server hold: counted from arrival until they are handled, and bounded by shares."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from whispergpt.server.access.caller import STRANGER, Caller
from whispergpt.server.errors import ApiError
from whispergpt.server.ledger import Ledger, Number, OwnLedger

MAX_TEXT_BYTES = 262_144
"""Size of a text message: the token of a strict server is the longest thing that a client has to say."""
FREE_CONTROL_BYTES = 4_096
"""Control bytes of each connection that are never refused: room for every event but a resume token."""

MESSAGE_OVERHEAD_BYTES = 256
"""Bytes that the objects around each waiting message take."""


class Pot:
    """Bound of the bytes of all clients together.

    A key may hold a share of what the other keys leave, and each of its connections the same share of what the key's
    other connections leave of that. So a later client always finds some room. Where there is one key, or none is asked
    for, its connections share all of the room.

    Args:
        most: bytes.
        share: above 0, at most 1.
        what: kind of the bytes, for the error's sentence.
        retry_after_seconds: time to wait, for the error.
        ledger: has the counts.
    """

    def __init__(
        self, most: int, share: float, what: str, retry_after_seconds: int, ledger: Ledger | None = None
    ) -> None:
        self._most, self._share, self._what, self._retry_after = most, share, what, retry_after_seconds
        self._ledger = ledger or OwnLedger()
        self._all = self._ledger.number("bytes", what)
        self.turn = self._ledger.turn

    @property
    def bytes(self) -> int:
        """Return what all connections hold."""
        return int(self._all.total)

    def bytes_of(self, caller: Caller) -> int:
        """Return what all connections of a caller hold."""
        return int(self._of_key(caller).total)

    def _of_key(self, caller: Caller) -> Number:
        return self._ledger.number("bytes", self._what, "of key", caller.identity)

    def change(self, caller: Caller, difference: int) -> None:
        """Count bytes of a caller, or, where the difference is negative, count them no longer."""
        self._all.part += difference
        self._of_key(caller).part += difference

    def require(self, caller: Caller, own: int, more: int) -> None:
        """Refuse a connection that holds ``own`` bytes and gets ``more``.

        Raises:
            ApiError: 413, that could never fit; 429, it does not fit now.
        """
        theirs = self.bytes_of(caller)
        if own + more <= self._largest(caller, self.bytes - theirs, theirs - own):
            return
        most = int(self._largest(caller, 0, 0))
        if own + more > most:
            told = f"One connection may have at most {most} bytes of {self._what} here; send less."
            raise ApiError(413, "too_large", told, "audio")
        again = self._retry_after
        told = f"Too many bytes of {self._what} wait here; try again in {again} s."
        raise ApiError(429, "no_capacity", told, retry_after=again)

    def _largest(self, caller: Caller, other_keys: int, other_connections: int) -> float:
        part = float(self._most - other_keys)
        if not caller.alone:
            part *= self._share
        return self._share * (part - other_connections)


class Share:
    """Bytes of one connection or request in a pot."""

    def __init__(self, pot: Pot, caller: Caller) -> None:
        self.bytes = 0
        self._pot, self._caller = pot, caller

    def set(self, count: int) -> None:
        """Hold ``count`` bytes from now on.

        Raises:
            ApiError: as ``Pot.require``; what was held stays held.
        """
        with self._pot.turn:
            if count > self.bytes:
                self._pot.require(self._caller, self.bytes, count - self.bytes)
            self.restore(count)

    def restore(self, count: int) -> None:
        """Count ``count`` bytes again, as before; this is never refused."""
        self._pot.change(self._caller, count - self.bytes)
        self.bytes = count

    def belong_to(self, caller: Caller) -> None:
        """Count the bytes for ``caller`` from now on."""
        self._pot.change(self._caller, -self.bytes)
        self._caller = caller
        self._pot.change(caller, self.bytes)


class _Message(NamedTuple):
    size: int
    is_text: bool


_NONE = _Message(0, True)


class ConnectionBytes:
    """Bytes of one WebSocket connection: of parts of messages, of messages that wait, and of its prompt.

    Text and audio are counted in different pots, so that no prompt keeps a control message out. A text that is longer
    than any control message is audio in base64, and counts as audio; its parts count as text up to that length.

    Args:
        prompts: the pot for audio.
        control: the pot for text.
    """

    def __init__(self, prompts: Pot, control: Pot) -> None:
        self._prompts, self._control = Share(prompts, STRANGER), Share(control, STRANGER)
        self._arriving = self._texts = self._audio = self._prompt = 0
        self._text_arrives = True
        self._waiting: deque[_Message] = deque()
        self._current = _NONE
        self._over = False

    def belong_to(self, caller: Caller) -> None:
        """Count the bytes for ``caller``, once it is known."""
        self._prompts.belong_to(caller)
        self._control.belong_to(caller)

    def arrive(self, count: int, is_text: bool) -> None:
        """Note the bytes of a message that is not whole yet, and whether they are text.

        Raises:
            ApiError: 413 or 429, the caller's share is used up; nothing is noted then.
        """
        if (count, is_text) == (self._arriving, self._text_arrives):
            return
        before, self._text_arrives = self._text_arrives, is_text
        try:
            self._settle(arriving=count)
        except ApiError:
            self._text_arrives = before
            raise

    def come(self, size: int, is_text: bool) -> None:
        """Note that a message is whole, and waits from now on.

        Raises:
            ApiError: as ``arrive``.
        """
        if self._over:
            return
        message = _Message(size + MESSAGE_OVERHEAD_BYTES, is_text and size <= MAX_TEXT_BYTES)
        if message.is_text:
            self._settle(arriving=0, texts=self._texts + message.size)
        else:
            self._settle(arriving=0, audio=self._audio + message.size)
        self._waiting.append(message)

    def take(self) -> None:
        """Note that the oldest message is being handled."""
        if self._waiting:
            self._current = self._waiting.popleft()

    def handled(self) -> None:
        """Note that the message is handled and its bytes are freed."""
        done, self._current = self._current, _NONE
        if done.is_text:
            self._settle(texts=self._texts - done.size)
        else:
            self._settle(audio=self._audio - done.size)

    def keep(self, size: int) -> None:
        """Note that the message in work became ``size`` more bytes of the prompt.

        Raises:
            ApiError: as ``arrive``.
        """
        self._settle(audio=self._audio - self._current.size, prompt=self._prompt + size)
        self._current = _NONE

    def hold_prompt(self, count: int) -> None:
        """Count ``count`` bytes for the prompt from now on.

        Raises:
            ApiError: as ``arrive``.
        """
        self._settle(prompt=count)

    def close(self) -> None:
        """End the session: give everything back but bytes that are still arriving."""
        self._over, self._current = True, _NONE
        self._waiting.clear()
        self._settle(texts=0, audio=0, prompt=0)

    def _settle(
        self, arriving: int | None = None, texts: int | None = None, audio: int | None = None, prompt: int | None = None
    ) -> None:
        arriving = self._arriving if arriving is None else arriving
        texts = self._texts if texts is None else texts
        audio = self._audio if audio is None else audio
        prompt = self._prompt if prompt is None else prompt
        begun_text = min(arriving, MAX_TEXT_BYTES) if self._text_arrives else 0
        before = self._control.bytes
        self._control.set(max(0, begun_text + texts - FREE_CONTROL_BYTES))
        try:
            self._prompts.set(arriving - begun_text + audio + prompt)
        except ApiError:
            self._control.restore(before)
            raise
        self._arriving, self._texts, self._audio, self._prompt = arriving, texts, audio, prompt
