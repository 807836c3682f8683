"""``whispergpt keys``: API keys for a server, kept as hashes in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whispergpt.cli.arguments import counted, told_in_one_line
from whispergpt.server.access.api_keys import add_key, read_keys

app = typer.Typer(
    add_completion=False,
    help="API keys of a server that is started with --keys FILE. To take one away, delete its lines from the file: "
    "a running server notices.",
)

File = Annotated[Path, typer.Option("--file", "-f", help="The file of keys.")]


@app.command("make")
def make(
    name: Annotated[str, typer.Argument(help="Whose key it is; the server's messages call it so.")],
    file: File,
    streams: Annotated[int | None, typer.Option(min=1, help="Streams at once. Default: no bound.")] = None,
    audio_seconds_a_minute: Annotated[
        float | None, typer.Option(min=1, help="Seconds of audio that may be asked for a minute. Default: no bound.")
    ] = None,
) -> None:
    """Make a key and print it, once: the file keeps only its hash."""
    with told_in_one_line():
        typer.echo(add_key(file, name, streams, audio_seconds_a_minute))


@app.command("list")
def show(file: File) -> None:
    """The names of the keys in a file, and their bounds."""
    with told_in_one_line():
        for key in read_keys(file).values():
            streams = "any number of streams" if key.streams is None else counted(key.streams, "stream")
            audio = "any" if key.audio_seconds_a_minute is None else f"{key.audio_seconds_a_minute:g} s of"
            typer.echo(f"{key.name}: {streams} at once, {audio} audio a minute")
