"""Sound quality of the fast path: its samples against the codec's in double precision, from the same codes."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from whispergpt.benchmarks.preset import prompt_audio
from whispergpt.engine.backends.step_path import step_path, whole_tiles
from whispergpt.engine.config import HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.model.frame_step import LOST
from whispergpt.engine.stream_plan import SamplingParams
from whispergpt.engine.streams.slots import Slots

FULL_SCALE = 32767.0


@torch.inference_mode()
def snr_db(engine: Engine, frames: int = 750) -> float:
    """Return the signal-to-noise ratio of ``frames`` generated frames against the offline decoder, in dB.

    The step runs on its fastest path and draws its own codes. The unfused torch modules decode the same codes again in
    float64, together with the prompt. The compared samples are the 16-bit ones that a listener gets.
    """
    step, device = engine.model.step, engine.device
    prompt = engine.encode_prompt(prompt_audio(step, seconds=3.0))
    slots = whole_tiles(1, device)
    played = Slots(step, slots, device, engine.path.dtype)
    played.fill([0], [prompt], [SamplingParams(seed=1, temperature=1.0, top_k=0, top_p=1.0)])
    path = step_path(step, played.state, slots, device, engine.kernels)
    drawn, made = [], []
    for _ in range(frames):
        codes, samples = path.step([0])
        assert (codes != LOST).all()
        drawn.append(codes[0].astype(np.int64))
        made.append(torch.from_numpy(samples[0].copy()))
    before = step.codec.quantizer.decode(prompt.codes[None].to(device))
    after = step.codec.quantizer.decode(torch.from_numpy(np.stack(drawn, axis=1))[None].to(device))
    latent = torch.cat([before, after], dim=2)
    decoder = copy.deepcopy(step.codec.decoder).double()
    wanted = decoder(latent.double())[0, 0, prompt.frames * HOP :].clamp(-1, 1).cpu() * FULL_SCALE
    noise = float((torch.cat(made).double() - wanted).square().mean())
    return 10 * math.log10(float(wanted.square().mean()) / noise) if noise else math.inf
