"""The slots: one row of the batch's state for each stream, filled when the stream gets it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whispergpt.engine.low_pass import LowPass
from whispergpt.engine.messages.events import SnapshotTaken
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.row_layout import whole_rows
from whispergpt.engine.model.streaming import State, branch, leaf, rows
from whispergpt.engine.prompts.prompt import Prompt
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.engine.streams.scheduler import Stream
from whispergpt.engine.streams.snapshots import Snapshots


class Slots:
    """State of the streams that play together.

    Args:
        kept_in: dtype of the model's caches.

    Attributes:
        state: tensors with a leading slot dimension.
        snapshots: what streams can be resumed from; None for a model whose streams cannot.
        low_pass: keeps streams within the bandwidth of their prompts; None until it is that of the step.
    """

    def __init__(self, step: FrameStep, slots: int, device: torch.device, kept_in: torch.dtype) -> None:
        self.state = step.init_state(slots, device, kept_in)
        self._rows = whole_rows(self.state).unbind()
        self._device = device
        self.snapshots: Snapshots | None = None
        self.low_pass: LowPass | None = None

    def __getitem__(self, slot: int) -> State:
        """Return views of one slot ``[1, …]``."""
        return rows(self.state, slot, slot + 1)

    @property
    def influence(self) -> int:
        """Return the frames that an exact snapshot goes back at least; 0 without exact ones."""
        return 0 if self.snapshots is None else self.snapshots.influence

    def begin(self, streams: list[Stream]) -> list[bool]:
        """Fill the slots of streams that start; returns whether the logits of each are finite.

        The host waits for that, and so for the copies of the prompts, whose memory may be used again from then on.
        """
        slots, prompts = [stream.slot for stream in streams], [stream.prompt for stream in streams]
        self.fill(slots, prompts, [s.sampling for s in streams], [s.plan.first_frame for s in streams])
        if self.low_pass is not None:
            self.low_pass.begin(slots, [prompt.limit_hz for prompt in prompts], [prompt.tail for prompt in prompts])
        if self.snapshots is not None:
            for slot, prompt in zip(slots, prompts, strict=True):
                self.snapshots.begin(slot, prompt)
        finite = leaf(self.state, "logits")[self._at(slots)].isfinite().all(dim=1)
        return [bool(good) for good in finite.tolist()]

    def fill(
        self,
        slots: Sequence[int],
        prompts: Sequence[Prompt],
        sampling: Sequence[SamplingParams],
        first_frames: Sequence[int] | None = None,
    ) -> None:
        """Fill slots from prompts, each row as a whole; a stream's next frame is its ``first_frames``, or 0."""
        torch._foreach_copy_([self._rows[slot] for slot in slots], [prompt.row for prompt in prompts])
        at = self._at(slots)
        leaf(branch(self.state, "model"), "position")[at] = torch.cat([prompt.position for prompt in prompts])
        frames = torch.zeros_like(at) if first_frames is None else torch.tensor(first_frames, device=self._device)
        leaf(branch(self.state, "sampler"), "frame")[at] = frames
        self.set_sampling(slots, sampling)

    def set_sampling(self, slots: Sequence[int], sampling: Sequence[SamplingParams]) -> None:
        """Set the sampling parameters of slots."""
        sampler, at = branch(self.state, "sampler"), self._at(slots)
        for name in ("seed", "temperature", "top_k", "top_p"):
            column = leaf(sampler, name)
            values = [getattr(one, name) for one in sampling]
            column[at] = torch.tensor(values, dtype=column.dtype, device=self._device)

    def snapshot(self, stream: Stream) -> SnapshotTaken:
        """Return the state from which a stream that plays can be resumed at its next frame."""
        assert self.snapshots is not None
        taken = self.snapshots.take(stream.slot, lambda: self._decoder(stream.slot))
        return SnapshotTaken(stream.id, stream.next_frame, stream.sampling, taken)

    def _decoder(self, slot: int) -> State:
        state = self[slot]
        return {name: state[name] for name in ("decoder", "latent") if name in state}

    def _at(self, slots: Sequence[int]) -> Tensor:
        return torch.tensor(slots, device=self._device)
