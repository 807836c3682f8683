"""Sizes of the codec, the spectrogram and the language model: plain data, read from ``config.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, TypeVar

SAMPLE_RATE = 24_000
"""Samples per second of everything inside the engine."""
HOP = 320
"""Samples in one frame: the codec turns each hop into one frame of codes."""
FRAME_RATE = SAMPLE_RATE // HOP
"""Frames per second (75)."""
CODEBOOK_SIZE = 1024
"""Entries in each codebook."""
Dtype: TypeAlias = Literal["auto", "float32"]
"""Of products; ``auto`` is bfloat16 where the processor has units for it."""


@dataclass(frozen=True)
class CodecConfig:
    """The EnCodec architecture (arXiv 2210.13438, section 3.1): SEANet, an LSTM, residual vector quantisation."""

    n_filters: int = 32
    dimension: int = 128
    n_codebooks: int = 8
    ratios: tuple[int, ...] = (8, 5, 4, 2)
    lstm_layers: int = 2
    kernel_size: int = 7
    residual_kernel_size: int = 3
    pad_mode: Literal["reflect", "constant"] = "reflect"

    @property
    def frames_to_prime(self) -> int:
        """Fewest frames a cold stream must start with: reflection mirrors up to six frames that are yet to come."""
        return self.kernel_size if self.pad_mode == "reflect" else 1


ENCODEC_24KHZ = CodecConfig()
"""The published 24 kHz model at 6 kbps: 8 of its 32 codebooks."""
SMALL_CODEC = CodecConfig(n_filters=16, pad_mode="constant")
"""The codec trained here: half the filters, zero padding, so that it streams exactly from silence."""


@dataclass(frozen=True)
class MelConfig:
    """Causal log-mel slices on a fixed scale (no normalisation by a maximum, which would look ahead)."""

    n_mels: int = 80
    window: int = 1024
    floor: float = 1e-5
    low_hz: float = 40.0
    high_hz: float = 12_000.0

    def __post_init__(self) -> None:
        if self.window < HOP:
            raise ValueError(f"a mel window of {self.window} samples is shorter than a frame")


@dataclass(frozen=True)
class StackConfig:
    """One decoder-only stack. ``window`` is how many frames a position attends to, itself included."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    window: int

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class FineConfig:
    """The stage that predicts the finer codes; ``n_codebooks`` and ``dimension`` are the codec's.

    ``temperature``: of the finer codes, whatever the coarse one's is (0 excepted, which is greedy throughout).
    """

    width: int = 256
    n_codebooks: int = 8
    dimension: int = 128
    temperature: float = 0.2


@dataclass(frozen=True)
class ModelConfig:
    """A WHISPER-GPT (``spectrogram`` set) or a token-only GPT (``spectrogram`` None) of the same stack.

    ``fine`` None: frames are decoded from their coarse code alone.
    """

    stack: StackConfig
    code_width: int
    spectrogram: StackConfig | None = None
    mel: MelConfig = field(default_factory=MelConfig)
    fine: FineConfig | None = None

    def __post_init__(self) -> None:
        spectrogram_width = self.spectrogram.width if self.spectrogram else 0
        if self.code_width + spectrogram_width != self.stack.width:
            raise ValueError(
                f"code_width {self.code_width} and spectrogram width {spectrogram_width} "
                f"must add up to the stack's width {self.stack.width}"
            )


_WINDOW = 512

GPT_S = ModelConfig(stack=StackConfig(256, 5, 4, 1, 960, _WINDOW), code_width=256)
GPT_L = ModelConfig(stack=StackConfig(640, 9, 10, 2, 2560, _WINDOW), code_width=640)
HYBRID = ModelConfig(
    stack=StackConfig(256, 5, 4, 1, 960, _WINDOW),
    code_width=128,
    spectrogram=StackConfig(128, 2, 2, 1, 512, 64),
)
"""The paper's three systems (arXiv 2412.11449, section 4): 3.7M, 40M and the hybrid of 4M."""

PRESETS: dict[str, ModelConfig] = {"gpt-s": GPT_S, "gpt-l": GPT_L, "hybrid": HYBRID}


@dataclass(frozen=True)
class SamplingDefaults:
    """What a model samples with when a request does not say."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


_T = TypeVar("_T")


def from_dict(kind: type[_T], values: dict[str, Any]) -> _T:
    """Build a config dataclass from parsed JSON.

    Raises:
        ValueError: a key is unknown or a value does not fit, naming it.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = set(values) - set(known)
    if unknown:
        raise ValueError(f"unknown {kind.__name__} field: {', '.join(sorted(unknown))}")
    nested: dict[str, type] = {"stack": StackConfig, "spectrogram": StackConfig, "mel": MelConfig, "fine": FineConfig}
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key in nested and isinstance(value, dict):
            value = from_dict(nested[key], value)
        elif isinstance(value, list):
            value = tuple(value)
        built[key] = value
    try:
        return kind(**built)
    except TypeError as error:
        raise ValueError(f"incomplete {kind.__name__}: {error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON-ready values."""
    return asdict(config)
