"""Write the dashboards, or draw pictures of them with data of a running Prometheus.

``python -m whispergpt.deploy.grafana.generator write FOLDER``
``python -m whispergpt.deploy.grafana.generator draw FOLDER --prometheus URL``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from whispergpt.deploy.grafana.generator.catalogue import DASHBOARDS
from whispergpt.deploy.grafana.generator.grafana import write
from whispergpt.deploy.grafana.generator.picture import draw
from whispergpt.deploy.grafana.generator.prometheus import Prometheus, PrometheusError

_PROMETHEUS = "http://127.0.0.1:9090"


def main() -> int:
    """Run the command line and return the exit status, 1 if a file or picture could not be made."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.deploy.grafana.generator", description=__doc__)
    wanted = parser.add_subparsers(dest="what", required=True)
    files = wanted.add_parser("write", help="write the files for Grafana's provisioning")
    pictures = wanted.add_parser("draw", help="draw pictures with data of a running Prometheus")
    for each in (files, pictures):
        each.add_argument("folder", type=Path, help="folder to write to, created if missing")
    pictures.add_argument("--prometheus", default=_PROMETHEUS, metavar="URL", help=f"default: {_PROMETHEUS}")
    pictures.add_argument("--minutes", type=float, default=15.0, help="minutes up to now; default: 15")
    pictures.add_argument("--interval", default="30s", help="interval of rates; default: 30s")
    options = parser.parse_args()
    if options.what == "draw" and not 0 < options.minutes <= 1440:
        parser.error("--minutes must be above 0 and at most 1440")
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        for dashboard in DASHBOARDS:
            if options.what == "write":
                write(dashboard, options.folder)
                continue
            with Prometheus(options.prometheus) as prometheus:
                for title in draw(dashboard, prometheus, options.folder, options.minutes, options.interval):
                    print(f"{dashboard.name}: nothing to show in '{title}'", file=sys.stderr)  # noqa: T201
    except PrometheusError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"{error.filename or options.folder}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
