"""A response that is wanted: of a committed prompt, or the rest of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass

from whispergpt.engine.messages import Pace, SamplingParams
from whispergpt.server.link.engine_handles import PromptHandle
from whispergpt.server.link.places import Place
from whispergpt.server.link.stream_plan import StreamPlan
from whispergpt.server.parameters import frames_for
from whispergpt.server.session.events import OutputFormat, ResponseFields
from whispergpt.server.session.options import StreamOptions
from whispergpt.server.session.prompt import SessionPrompt


@dataclass(frozen=True)
class Wanted:
    """What a response is to be.

    Attributes:
        prompt: committed, or recalled from a token.
        output: of binary messages.
        frames: of the whole response; None goes on until cancelled.
        began: when ``response.create`` came.
        first_frame: of the response, where its engine takes it up.
        from_frame: the first that is sent.
        resumed: whether it is the rest of one of another time or place.
        place: kept for it while its prompt was made ready.
        prompt_seconds: paid for the prompt, where this is its first response.
    """

    prompt: PromptHandle
    sampling: SamplingParams
    frames: int | None
    pace: Pace
    output: OutputFormat
    began: float
    first_frame: int = 0
    from_frame: int = 0
    resumed: bool = False
    place: Place | None = None
    prompt_seconds: float = 0.0

    @property
    def skipped(self) -> int:
        """Frames that the engine makes and nobody is sent."""
        return self.from_frame - self.first_frame

    @property
    def plan(self) -> StreamPlan:
        """What the engine has to do."""
        left = None if self.frames is None else self.frames - self.first_frame
        recalls = self.prompt.model.recalls
        return StreamPlan(self.sampling, left, self.pace, self.first_frame, self.skipped, recalls, self.resumed)


def continuation(
    prompt: SessionPrompt,
    options: StreamOptions,
    fields: ResponseFields,
    most_seconds: float,
    place: Place | None,
    began: float,
) -> Wanted:
    """Return a continuation of the committed prompt.

    Raises:
        ApiError: no prompt is committed, or ``fields`` ask for more seconds than there may be.
    """
    committed, seconds = prompt.committed(), fields.seconds
    frames = None if seconds is None else frames_for(seconds, "response.seconds", most_seconds)
    return Wanted(
        committed,
        options.sampling,
        frames,
        options.pace,
        options.output_format,
        began,
        place=place,
        prompt_seconds=prompt.paid_seconds,
    )
