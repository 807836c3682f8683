"""Transformers and a plain loop over the same sizes on the same device, uncompiled: compilation takes minutes."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from typing import Any

import torch

from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.benchmarks.peers.peer import PeerRunner, Sizes, Variant
from whispergpt.benchmarks.preset import build_preset
from whispergpt.benchmarks.realtime import curve, estimate

PEERS = ("transformers_generate", "plain_loop")
MOST_STREAMS = 2048
"""Largest batch, whose caches take seconds to fill."""
VARIANTS = (Variant("bfloat16", False, 15), Variant("float32", False, 15))


def run(options: Options, tell: Tell) -> None:
    """Estimate the real-time streams of each from its step times at 1, 2, 4 … streams; a missing package is named."""
    device = torch.device(options.device)
    step = build_preset("default", torch.device("cpu")).step
    sizes = Sizes(step.model.config.stack, step.codec.config)
    most = min(MOST_STREAMS, max(options.streams))
    for name in PEERS:
        found: list[dict[str, Any]] = []
        for variant in VARIANTS if device.type == "cuda" else VARIANTS[1:]:
            try:
                module: Any = import_module(f"whispergpt.benchmarks.peers.{name}")
                runner = PeerRunner(module.load(sizes, variant, device), variant.frames)
                result: dict[str, Any] = {
                    "estimated_streams": estimate(curve(runner, options.seconds / 10, most), variant.frames)
                }
            except ImportError as error:
                tell({name: {"missing": error.name}})
                break
            except RuntimeError as error:  # such as a type that the peer cannot compute in, or too little memory
                result = {"failed": str(error).partition("\n")[0]}
            found.append(asdict(variant) | result)
            tell({name: found})
