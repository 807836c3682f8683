"""WHISPER-GPT (arXiv 2412.11449, figure 1 right) and the token-only GPT: one stack, with or without its spectrogram.

For each frame the mel slice goes through a few light causal blocks. Their output is concatenated with the embedding of
the frame's coarse code, and the stack predicts the next frame's coarse code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whispergpt.engine.config import CODEBOOK_SIZE, ModelConfig
from whispergpt.engine.model.fine.stage import new_fine_stage
from whispergpt.engine.model.seanet import Decoder
from whispergpt.engine.model.streaming import State, branch, keep, leaf
from whispergpt.engine.model.transformer import Stack

SCALE = 0.02
"""Standard deviation of weights before training (Radford et al. 2019)."""


class WhisperGPT(nn.Module):
    """Codes and slices in, logits of the next coarse code out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.code_embedding = nn.Embedding(CODEBOOK_SIZE, config.code_width)
        self.slice_projection: nn.Linear | None = None
        self.slice_stack: Stack | None = None
        if config.spectrogram:
            self.slice_projection = nn.Linear(config.mel.n_mels, config.spectrogram.width)
            self.slice_stack = Stack(config.spectrogram)
        self.stack = Stack(config.stack)
        self.head = nn.Linear(config.stack.width, CODEBOOK_SIZE, bias=False)
        self.fine = new_fine_stage(config.fine, config.stack.width) if config.fine else None
        self.decoder = Decoder(config.decoder) if config.decoder else None
        self.apply(_init_weights)
        if self.slice_stack is not None:
            # Both halves of the stack's input begin equally large; otherwise the slices would outweigh the codes.
            nn.init.constant_(self.slice_stack.norm.weight, SCALE)
        for name, weight in self.named_parameters():
            if name.endswith(("output.weight", "down.weight")):
                nn.init.normal_(weight, std=SCALE / (2 * config.stack.layers) ** 0.5)

    @property
    def hybrid(self) -> bool:
        """Whether the model reads mel slices."""
        return self.slice_stack is not None

    def parameter_count(self) -> int:
        """Return the number of parameters of all that predicts codes: a decoder is not counted, here or in a codec."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("decoder."))

    def forward(self, codes: Tensor, mel: Tensor | None = None) -> Tensor:
        """Coarse codes ``[B, T]`` and slices ``[B, T, n_mels]`` (hybrid only) → logits ``[B, T, 1024]`` of code t+1."""
        return self.head(self.hidden(codes, mel))

    def hidden(self, codes: Tensor, mel: Tensor | None = None) -> Tensor:
        """Return the states ``[B, T, width]`` that predict frame t+1, from what ``forward`` takes."""
        x = self.code_embedding(codes)
        if self.slice_stack is not None and self.slice_projection is not None:
            assert mel is not None, "a hybrid model needs mel slices"
            x = torch.cat([x, self.slice_stack(self.slice_projection(mel))], dim=-1)
        return self.stack(x)

    @property
    def windows(self) -> list[int]:
        """Return the window of each stack, in frames."""
        stacks = (self.config.stack, self.config.spectrogram)
        return [config.window for config in stacks if config is not None]

    def init_state(self, slots: int, device: torch.device, kept_in: torch.dtype = torch.float32) -> State:
        """Return empty caches of ``kept_in`` float32, bfloat16 or int8, and positions ``[slots]`` at 0."""
        state: State = {
            "position": torch.zeros(slots, dtype=torch.int64, device=device),
            "stack": self.stack.init_state(slots, device, kept_in),
        }
        if self.slice_stack is not None:
            state["slices"] = self.slice_stack.init_state(slots, device, kept_in)
        if self.fine is not None:
            # The state that predicts the next frame; the fine stage reads it once the coarse code is drawn.
            state["hidden"] = torch.zeros(slots, self.config.stack.width, device=device)
        return state

    def extend(self, codes: Tensor, mel: Tensor | None, state: State, start: int) -> Tensor:
        """Run T frames of a stream from ``start`` on: ``[1, T]``, ``[1, T, n_mels]`` → logits ``[1, T, 1024]``."""
        x = self.code_embedding(codes)
        if self.slice_stack is not None and self.slice_projection is not None:
            assert mel is not None
            x = torch.cat([x, self.slice_stack.extend(self.slice_projection(mel), branch(state, "slices"), start)], -1)
        x = self.stack.extend(x, branch(state, "stack"), start)
        position = leaf(state, "position")
        position.fill_(start + codes.shape[1])
        if self.fine is not None:
            keep(leaf(state, "hidden"), x[:, -1], None)
        return self.head(x)

    def extend_lanes(self, codes: Tensor, mel: Tensor | None, state: State, start: Tensor, count: Tensor) -> Tensor:
        """Run T frames of every slot, ``[B, T]`` and ``[B, T, n_mels]``, behind ``start`` ``[B]`` of its own.

        Only the first ``count`` ``[B]`` of a slot's frames count.

        Returns:
            The logits behind each slot's last frame ``[B, 1024]``.
        """
        x = self.code_embedding(codes)
        if self.slice_stack is not None and self.slice_projection is not None:
            assert mel is not None
            slices = self.slice_stack.extend_lanes(self.slice_projection(mel), branch(state, "slices"), start, count)
            x = torch.cat([x, slices], dim=-1)
        x = self.stack.extend_lanes(x, branch(state, "stack"), start, count)
        last = x[torch.arange(x.shape[0], device=x.device), (count - 1).clamp(min=0)]
        leaf(state, "position").copy_(start + count)
        if self.fine is not None:
            leaf(state, "hidden").copy_(last)
        return self.head(last)

    def step(self, codes: Tensor, mel: Tensor | None, state: State, active: Tensor) -> Tensor:
        """Run one frame of each slot, ``[B]`` and ``[B, n_mels]`` → logits ``[B, 1024]``; only active slots move on."""
        position = leaf(state, "position")
        x = self.code_embedding(codes)[:, None]
        if self.slice_stack is not None and self.slice_projection is not None:
            assert mel is not None
            slices = self.slice_projection(mel)[:, None]
            x = torch.cat([x, self.slice_stack.step(slices, branch(state, "slices"), position)], dim=-1)
        x = self.stack.step(x, branch(state, "stack"), position)
        position.add_(active)
        if self.fine is not None:
            keep(leaf(state, "hidden"), x[:, 0], active)
        return self.head(x[:, 0])


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=SCALE)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
