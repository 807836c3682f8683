"""Configs: the sizes that everything else relies on, and their way through JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from whispergpt.engine.config import (
    CODEBOOK_SIZE,
    ENCODEC_24KHZ,
    FRAME_RATE,
    HOP,
    PRESETS,
    SAMPLE_RATE,
    SMALL_CODEC,
    CodecConfig,
    MelConfig,
    ModelConfig,
    StackConfig,
    from_dict,
    to_dict,
)


def test_frames() -> None:
    assert (SAMPLE_RATE, HOP, FRAME_RATE, CODEBOOK_SIZE) == (24_000, 320, 75, 1024)
    assert FRAME_RATE * HOP == SAMPLE_RATE


@pytest.mark.parametrize("config", [ENCODEC_24KHZ, SMALL_CODEC])
def test_codecs_turn_a_hop_into_a_frame_at_six_kilobits(config: CodecConfig) -> None:
    hop = 1
    for ratio in config.ratios:
        hop *= ratio
    assert hop == HOP
    assert config.n_codebooks * 10 * FRAME_RATE == 6_000


def test_only_reflection_needs_frames_to_prime() -> None:
    assert ENCODEC_24KHZ.pad_mode == "reflect" and ENCODEC_24KHZ.frames_to_prime == 7
    assert SMALL_CODEC.pad_mode == "constant" and SMALL_CODEC.frames_to_prime == 1


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_whole(name: str) -> None:
    for stack in filter(None, (PRESETS[name].stack, PRESETS[name].spectrogram)):
        assert stack.width % stack.heads == 0
        assert stack.heads % stack.kv_heads == 0
        assert stack.head_width % 2 == 0, "rotary positions turn pairs"


@pytest.mark.parametrize("config", [*PRESETS.values(), ENCODEC_24KHZ, SMALL_CODEC, MelConfig(floor=1e-4)])
def test_through_json_and_back(config: ModelConfig | CodecConfig | MelConfig) -> None:
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ValueError, match="unknown CodecConfig field: filters, zeal"):
        from_dict(CodecConfig, {"zeal": 1, "filters": 3})
    nested: dict[str, Any] = to_dict(PRESETS["gpt-s"])
    nested["stack"]["depth"] = 5
    with pytest.raises(ValueError, match="unknown StackConfig field: depth"):
        from_dict(ModelConfig, nested)


def test_missing_fields_are_named() -> None:
    with pytest.raises(ValueError, match="StackConfig: .*required field `layers`"):
        from_dict(StackConfig, {"width": 8})


def test_widths_must_add_up() -> None:
    stack = PRESETS["gpt-s"].stack
    with pytest.raises(ValueError, match="code_width 100 and spectrogram width 0"):
        ModelConfig(stack=stack, code_width=100)
    values = to_dict(PRESETS["hybrid"])
    values["code_width"] = 64
    with pytest.raises(ValueError, match="code_width 64 and spectrogram width 128"):
        from_dict(ModelConfig, values)
