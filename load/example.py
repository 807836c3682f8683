"""The prompt that comes with the package."""

from __future__ import annotations

from pathlib import Path

import whispergpt

PROMPT = Path(whispergpt.__file__).with_name("examples") / "prompt.flac"
"""Some seconds of speech that anybody may use; ``examples/README.md`` says where it is from."""
