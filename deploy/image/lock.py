"""Write what the image installs, each file of it by its SHA-256: ``python deploy/image/lock.py`` (needs ``uv``).

Versions are those of constraints.txt. Three files, for the image takes torch from another place without CUDA, and Ray
only if it is told to: ``requirements.txt``, ``requirements-cuda.txt``, ``requirements-ray.txt``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
PYTHON = "3.11"
"""Python version of the base image."""
EXTRAS = ("tracing", "ray")
_CUDA = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
_BUILD = "setuptools"
"""Package that builds the project and is no dependency of it."""


def locked(*extras: str) -> list[str]:
    """Requirements with their hashes, as one text each."""
    command = ["uv", "pip", "compile", "pyproject.toml", "-", "-c", "constraints.txt", "--generate-hashes", "--quiet"]
    command += ["--python-version", PYTHON, "--python-platform", "linux", "--no-header", "--no-annotate", "--upgrade"]
    for extra in extras:
        command += ["--extra", extra]
    done = subprocess.run(command, cwd=ROOT, input=_BUILD, capture_output=True, text=True, check=True)
    return re.split(r"\n(?=\S)", done.stdout.strip())


def main() -> int:
    """Resolve twice, and write the parts."""
    base, everything = locked("tracing"), locked(*EXTRAS)
    if not set(base) <= set(everything):
        sys.stderr.write("Ray changes the versions of what the image has without it; constraints.txt must name them.\n")
        return 1
    parts = {
        "requirements.txt": [each for each in base if not _CUDA.match(each)],
        "requirements-cuda.txt": [each for each in base if _CUDA.match(each)],
        "requirements-ray.txt": [each for each in everything if each not in base],
    }
    for name, requirements in parts.items():
        text = "\n".join(requirements)
        (FOLDER / name).write_text(f"# Made by deploy/image/lock.py of pyproject.toml and constraints.txt.\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
