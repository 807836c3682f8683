"""Resume tokens: a response goes on from one on any server with the same model and key. They are signed, not secret."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from whispergpt.engine.messages.events import ModelInfo, SnapshotTaken
from whispergpt.engine.stream_plan import SamplingParams, Snapshot
from whispergpt.server.errors import ApiError, bad_value
from whispergpt.server.tokens.seal import Seal

PARAM = "response.resume_token"
_VERSION = 2
MOST_SKIPPED = 300
"""Frames (4 s) behind a token's frame from which a client may go on; those before are made again and not sent."""


class ResumeToken(msgspec.Struct, frozen=True):
    """``frame``: the next one, to be made from ``snapshot``; ``frames``: of the whole response, None without an end."""

    version: int
    model: str
    digest: str
    frame: int
    frames: int | None
    sampling: SamplingParams
    snapshot: Snapshot = msgspec.field(name="memory")

    def first_sent(self, asked: int | None) -> int:
        """Return the first frame to send: the client's, or ``frame`` where it names none.

        Raises:
            ApiError: 400, that is before the token, too far behind it, or behind the end.
        """
        start = self.frame if asked is None else asked
        last = self.frame + MOST_SKIPPED
        if self.frames is not None:
            last = min(last, self.frames - 1)
        if not self.frame <= start <= last:
            told = f"response.from_frame must be {self.frame} to {last} with this token, not {start}."
            raise bad_value("response.from_frame", told, "out_of_range")
        return start


class ResumeTokens:
    """Seals and opens tokens.

    Args:
        key: as in ``Seal``: shared by servers that take each other's streams over.
    """

    def __init__(self, key: str | None) -> None:
        self._seal = Seal(key, "resume")

    def seal(self, snapshot: SnapshotTaken, model: ModelInfo, frames: int | None) -> str:
        """Return the token of one snapshot, URL-safe."""
        token = ResumeToken(
            _VERSION, model.id, model.digest, snapshot.frame, frames, snapshot.sampling, snapshot.snapshot
        )
        return self._seal.close(msgspec.msgpack.encode(token))

    def open(self, text: str) -> ResumeToken:
        """Read a token.

        Raises:
            ApiError: 400, it was not sealed with this key.
        """
        payload = self._seal.open(text)
        if payload is None:
            raise unusable("it is none of this server's, or was changed on the way")
        try:
            token = msgspec.msgpack.decode(payload, type=ResumeToken)
        except ValueError:
            raise unusable("it is of another version") from None
        if token.version != _VERSION:
            raise unusable("it is of another version")
        return token


def model_of(token: ResumeToken, models: Mapping[str, ModelInfo]) -> ModelInfo:
    """Return the model of a token's stream.

    Raises:
        ApiError: 400, it is not here, or has other weights.
    """
    model = models.get(token.model)
    if model is None:
        raise unusable(f"its model '{token.model}' is not here")
    if model.digest != token.digest:
        raise unusable(f"its model '{token.model}' had other weights than here")
    return model


def unusable(why: str) -> ApiError:
    """Return a 400 that says why a token cannot be used."""
    return bad_value(PARAM, f"The resume token cannot be used: {why}.", "bad_token")
