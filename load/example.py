"""Path of the bundled prompt."""

from __future__ import annotations

from pathlib import Path

import whispergpt

PROMPT = Path(whispergpt.__file__).with_name("examples") / "prompt.flac"
"""Recording of some seconds of speech, free to use; ``examples/README.md`` has its origin."""
