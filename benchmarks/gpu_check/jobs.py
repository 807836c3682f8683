"""Compilations of the check: every kernel of the models' steps and prompts, with its sizes, for each GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any, Literal, get_args

import torch

from whispergpt.benchmarks.gpu_check.compilation import CAPABILITIES, Compiled, compiled, specialised
from whispergpt.benchmarks.gpu_check.models import busy_state, in_format
from whispergpt.benchmarks.preset import build_preset
from whispergpt.engine.backends.prompt_path import PromptState
from whispergpt.engine.config import (
    ENCODEC_24KHZ,
    GPT_L,
    GPT_S,
    HYBRID,
    SMALL_CODEC,
    CodecConfig,
    FineConfig,
    ModelConfig,
)
from whispergpt.engine.gpu.frame_program import FrameProgram
from whispergpt.engine.gpu.launch import Launch
from whispergpt.engine.gpu.prompt_path import LANES, DecodeLanes, EncodeLanes
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.frame_step import FrameStep
from whispergpt.engine.model.whisper_gpt import WhisperGPT

OTHERS: dict[str, tuple[ModelConfig, CodecConfig]] = {
    "full-size codec": (HYBRID, ENCODEC_24KHZ),
    "drawn codes": (replace(HYBRID, fine=FineConfig()), SMALL_CODEC),
    "token-only": (GPT_S, SMALL_CODEC),
    "large token-only": (replace(GPT_L, stack=replace(GPT_L.stack, layers=1)), SMALL_CODEC),
}
"""Models of ``--all`` beside the default one."""

Program = Literal["step", "encode", "decode"]
"""The step of streams, and what the codec does for prompts."""
Job = tuple[str, Program, torch.dtype, int, int]
"""Model, program, format of products, number of the launch in its program, and compute capability."""


def step_of(name: str) -> FrameStep:
    """Return the default model, or one of ``OTHERS`` with random weights."""
    if name == "default":
        step = build_preset("default", torch.device("cpu")).step
    else:
        model, codec = OTHERS[name]
        step = FrameStep(Codec(codec), WhisperGPT(model)).eval().requires_grad_(False)
    step.pack()
    return step


@cache
def launches_of(name: str, program: Program, dtype: torch.dtype) -> list[Launch]:
    """Return the launches of a model's program, laid out once in each process."""
    step, cpu = step_of(name), torch.device("cpu")
    if program == "step":
        return FrameProgram(step, in_format(busy_state(step, 1), dtype), 1, dtype).launches
    held = PromptState.fresh(step, cpu, slots=LANES)
    if program == "encode":
        return EncodeLanes(step.codec, held.encoder, cpu).launches
    return DecodeLanes(step.codec, held.sounding, cpu, dtype).launches


def jobs(everything: bool) -> Iterator[Job]:
    """Yield what is compiled, each kernel with its sizes once: the longest compilations first."""
    seen: set[Any] = set()
    found: list[tuple[bool, Job]] = []
    formats = (torch.bfloat16, torch.float32) if everything else (torch.bfloat16,)
    for name, dtype, program in product(("default", *(OTHERS if everything else ())), formats, get_args(Program)):
        for index, launch in enumerate(launches_of(name, program, dtype)):
            if (key := specialised(launch)) not in seen:
                seen.add(key)
                long = launch.warps > 4
                found += [(long, (name, program, dtype, index, capability)) for capability in CAPABILITIES]
    yield from (job for _, job in sorted(found, key=lambda each: not each[0]))


def compile_one(job: Job) -> Compiled:
    """Compile one kernel in a process of the pool."""
    name, program, dtype, index, capability = job
    torch.set_num_threads(1)
    return compiled(launches_of(name, program, dtype)[index], capability)
