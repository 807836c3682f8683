"""Peers one after the other, each in a process of its own: fresh threads, fresh memory, its own packages."""

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
"""For one peer, with all its variants."""


@dataclass(frozen=True)
class Skipped:
    """A peer that was not measured, and why."""

    name: str
    reason: str


def peer_packages() -> Path:
    """Where packages lie that cannot live in the environment: in the cache, seen by Moshi's process alone."""
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
) -> dict[str, Any] | Skipped:
    """Measure one of ``PEERS``. Its progress goes to ``tell``, line by line."""
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
            for line in process.stderr:  # stdout gets a line or two at the end, which fit into the pipe
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
        return Skipped(module, f"it was killed: out of memory, or longer than {MOST_SECONDS} s")
    if process.returncode == MISSING:
        return Skipped(module, f"{last}: {how_to_get(module)}")
    return Skipped(module, last or f"it ended with status {process.returncode}")
