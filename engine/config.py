"""Sizes of the codec, the spectrogram and the language model, read from ``config.json``, and the engine's options."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_type_hints

import msgspec

SAMPLE_RATE = 24_000
"""Samples per second of everything inside the engine."""
HOP = 320
"""Samples in one frame: the codec turns each hop into one frame of codes."""
FRAME_RATE = SAMPLE_RATE // HOP
"""Frames per second (75)."""
CODEBOOK_SIZE = 1024
"""Entries in each codebook."""
LIMITS_HZ = (4_000, 5_500, 8_000, 11_000)
"""Bandwidths in Hz that streams can be limited to, rising: about half of 8, 11.025, 16 and 22.05 kHz, which
recordings are sampled at."""
MEL_WINDOWS = (1024, 2048, 4096)
"""Samples of the windows of slices that the CPU's kernels take."""
NO_LIMIT = 0
FineKind: TypeAlias = Literal["drawn", "nearest"]
Dtype: TypeAlias = Literal["auto", "float32", "int8"]
"""Number format of matrix products; ``auto`` is bfloat16 where the processor has units for it. ``int8`` needs the
compiled kernels of CPUs."""


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the engine's process, from the server's settings, which have the defaults.

    Attributes:
        models: names of installed models, or folders; the first is the default.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; a server with several has an engine for each.
        dtype: of products.
        max_streams: slots in the batch, for each model.
        prompt_cache_bytes: room for encoded prompts that may be sent again; 0 for none.
        max_load: share of a frame's time that steps may take; 0 to let the slots alone decide.
        exact: whether resumed streams have exactly the same samples.
        sharing: engines that share the processors, this one included.
    """

    models: list[str]
    device: str
    dtype: Dtype
    max_streams: int
    prompt_cache_bytes: int
    max_load: float
    exact: bool
    sharing: int = 1


# Ranges of the numbers in config.json. They limit the size of the model that the engine builds before it compares the
# weights with it, and exclude sizes that no step can compute.
Width: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=16_384)]
Kernel: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=31)]
Window: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=8192)]
"""Frames; rotary positions repeat after 8192 (``whispergpt.engine.model.rotary.PERIOD``)."""
Temperature: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=2)]
_WIDEST_HEAD = 1024
_NARROWEST_BAND_HZ = 100.0


@dataclass(frozen=True)
class CodecConfig:
    """The EnCodec architecture (arXiv 2210.13438, section 3.1): SEANet, an LSTM, residual vector quantisation."""

    n_filters: Annotated[int, msgspec.Meta(ge=2, le=1024)] = 32
    dimension: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 128
    n_codebooks: Annotated[int, msgspec.Meta(ge=1, le=32)] = 8
    ratios: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=1, le=HOP)], ...], msgspec.Meta(min_length=1, max_length=8)
    ] = (8, 5, 4, 2)
    lstm_layers: Annotated[int, msgspec.Meta(ge=0, le=8)] = 2
    kernel_size: Kernel = 7
    residual_kernel_size: Kernel = 3
    pad_mode: Literal["reflect", "constant"] = "reflect"

    @property
    def frames_to_prime(self) -> int:
        """Return the fewest frames that a cold stream must start with: reflection mirrors up to six later frames."""
        return self.kernel_size if self.pad_mode == "reflect" else 1


ENCODEC_24KHZ = CodecConfig()
"""The published 24 kHz model at 6 kbps: 8 of its 32 codebooks."""
SMALL_CODEC = CodecConfig(n_filters=16, pad_mode="constant")
"""The codec trained here: half the filters, zero padding, so that it streams exactly from silence."""


@dataclass(frozen=True)
class MelConfig:
    """Causal log-mel slices on a fixed scale (no normalisation by a maximum, which would look ahead)."""

    n_mels: Annotated[int, msgspec.Meta(ge=1, le=512)] = 80
    window: Annotated[int, msgspec.Meta(le=8192)] = 1024
    floor: Annotated[float, msgspec.Meta(ge=1e-30, le=1)] = 1e-5
    low_hz: Annotated[float, msgspec.Meta(ge=0)] = 40.0
    high_hz: Annotated[float, msgspec.Meta(le=SAMPLE_RATE / 2)] = 12_000.0

    def __post_init__(self) -> None:
        if self.window < HOP:
            raise ValueError(f"a mel window of {self.window} samples is shorter than a frame")
        if not self.high_hz - self.low_hz >= _NARROWEST_BAND_HZ:
            raise ValueError(f"mel bands from {self.low_hz:g} to {self.high_hz:g} Hz are too narrow")


@dataclass(frozen=True)
class StackConfig:
    """One decoder-only stack. ``window``: number of frames that a position attends to, itself included."""

    width: Width
    layers: Annotated[int, msgspec.Meta(ge=1, le=256)]
    heads: Width
    kv_heads: Width
    hidden: Annotated[int, msgspec.Meta(ge=1, le=131_072)]
    window: Window

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads or self.head_width % 2 or self.head_width > _WIDEST_HEAD:
            raise ValueError(
                f"a width of {self.width} does not divide into {self.heads} heads of an even width up to {_WIDEST_HEAD}"
            )
        if self.kv_heads < 1 or self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} keys and values")

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class FineConfig:
    """The stage that predicts the finer codes; ``n_codebooks`` and ``dimension`` are the codec's.

    ``temperature``: of drawn codes, independent of the coarse code's, but 0 there makes these greedy too. ``kind``:
    whether codes are drawn, or are those nearest to the latent that the stage expects.
    """

    width: Width = 256
    n_codebooks: Annotated[int, msgspec.Meta(ge=2, le=32)] = 8
    dimension: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 128
    temperature: Temperature = 0.2
    kind: FineKind = "drawn"

    def with_temperature(self, temperature: float) -> FineConfig:
        """Return the same stage with another temperature.

        Raises:
            ValueError: its codes are not drawn.
        """
        if self.kind != "drawn":
            raise ValueError("the finer codes are not drawn, so they have no temperature")
        return replace(self, temperature=temperature)


@dataclass(frozen=True)
class ModelConfig:
    """A WHISPER-GPT (``spectrogram`` set) or a token-only GPT (``spectrogram`` None) of the same stack.

    ``fine`` None: frames are decoded from their coarse code alone. ``decoder``: sizes of the codec whose decoder the
    model has learnt anew, on the codes of its own fine stage; None: its sound is decoded as the codec does.
    """

    stack: StackConfig
    code_width: Width
    spectrogram: StackConfig | None = None
    mel: MelConfig = field(default_factory=MelConfig)
    fine: FineConfig | None = None
    decoder: CodecConfig | None = None

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
    """Sampling parameters of a model for requests that give none."""

    temperature: Temperature = 1.0
    top_k: Annotated[int, msgspec.Meta(ge=0, le=CODEBOOK_SIZE)] = 0
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


_T = TypeVar("_T")


def from_dict(kind: type[_T], values: Any) -> _T:
    """Build a config dataclass from parsed JSON.

    Raises:
        ValueError: a key is unknown or missing, or a value has another type or is out of range, naming it.
    """
    _refuse_unknown(kind, values)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{kind.__name__}: {error}") from None


def _refuse_unknown(kind: type[Any], values: Any) -> None:
    """Raise ValueError for a key that ``kind``, or a config within it, does not have; msgspec ignores those."""
    if not isinstance(values, dict):
        return
    unknown = set(values) - {known.name for known in fields(kind)}
    if unknown:
        raise ValueError(f"unknown {kind.__name__} field: {', '.join(sorted(map(str, unknown)))}")
    hints = get_type_hints(kind)
    for name, value in values.items():
        for within in (hints[name], *get_args(hints[name])):
            if is_dataclass(within):
                _refuse_unknown(within, value)  # type: ignore[arg-type]


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as JSON-ready values.

    What not all models have is named by those alone that have it, so that older versions read the others.
    """
    values = asdict(config)
    if values.get("fine") and values["fine"]["kind"] == "drawn":
        del values["fine"]["kind"]
    return {name: value for name, value in values.items() if name != "decoder" or value is not None}
