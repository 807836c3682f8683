"""``python -m whispergpt`` is the command ``whispergpt``."""

from __future__ import annotations

from whispergpt.cli.main import main

main()
