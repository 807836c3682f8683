"""One peer, measured in a process of its own: ``python -m whispergpt.benchmarks.peers MODULE OPTIONS``, JSON on stdout.

``OPTIONS`` is JSON: the sizes, the seconds of a run and the device.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any, cast

from whispergpt.benchmarks.peers import MISSING

SHAPES = 64
"""Most batch sizes that torch compiles one function for."""


def main() -> int:
    """Measure the peer that the arguments name, and return the exit status."""
    name, options = sys.argv[1], cast("dict[str, Any]", json.loads(sys.argv[2]))

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    try:
        module: Any = import_module(f"whispergpt.benchmarks.peers.{name}")
        import torch  # after the peer's name is known: importing torch takes seconds

        from whispergpt.benchmarks.peers.measure import measure
        from whispergpt.benchmarks.peers.peer import Sizes
        from whispergpt.engine.backends.processors import usable_processors

        torch.set_num_threads(usable_processors())
        torch._dynamo.config.recompile_limit = SHAPES
        torch.manual_seed(0)
        device, seconds = torch.device(options["device"]), float(options["seconds"])
        result = measure(module, Sizes.parse(options["sizes"]), device, seconds, tell)
    except ImportError as error:
        tell(f"{error}")
        return MISSING
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
