"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to. When the block ends, that file becomes ``path``; after an error it is removed.

    A reader, a full disk or an interrupt therefore never meets a part of the file. Its folder is made if missing.

    Raises:
        OSError: the file cannot be written; ``filename`` is ``path``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            whole = Path(folder) / "whole"  # without an ending, so that none left behind is read as audio or weights
            yield whole
            whole.replace(path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise
