"""A slot: one stream's row of the batch's state, filled when the stream gets it."""

from __future__ import annotations

from whispergpt.engine.messages import SamplingParams
from whispergpt.engine.model.streaming import State, branch, copy_into, leaf
from whispergpt.engine.prompts.prompt import Prompt


def fill_slot(slot: State, prompt: Prompt, sampling: SamplingParams, first_frame: int = 0) -> None:
    """Fill a slot from a prompt, with sampling parameters; the stream's next frame is its ``first_frame``."""
    copy_into(slot, prompt.state)
    leaf(branch(slot, "sampler"), "frame").fill_(first_frame)
    fill_sampler(slot, sampling)


def fill_sampler(slot: State, sampling: SamplingParams) -> None:
    """Set the sampling parameters of a slot."""
    sampler = branch(slot, "sampler")
    for name in ("seed", "temperature", "top_k", "top_p"):
        leaf(sampler, name).fill_(getattr(sampling, name))
