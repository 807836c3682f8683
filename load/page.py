"""Report of a load run as one HTML page with plots."""

from __future__ import annotations

import io
import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from whispergpt.load.record import ListenerRecord, listening
from whispergpt.load.report import LoadReport, rows

_MOST_BARS = 400
_COLOURS = {"completed": "#2a78b8", "left": "#8ab6d6", "refused": "#e0a030", "failed": "#c03030"}

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td { padding: .2rem 1rem .2rem 0; vertical-align: top }
svg { width: 100%; height: auto } pre { overflow: auto; background: #f4f4f4; padding: 1rem }
.doubt { border-left: 4px solid #c03030; padding-left: 1rem }
</style></head><body>
<h1>$title</h1>
$doubt
<table>$rows</table>
$picture
<h2>Plan</h2>
<pre>$plan</pre>
</body></html>
""")


def write_page(report: LoadReport, path: Path) -> None:
    """Write the page, which loads nothing from elsewhere.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    doubt = "<p class=doubt>The load generator itself was late; some of the gaps may be its own.</p>"
    told = rows(report.summary)
    if report.lag_ms:
        told.append(("this program's own lag, p50 / p99", f"{report.lag_ms.p50:.1f} / {report.lag_ms.p99:.1f} ms"))
    page = _PAGE.substitute(
        title=escape(f"Load on {report.url}"),
        doubt=doubt if report.doubtful else "",
        rows="".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in told),
        picture=_picture(report),
        plan=escape(json.dumps(report.plan, indent=2)),
    )
    path.write_text(page, encoding="utf-8")


def _picture(report: LoadReport) -> str:
    """Return plots of listeners over time, times to first audio, and each listener's stay with its gaps, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 10), layout="constrained")
    crowd, first, stays = figure.subplots(3, height_ratios=(2, 2, 4), sharex=True)
    course = listening(report.records)
    crowd.step([at for at, _ in course], [count for _, count in course], where="post")
    refusals = [record.came for record in report.records if record.outcome == "refused"]
    crowd.plot(refusals, [0] * len(refusals), "x", color=_COLOURS["refused"], label="refused")
    crowd.set(ylabel="listeners playing", ylim=(0, None))
    heard = [(r.first_audio, 1e3 * t) for r in report.records if (t := r.time_to_first_audio) is not None]
    first.plot([at for at, _ in heard], [ms for _, ms in heard], ".")
    first.set(ylabel="time to first audio [ms]", ylim=(0, None))
    for place, record in enumerate(report.records[:_MOST_BARS]):
        _bar(stays, place, record)
    stays.set(xlabel="seconds since the start", ylabel="listener number (red: gaps)")
    written = io.StringIO()
    figure.savefig(written, format="svg")
    svg = written.getvalue()
    return svg[svg.index("<svg") :]


def _bar(axes: Any, place: int, record: ListenerRecord) -> None:
    ended = record.came if record.ended is None else record.ended
    axes.plot([record.came, ended], [place, place], color=_COLOURS.get(record.outcome, "#888"), linewidth=1.5)
    for gap in record.clock.gaps:
        axes.plot([gap.at, gap.at + gap.seconds], [place, place], color="red", linewidth=3)
