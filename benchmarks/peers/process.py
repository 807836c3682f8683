"""Runs each peer in a process of its own, with fresh threads and memory and its own packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import whispergpt
from whispergpt.benchmarks.peers import MISSING
from whispergpt.benchmarks.peers.peer import Sizes
from whispergpt.engine.checkpoints.user_cache import user_cache
from whispergpt.engine.extras import install_command

PEERS = ("transformers_generate", "plain_loop", "moshi_streaming")
MOST_SECONDS = 3600
"""Longest time in seconds for one peer with all its variants."""


@dataclass(frozen=True)
class SkippedPeer:
    """A peer that was not measured, and the reason."""

    name: str
    reason: str


def peer_packages() -> Path:
    """Return the cache folder of packages that do not fit the environment; only Moshi's process imports from it."""
    return user_cache() / "bench-peers"


def how_to_get(module: str) -> str:
    """Return how to install what one of ``PEERS`` needs."""
    commands = {
        "transformers_generate": install_command("bench"),
        # Without dependencies: encodec asks for torchaudio, Moshi forbids the torch that is here.
        "plain_loop": "pip install --no-deps encodec==0.1.1 einops",
        "moshi_streaming": f"pip install --no-deps --target {peer_packages()} moshi==0.2.13 sentencepiece==0.2.3",
    }
    all_of_them = "in a clone, `make peers` installs what the peers need"
    return f"{commands[module]}; {all_of_them}" if module in commands else all_of_them


def run_peer(
    module: str, sizes: Sizes, seconds: float, device: str, tell: Callable[[str], None] | None
) -> dict[str, Any] | SkippedPeer:
    """Measure one of ``PEERS`` and return its results; ``tell`` gets each line of its progress."""
    options = json.dumps({"sizes": asdict(sizes), "seconds": seconds, "device": device})
    paths = [str(Path(whispergpt.__file__).parents[1])]
    if module == "moshi_streaming":
        paths.append(str(peer_packages()))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "whispergpt.benchmarks.peers", module, options]
    last, pipe = "", subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        deadline = Timer(MOST_SECONDS, process.kill)
        deadline.start()
        try:
            assert process.stderr is not None and process.stdout is not None
            for line in process.stderr:  # stdout has only a line or two at the end, which fit into the pipe
                last = line.strip() or last
                if tell:
                    tell(line.rstrip())
            answer = process.stdout.read()
        except BaseException:
            process.kill()
            raise
        finally:
            deadline.cancel()
    if process.returncode == 0:
        result: dict[str, Any] = json.loads(answer.splitlines()[-1])
        return result
    if process.returncode == -signal.SIGKILL:
        return SkippedPeer(module, f"it was killed: out of memory, or longer than {MOST_SECONDS} s")
    if process.returncode == MISSING:
        return SkippedPeer(module, f"{last}: {how_to_get(module)}")
    return SkippedPeer(module, last or f"it ended with status {process.returncode}")
