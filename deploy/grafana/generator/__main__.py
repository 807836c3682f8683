"""``python -m whispergpt.deploy.grafana.generator write FOLDER``: the files that Grafana is provisioned with.

``python -m whispergpt.deploy.grafana.generator draw FOLDER --prometheus URL``: pictures of what they show.
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
    """The command line; status 1 where no picture could be drawn."""
    parser = argparse.ArgumentParser(prog="python -m whispergpt.deploy.grafana.generator", description=__doc__)
    wanted = parser.add_subparsers(dest="what", required=True)
    files = wanted.add_parser("write", help="the files that Grafana is provisioned with")
    pictures = wanted.add_parser("draw", help="pictures, from a running Prometheus")
    for each in (files, pictures):
        each.add_argument("folder", type=Path, help="where to; made where it is missing")
    pictures.add_argument("--prometheus", default=_PROMETHEUS, metavar="URL", help=f"{_PROMETHEUS} if not said")
    pictures.add_argument("--minutes", type=float, default=15.0, help="up to now; 15 if not said")
    pictures.add_argument("--interval", default="30s", help="that rates are taken over; 30s if not said")
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
