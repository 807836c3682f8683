"""``whispergpt load``: send listeners to a running server, and report what they heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.live import Live

from whispergpt.cli.arguments import require_matplotlib, told_in_one_line
from whispergpt.load.crowd import Crowd
from whispergpt.load.example import PROMPT
from whispergpt.load.listener import stream_address
from whispergpt.load.page import write_page
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Mix, Span, Visit, open_loop, steady
from whispergpt.load.reach import ReachError, check_server
from whispergpt.load.report import LoadReport, summary_table
from whispergpt.load.voices import Voices

_SHARE = {"min": 0.0, "max": 1.0}
_SPAN: dict[str, Any] = {"metavar": "LEAST:MOST"}


def load(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server, such as http://127.0.0.1:8000.")],
    streams: Annotated[
        float,
        typer.Option(min=0.01, max=100_000, help="Listeners at once: an average, or with --stay a fixed number."),
    ] = 4.0,
    duration: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds during which listeners arrive, or with --stay listen.")
    ] = 60.0,
    stay: Annotated[bool, typer.Option("--stay", help="All arrive at the start and stay to the end.")] = False,
    seconds: Annotated[str, typer.Option(**_SPAN, help="Seconds of audio for each, random in this range.")] = "5:30",
    prompt_seconds: Annotated[str, typer.Option(**_SPAN, help="Seconds of each prompt, random in this range.")] = "1:5",
    leave: Annotated[float, typer.Option(**_SHARE, help="Share that leaves early, half by disconnecting.")] = 0.2,
    slow: Annotated[float, typer.Option(**_SHARE, help="Share that reads at half the speed of playback.")] = 0.0,
    live: Annotated[float, typer.Option(**_SHARE, help="Share that sends its prompt at the pace of speech.")] = 0.25,
    prompt: Annotated[
        list[Path] | None, typer.Option(help="Recordings to cut prompts from; else the bundled one.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model's name. Default: the server's.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="WHISPERGPT_API_KEY", help="API key, if the server requires one.")
    ] = None,
    buffer_ms: Annotated[
        float,
        typer.Option(
            min=0, max=10_000, help="Audio that players buffer before they play; 0 plays the first frame at once."
        ),
    ] = 50.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of arrivals, lengths and behaviour.")] = 0,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page with plots to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone, with each listener.")] = False,
) -> None:
    """Send listeners to a server and report what they heard; they arrive at random times even if it is slow."""
    with told_in_one_line():
        _check_page(page)
        visits = _visits(Mix(_span(seconds), _span(prompt_seconds), leave, slow, live), streams, duration, seed, stay)
        crowd = Crowd(stream_address(url), visits, Voices(prompt or [PROMPT]), buffer_ms / 1e3, model, api_key)
        plan = {
            "streams": streams,
            "duration": duration,
            "stay": stay,
            "seconds": seconds,
            "prompt_seconds": prompt_seconds,
            "leave": leave,
            "slow": slow,
            "live": live,
            "prompt": [path.name for path in prompt or [PROMPT]],
            "model": model,
            "buffer_ms": buffer_ms,
            "seed": seed,
            "listeners": len(visits),
        }
    _check_server(url, api_key)
    report = _run(url, crowd, plan)
    if page:
        with told_in_one_line():
            write_page(report, page)
    _tell(url, report, as_json)
    if report.all_failed:
        _give_up("Every listener failed.")


def _visits(mix: Mix, streams: float, duration: float, seed: int, stay: bool) -> list[Visit]:
    """Return the listeners that come: a fixed number, or as many as arrive at random."""
    return steady(mix, max(1, round(streams)), duration, seed) if stay else open_loop(mix, streams, duration, seed)


def _check_page(page: Path | None) -> None:
    """Raise ValueError if a page cannot be drawn, or written to its folder."""
    if page:
        if not page.resolve().parent.is_dir():
            raise ValueError(f"{page.parent} is not a folder.")
        require_matplotlib("--page")


def _check_server(url: str, api_key: str | None) -> None:
    """End the command where no server can be reached."""
    try:
        check_server(url, api_key)
    except ReachError as error:
        _give_up(str(error))


def _tell(url: str, report: LoadReport, as_json: bool) -> None:
    """Print what was heard."""
    if as_json:
        typer.echo(json.dumps(report.as_json()))
        return
    console = Console()
    console.print(summary_table(url, report.seconds, report.summary))
    if report.doubtful:
        console.print("The load generator itself was late at times and may have caused some gaps.", style="red")


def _give_up(why: str) -> NoReturn:
    typer.echo(f"whispergpt load: {why}", err=True)
    raise typer.Exit(1) from None


def _run(url: str, crowd: Crowd, plan: dict[str, Any]) -> LoadReport:
    """Run until the last listener is gone or until Ctrl-C, and return the report so far."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watched(url, crowd))
    return LoadReport(
        url,
        plan,
        crowd.now(),
        crowd.summary(),
        Percentiles.of([1e3 * lag for lag in crowd.lags]) if crowd.lags else None,
        crowd.records,
    )


async def _watched(url: str, crowd: Crowd) -> None:
    if not sys.stderr.isatty():
        await crowd.run()
        return
    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as screen:

        async def show() -> None:
            while True:
                screen.update(summary_table(url, crowd.now(), crowd.summary()), refresh=True)
                await asyncio.sleep(0.5)

        showing = asyncio.create_task(show())
        try:
            await crowd.run()
        finally:
            showing.cancel()


def _span(text: str) -> Span:
    """Return the span of ``LEAST:MOST``, or of one number for both.

    Raises:
        ValueError: the text is neither.
    """
    least, _, most = text.partition(":")
    try:
        return Span(float(least), float(most or least))
    except ValueError:
        raise ValueError(f"'{text}' is not a span of seconds, such as 2:20.") from None
