"""Addresses of ``/v1/play``, each good for one playback."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from whispergpt.server.access.caller import Caller
from whispergpt.server.admission.admission import UploadMeter
from whispergpt.server.errors import ApiError
from whispergpt.server.http.upload import ContinueForm


@dataclass
class KnownContinuation:
    """Continuation that an address plays, without its samples."""

    form: ContinueForm
    caller: Caller


@dataclass
class HeldContinuation(KnownContinuation):
    """Continuation that an address plays.

    Attributes:
        decoded: samples of its prompt, until they are taken.
        meter: counts these.
        cleanup: gives back what the address holds; closed by the request that takes the address.
    """

    decoded: bytes
    meter: UploadMeter
    cleanup: ExitStack

    def take_decoded(self) -> bytes:
        """Return the samples, and keep them no longer."""
        decoded, self.decoded = self.decoded, b""
        return decoded


class Addresses(Protocol):
    """Forms by the token of their address, each good for one playback.

    Attributes:
        seconds: for which an address is good.
    """

    seconds: float

    async def hold(self, held: HeldContinuation) -> str:
        """Return a token for a continuation.

        Raises:
            ApiError: 429, too many are held.
        """
        ...

    async def look(self, token: str) -> KnownContinuation:
        """Return the continuation of a token.

        Raises:
            ApiError: 404, there is none: it was played, is too old, or is another server's.
        """
        ...

    async def take(self, token: str) -> HeldContinuation:
        """Return the continuation of a token, and forget the address.

        Raises:
            ApiError: as ``look``.
        """
        ...


class PlayAddresses:
    """Forms by the token of their address, each kept for ``seconds``, at most ``most`` at once.

    Their memory counts as that of prompts being received.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self.seconds = seconds
        self._most = most
        self._held: dict[str, tuple[HeldContinuation, asyncio.TimerHandle]] = {}

    async def hold(self, held: HeldContinuation) -> str:
        if len(self._held) >= self._most:
            wait = max(1, round(self.seconds))
            told = f"{self._most} addresses wait to be played already; try again in {wait} s."
            raise ApiError(429, "no_capacity", told, retry_after=wait)
        token = secrets.token_urlsafe(32)
        self._held[token] = held, asyncio.get_running_loop().call_later(self.seconds, self._drop, token)
        return token

    async def look(self, token: str) -> HeldContinuation:
        if token not in self._held:
            raise ApiError(
                404,
                "wrong_token",
                "This address was played already, is too old, or is not of this server; POST /v1/play makes another.",
            )
        return self._held[token][0]

    async def take(self, token: str) -> HeldContinuation:
        held = await self.look(token)
        self._held.pop(token)[1].cancel()
        return held

    def _drop(self, token: str) -> None:
        self._held.pop(token)[0].cleanup.close()
