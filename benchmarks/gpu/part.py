"""One part of the measurements, in a process of its own that ends at a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from whispergpt.benchmarks.gpu.options import Options, Tell
from whispergpt.engine.device import loss_of_device

_CONTEXT = get_context("forkserver")
"""Children are forked from a process that has imported the engine and has touched no device."""


def prepare(modules: Sequence[str]) -> None:
    """Have the modules imported once, for all parts."""
    _CONTEXT.set_forkserver_preload(list(modules))


def run_part(module: str, options: Options, seconds: float) -> dict[str, Any]:
    """Return what ``run(options, tell)`` of a module told within ``seconds``.

    Beside these figures there are ``seconds``, and, if it did not come to its end, ``missing``, the name of a package
    that it needs, or ``error``, a sentence, perhaps with ``traceback``.
    """
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    child = _CONTEXT.Process(target=_enter, args=(module, options, theirs))
    begun, found = time.monotonic(), dict[str, Any]()
    child.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, begun + seconds - time.monotonic())):
            found |= ours.recv()
        found["error"] = f"This part was ended after its {seconds:.0f} s."
    except EOFError:
        child.join()
        if not found.pop("whole", False) and "error" not in found and "missing" not in found:
            found["error"] = f"This part's process ended with status {child.exitcode}."
    finally:
        _end_group(child.pid)
        child.kill()
        child.join()
        ours.close()
    return found | {"seconds": round(time.monotonic() - begun, 1)}


class Trials:
    """Measurements within a part, each of which may fail without the others.

    Their errors are told as ``failed``, a sentence by the name of each.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell, self._failed = tell, dict[str, str]()

    @contextlib.contextmanager
    def trial(self, name: str) -> Iterator[None]:
        """Return a context for one measurement.

        Raises:
            ModuleNotFoundError: a package is missing, which the whole part needs.
            RuntimeError: the device is lost to this process.
        """
        try:
            yield
        except ModuleNotFoundError:
            raise
        except Exception as error:
            self._failed[name] = sentence(error)
            self._tell({"failed": dict(self._failed)})
            if loss_of_device(error):
                raise
            traceback.print_exc()


def sentence(error: BaseException) -> str:
    """Return an error's type and first line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _enter(module: str, options: Options, pipe: Connection) -> None:
    """Run a part, in the child."""
    os.setsid()  # what the part starts is ended with it
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        import_module(module).run(options, pipe.send)
        pipe.send({"whole": True})
    except ModuleNotFoundError as error:
        pipe.send({"missing": error.name})
    except BaseException as error:
        pipe.send({"error": sentence(error), "traceback": traceback.format_exc()[-4000:]})


def _end_group(leader: int | None) -> None:
    """Kill the process group of a part, whose leader is alive or not waited for yet, and its descendants with it."""
    if leader is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
