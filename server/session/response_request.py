"""Requests for a response: a continuation of the committed prompt, or the rest of an earlier response."""

from __future__ import annotations

from dataclasses import dataclass

from whispergpt.engine.stream_plan import StreamPlan
from whispergpt.server.link.places import Place
from whispergpt.server.link.prompt_handle import PromptHandle
from whispergpt.server.parameters import frames_for
from whispergpt.server.session.events import OutputFormat, ResponseFields
from whispergpt.server.session.options import StreamOptions
from whispergpt.server.session.prompt import SessionPrompt


@dataclass(frozen=True)
class ResponseRequest:
    """A response as it is asked for.

    Attributes:
        prompt: committed, or resumed from a token.
        plan: the engine's plan.
        output: format of binary messages.
        began: time of ``response.create``.
        place: kept for the response while its prompt was made ready.
        prompt_seconds: paid for the prompt, where this is its first response.
        feed: whether others can listen to it from the start.
    """

    prompt: PromptHandle
    plan: StreamPlan
    output: OutputFormat
    began: float
    place: Place | None = None
    prompt_seconds: float = 0.0
    feed: bool = False

    @property
    def frames(self) -> int | None:
        """Return the frames of the whole response, with those of an earlier one; None without an end."""
        return None if self.plan.frames is None else self.plan.first_frame + self.plan.frames

    @property
    def from_frame(self) -> int:
        """Return the first frame of the response that is sent."""
        return self.plan.first_frame + self.plan.skipped


def continuation(
    prompt: SessionPrompt,
    options: StreamOptions,
    fields: ResponseFields,
    most_seconds: float,
    place: Place | None,
    began: float,
) -> ResponseRequest:
    """Return a request for a continuation of the committed prompt.

    Raises:
        ApiError: no prompt is committed, or ``fields`` ask for more seconds than there may be.
    """
    committed, seconds = prompt.committed(), fields.seconds
    frames = None if seconds is None else frames_for(seconds, "response.seconds", most_seconds)
    plan = StreamPlan(
        options.sampling, frames, options.pace, snapshots=options.checkpoints and committed.model.resumable
    )
    paid = prompt.paid_seconds
    return ResponseRequest(committed, plan, options.output_format, began, place, paid, fields.feed)
