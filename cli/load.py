"""``whispergpt load``: send listeners to a running server, and report what they heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.live import Live

from whispergpt.cli.arguments import require_matplotlib, told_in_one_line
from whispergpt.cli.options import expand_options
from whispergpt.engine.playback_clock import BUFFER_SECONDS
from whispergpt.load.crowd import Crowd
from whispergpt.load.example import PROMPT
from whispergpt.load.listener import stream_address
from whispergpt.load.page import write_page
from whispergpt.load.percentiles import Percentiles
from whispergpt.load.plan import Mix, Span, Visit, open_loop, steady
from whispergpt.load.processes import Crowding, Heard, hear_in
from whispergpt.load.reach import ReachError, check_server
from whispergpt.load.record import sum_up
from whispergpt.load.report import LoadReport, summary_table

_SHARE = {"min": 0.0, "max": 1.0}
_SPAN: dict[str, Any] = {"metavar": "LEAST:MOST"}


@dataclass(frozen=True)
class Plan:
    """Options that say who comes and what they do; the report has all of them."""

    streams: Annotated[
        float,
        typer.Option(min=0.01, max=100_000, help="Listeners at once: an average, or with --stay a fixed number."),
    ] = 4.0
    duration: Annotated[
        float,
        typer.Option(
            min=1,
            max=86_400,
            help="Seconds during which listeners arrive; the last are heard out. With --stay: seconds to listen.",
        ),
    ] = 60.0
    stay: Annotated[bool, typer.Option("--stay", help="All arrive at the start and stay to the end.")] = False
    seconds: Annotated[str, typer.Option(**_SPAN, help="Seconds of audio for each, random in this range.")] = "5:30"
    prompt_seconds: Annotated[str, typer.Option(**_SPAN, help="Seconds of each prompt, random in this range.")] = "1:5"
    leave: Annotated[float, typer.Option(**_SHARE, help="Share that leaves early, half by disconnecting.")] = 0.2
    slow: Annotated[float, typer.Option(**_SHARE, help="Share that reads at half the speed of playback.")] = 0.0
    live: Annotated[float, typer.Option(**_SHARE, help="Share that sends its prompt at the pace of speech.")] = 0.25
    model: Annotated[str | None, typer.Option(help="A model's name. Default: the server's.")] = None
    buffer_ms: Annotated[
        float,
        typer.Option(
            min=0, max=10_000, help="Audio that players buffer before they play; 0 plays the first frame at once."
        ),
    ] = 1e3 * BUFFER_SECONDS
    seed: Annotated[int, typer.Option(min=0, help="Seed of arrivals, lengths and behaviour.")] = 0

    @property
    def told(self) -> str:
        """Return the number of listeners in words: fixed, or an average."""
        if self.stay:
            return f"asked for: {max(1, round(self.streams))} listeners at once, fixed, for {self.duration:g} s"
        return f"asked for: arrivals for {self.duration:g} s, {self.streams:g} at once on average, heard to their ends"

    def visits(self) -> list[Visit]:
        """Return the listeners that come: a fixed number, or as many as arrive at random.

        Raises:
            ValueError: a range is not one of seconds.
        """
        mix = Mix(_span(self.seconds), _span(self.prompt_seconds), self.leave, self.slow, self.live)
        if self.stay:
            return steady(mix, max(1, round(self.streams)), self.duration, self.seed)
        return open_loop(mix, self.streams, self.duration, self.seed)


@expand_options
def load(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server, such as http://127.0.0.1:8000.")],
    plan: Plan,
    prompt: Annotated[
        list[Path] | None, typer.Option(help="Recordings to cut prompts from; else the bundled one.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="WHISPERGPT_API_KEY", help="API key, if the server requires one.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that the listeners are divided among.")] = 1,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page with plots to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone, with each listener.")] = False,
) -> None:
    """Send listeners to a server and report what they heard; they arrive at random times even if it is slow."""
    with told_in_one_line():
        if page and not page.resolve().parent.is_dir():
            raise ValueError(f"{page.parent} is not a folder.")
        if page:
            require_matplotlib("--page")
        visits, prompts = plan.visits(), prompt or [PROMPT]
        crowding = Crowding(stream_address(url), visits, prompts, plan.buffer_ms / 1e3, plan.model, api_key)
        crowd = crowding.crowd()
    try:
        check_server(url, api_key)
    except ReachError as error:
        _give_up(str(error))
    heard = _hear(url, plan.told, crowd) if processes == 1 else _hear_in(processes, crowding)
    told = {**vars(plan), "prompt": [path.name for path in prompts], "listeners": len(visits), "processes": processes}
    lags = Percentiles.of([1e3 * lag for lag in heard.lags]) if heard.lags else None
    report = LoadReport(url, told, heard.seconds, sum_up(heard.records), lags, heard.records)
    if page:
        with told_in_one_line():
            write_page(report, page)
    _tell(url, plan.told, report, as_json)
    if report.nobody_served:
        typer.echo(f"whispergpt load: {report.nobody_served}", err=True)
    if report.useless:
        raise typer.Exit(1)


def _tell(url: str, planned: str, report: LoadReport, as_json: bool) -> None:
    """Print what was heard; without a listener, JSON alone."""
    if as_json:
        typer.echo(json.dumps(report.as_json()))
        return
    if not report.records:
        return
    console = Console()
    console.print(summary_table(url, report.seconds, planned, report.summary))
    if report.doubtful:
        console.print("The load generator itself was late at times and may have caused some gaps;", style="red")
        console.print("use more --processes, or another machine.", style="red")


def _give_up(why: str) -> NoReturn:
    typer.echo(f"whispergpt load: {why}", err=True)
    raise typer.Exit(1) from None


def _hear(url: str, planned: str, crowd: Crowd) -> Heard:
    """Run a crowd in this process, until its end or an interrupt."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watched(url, planned, crowd))
    return Heard(crowd.records, crowd.lags, crowd.now())


def _hear_in(processes: int, crowding: Crowding) -> Heard:
    """Run a crowd in several processes; a terminal shows that it goes on."""
    console = Console(stderr=True)
    going_on = f"{len(crowding.visits)} listeners in {processes} processes"
    with console.status(going_on) if console.is_terminal else contextlib.nullcontext():
        return hear_in(processes, crowding)


async def _watched(url: str, planned: str, crowd: Crowd) -> None:
    if not sys.stderr.isatty():
        await crowd.run()
        return
    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as screen:

        async def show() -> None:
            while True:
                screen.update(summary_table(url, crowd.now(), planned, crowd.summary()), refresh=True)
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
