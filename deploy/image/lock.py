"""Write the image's requirements with a SHA-256 for each file: ``python deploy/image/lock.py`` (needs ``uv``).

The versions are those of constraints.txt. ``requirements-cuda.txt`` is separate because an image without CUDA takes
torch from another index. ``requirements-ray.txt`` is for images with Ray, and ``requirements.txt`` has the rest.
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
EXTRAS = ("tracing", "hub", "limits")
_CUDA = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
_BUILD = "setuptools"
"""Package that builds the project but is no dependency of it."""


def locked(*extras: str) -> list[str]:
    """Return the locked requirements with their hashes, a text for each package."""
    command = ["uv", "pip", "compile", "pyproject.toml", "-", "-c", "constraints.txt", "--generate-hashes", "--quiet"]
    command += ["--python-version", PYTHON, "--python-platform", "linux", "--no-header", "--no-annotate", "--upgrade"]
    for extra in extras:
        command += ["--extra", extra]
    done = subprocess.run(command, cwd=ROOT, input=_BUILD, capture_output=True, text=True, check=True)
    return re.split(r"\n(?=\S)", done.stdout.strip())


def main() -> int:
    """Resolve with and without Ray, write the three files, and return the exit status."""
    base, everything = locked(*EXTRAS), locked(*EXTRAS, "ray")
    if not set(base) <= set(everything):
        sys.stderr.write(
            "Ray changes versions of packages that the image has without it; add them to constraints.txt.\n"
        )
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
