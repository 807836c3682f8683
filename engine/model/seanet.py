"""SEANet, EnCodec's encoder and decoder (arXiv 2210.13438, section 3.1), built from streaming layers."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from whispergpt.engine.config import CodecConfig
from whispergpt.engine.model.convolution import CausalConv1d, CausalConvTranspose1d, ResidualLSTM
from whispergpt.engine.model.streaming import State, Streaming, branch


class ResidualBlock(nn.Module):
    """Two convolutions through half the channels, beside a 1×1 shortcut."""

    def __init__(self, channels: int, kernel: int, pad_mode: str) -> None:
        super().__init__()
        hidden = channels // 2
        self.block = StreamingSequential(
            nn.ELU(),
            CausalConv1d(channels, hidden, kernel, pad_mode=pad_mode),
            nn.ELU(),
            CausalConv1d(hidden, channels, 1),
        )
        self.shortcut = CausalConv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` → ``[B, C, T]``."""
        return self.shortcut(x) + self.block(x)

    def init_state(self, slots: int, device: torch.device) -> State:
        return self.block.init_state(slots, device)

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """``[B, T, C]`` → ``[B, T, C]``."""
        return self.shortcut.step(x, {}) + self.block.step(x, state, active, cold)


class StreamingSequential(nn.Sequential):
    """A sequence in which each streaming member has a state, named by its index."""

    @cached_property
    def _streaming(self) -> dict[str, Streaming]:
        """Return the streaming members; to ask each for a protocol takes longer than to make its state."""
        return {str(i): m for i, m in enumerate(self) if isinstance(m, Streaming)}

    def init_state(self, slots: int, device: torch.device) -> State:
        return {name: m.init_state(slots, device) for name, m in self._streaming.items()}

    def step(self, x: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """Run the next chunk ``[B, T, C]`` through every member."""
        for index, module in enumerate(self):
            streaming = self._streaming.get(str(index))
            if streaming is not None:
                x = streaming.step(x, branch(state, str(index)), active, cold)
            else:
                x = module(x)
        return x


class Encoder(nn.Module):
    """Audio ``[B, 1, samples]`` → latents ``[B, dimension, frames]``."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        pad, width = config.pad_mode, config.n_filters
        layers: list[nn.Module] = [CausalConv1d(1, width, config.kernel_size, pad_mode=pad)]
        for ratio in reversed(config.ratios):
            layers += [
                ResidualBlock(width, config.residual_kernel_size, pad),
                nn.ELU(),
                CausalConv1d(width, 2 * width, 2 * ratio, ratio, pad),
            ]
            width *= 2
        if config.lstm_layers:
            layers.append(ResidualLSTM(width, config.lstm_layers))
        layers += [nn.ELU(), CausalConv1d(width, config.dimension, config.kernel_size, pad_mode=pad)]
        self.model = StreamingSequential(*layers)

    def forward(self, audio: Tensor) -> Tensor:
        return self.model(audio)

    def init_state(self, slots: int, device: torch.device) -> State:
        return self.model.init_state(slots, device)

    def step(self, audio: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """Encode the next chunk ``[B, 1, T·320]`` → latents ``[B, dimension, T]``."""
        return self.model.step(audio.transpose(1, 2), state, active, cold).transpose(1, 2)


class Decoder(nn.Module):
    """Latents ``[B, dimension, frames]`` → audio ``[B, 1, samples]``."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        pad, width = config.pad_mode, config.n_filters * 2 ** len(config.ratios)
        layers: list[nn.Module] = [CausalConv1d(config.dimension, width, config.kernel_size, pad_mode=pad)]
        if config.lstm_layers:
            layers.append(ResidualLSTM(width, config.lstm_layers))
        for ratio in config.ratios:
            layers += [
                nn.ELU(),
                CausalConvTranspose1d(width, width // 2, ratio),
                ResidualBlock(width // 2, config.residual_kernel_size, pad),
            ]
            width //= 2
        layers += [nn.ELU(), CausalConv1d(width, 1, config.kernel_size, pad_mode=pad)]
        self.model = StreamingSequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        return self.model(latents)

    def init_state(self, slots: int, device: torch.device) -> State:
        return self.model.init_state(slots, device)

    def step(self, latents: Tensor, state: State, active: Tensor | None = None, cold: bool = False) -> Tensor:
        """Decode the next chunk ``[B, dimension, T]`` → audio ``[B, 1, T·320]``."""
        return self.model.step(latents.transpose(1, 2), state, active, cold).transpose(1, 2)
