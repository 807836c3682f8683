"""Options of a ``/stream`` session, which ``session.update`` changes and ``session.updated`` tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import UNSET

from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE
from whispergpt.engine.messages.events import ModelInfo
from whispergpt.engine.stream_plan import Pace, SamplingParams
from whispergpt.server.audio.audio_io import MAX_PCM_RATE, MIN_PCM_RATE
from whispergpt.server.errors import bad_value
from whispergpt.server.parameters import Wishes, check_wishes, find_model, sampling_for
from whispergpt.server.session.events import InputFields, InputFormat, OutputFormat, ResponseFields, SessionFields

SAMPLING = ("seed", "temperature", "top_k", "top_p")
"""Fields that govern sampling, of a session and of a response."""


@dataclass(frozen=True)
class StreamOptions:
    """Options of one session; each change makes new ones.

    Attributes:
        checkpoints: whether responses send tokens to resume them from; a session's protocol decides it.
    """

    model: ModelInfo
    input_format: InputFormat = "file"
    input_rate: int = SAMPLE_RATE
    output_format: OutputFormat = "pcm_s16le"
    wishes: Wishes = field(default_factory=Wishes)
    pace: Pace = "realtime"
    checkpoints: bool = True

    @property
    def input(self) -> tuple[str, str, int]:
        """Return the options that are fixed once audio came."""
        return self.model.id, self.input_format, self.input_rate

    @property
    def sampling(self) -> SamplingParams:
        """Return the sampling of the next response, with a random seed where none is set."""
        return sampling_for(self.wishes, self.model)

    def without_sampling(self) -> StreamOptions:
        """Return the options without those that may change while a response plays."""
        return replace(self, wishes=replace(self.wishes, temperature=None, top_k=None, top_p=None))

    def sampling_in(self, fields: SessionFields) -> dict[str, float | int]:
        """Return the sampling values, without the seed, that ``fields`` of an update named."""
        named = (name for name in SAMPLING[1:] if getattr(fields, name) is not UNSET)
        return {name: getattr(self.sampling, name) for name in named}

    def updated(self, fields: SessionFields, models: Mapping[str, ModelInfo]) -> StreamOptions:
        """Return the options after ``session.update``.

        Raises:
            ApiError: 400, a field has an impossible value.
        """
        options = self
        if fields.model is not UNSET:
            options = replace(options, model=find_model(models, fields.model, "session.model"))
        if fields.input is not UNSET:
            options = options._with_input(fields.input)
        if fields.output is not UNSET and fields.output.format is not UNSET:
            options = replace(options, output_format=fields.output.format)
        wishes = {name: value for name in SAMPLING if (value := getattr(fields, name)) is not UNSET}
        options = replace(options, wishes=replace(options.wishes, **wishes))
        check_wishes(options.wishes, "session.")
        return options if fields.pace is UNSET else replace(options, pace=fields.pace)

    def for_response(self, fields: ResponseFields) -> StreamOptions:
        """Return the options of one response, whose own sampling comes before the session's.

        Raises:
            ApiError: 400, a field has an impossible value.
        """
        wishes = {name: value for name in SAMPLING if (value := getattr(fields, name)) is not None}
        check_wishes(Wishes(**wishes), "response.")
        return replace(self, wishes=replace(self.wishes, **wishes))

    def describe(self, session_id: str) -> dict[str, Any]:
        """Return the ``session`` of ``session.created`` and ``session.updated``."""
        drawn = self.sampling
        return {
            "id": session_id,
            "model": self.model.id,
            "sample_rate": SAMPLE_RATE,
            "frame_rate": FRAME_RATE,
            "fingerprint": self.model.fingerprint,
            "input": {"format": self.input_format, "sample_rate": self.input_rate},
            "output": {"format": self.output_format, "sample_rate": SAMPLE_RATE},
            "seed": self.wishes.seed,
            "temperature": drawn.temperature,
            "top_k": drawn.top_k,
            "top_p": drawn.top_p,
            "pace": self.pace,
        }

    def _with_input(self, fields: InputFields) -> StreamOptions:
        options = self
        if fields.format is not UNSET:
            options = replace(options, input_format=fields.format)
        if fields.sample_rate is not UNSET:
            if not MIN_PCM_RATE <= fields.sample_rate <= MAX_PCM_RATE:
                raise bad_value(
                    "session.input.sample_rate",
                    f"session.input.sample_rate must be {MIN_PCM_RATE} to {MAX_PCM_RATE}.",
                    "out_of_range",
                )
            options = replace(options, input_rate=fields.sample_rate)
        return options
