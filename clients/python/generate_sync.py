"""Write the synchronous modules of ``whispergpt_client`` from the asynchronous ones.

``python clients/python/generate_sync.py`` writes them. With ``--check`` it changes nothing, and exits with status 1 if
a module is not what it would write. It needs ruff, which sorts the imports and formats the code.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

_FOLDER = Path(__file__).parent / "whispergpt_client"
_MODULES = {"async_client.py": "client.py", "async_stream.py": "stream.py"}
_SENTENCES = {
    "Any number of requests and streams may run at once, in one event loop.": "Several threads may share it.",
    "as they come;\n                an asynchronous iterable if it waits, as a microphone does.": "as they come.",
    "then ``response`` says cancelled.": (
        "then ``response`` says cancelled.\n\n        Another thread may call this.\n        "
    ),
}
"""Sentences of docstrings that hold for asynchronous code only, and what stands there for synchronous code."""
_RULES = (
    (r"\b(async|await) ", ""),
    (r"\bAsync(?=[A-Z])|\basync_", ""),
    (r"\b__a(enter|exit|iter)__", r"__\1__"),
    (r"\ba(close|read|iter_bytes)\b", r"\1"),
    (r"\basyncio\b", "time"),  # for `sleep`, which both modules have
    (r"\basynchronous\b", "synchronous"),
)


def translate(source: str) -> str:
    """Return the synchronous form of an asynchronous module, formatted."""
    for sentence, other in _SENTENCES.items():
        source = source.replace(sentence, other)
    for pattern, other in _RULES:
        source = re.sub(pattern, other, source)
    for command in (("check", "--fix-only", "--select=I"), ("format",)):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={_FOLDER / 'module.py'}", "-"]
        source = subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout
    return source


def main(arguments: list[str]) -> int:
    """Write or check every module; returns the exit status."""
    sources = {name: (_FOLDER / name).read_text() for name in _MODULES}
    for sentence in _SENTENCES:
        assert any(sentence in text for text in sources.values()), f"in no module: {sentence}"
    stale = []
    for source, target in _MODULES.items():
        note = f"# Written by generate_sync.py from {source}: change that file, and run it again.\n"
        text = note + translate(sources[source])
        path = _FOLDER / target
        if not path.exists() or path.read_text() != text:
            stale.append(target)
            if arguments != ["--check"]:
                path.write_text(text)
    if stale and arguments == ["--check"]:
        sys.stderr.write(f"Run clients/python/generate_sync.py: {', '.join(stale)} would change.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
