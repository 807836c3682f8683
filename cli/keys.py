"""``whispergpt keys``: make and list a server's API keys, which a file holds as hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whispergpt.cli.arguments import counted, told_in_one_line
from whispergpt.server.access.api_keys import add_key, read_keys

app = typer.Typer(
    add_completion=False,
    help="API keys of a server that is started with --keys FILE. To revoke a key, delete its lines from the file; "
    "a running server notices.",
)

File = Annotated[Path, typer.Option("--file", "-f", help="The file of keys.")]


@app.command("make")
def make(
    name: Annotated[str, typer.Argument(help="Name of the key's owner, used in the server's messages.")],
    file: File,
    streams: Annotated[int | None, typer.Option(min=1, help="Streams at once. Default: no limit.")] = None,
    audio_seconds_a_minute: Annotated[
        float | None,
        typer.Option(
            min=1, help="Allowance of audio: this many seconds each minute, as described above. Default: none."
        ),
    ] = None,
) -> None:
    """Make a key and print it. The file keeps only its hash, so the key cannot be shown again.

    The allowance of audio begins full, refills steadily and holds at most one minute's worth, which is there again
    after a minute's pause. Responses count, and prompts that are not cached. A request may exceed what is left, but
    then later ones get 429 until the allowance is above zero again.
    """
    with told_in_one_line():
        typer.echo(add_key(file, name, streams, audio_seconds_a_minute))


@app.command("list")
def show(file: File) -> None:
    """List the names of the keys in a file, and their limits."""
    with told_in_one_line():
        for key in read_keys(file).values():
            streams = "any number of streams" if key.streams is None else counted(key.streams, "stream")
            audio = "any" if key.audio_seconds_a_minute is None else f"{key.audio_seconds_a_minute:g} s of"
            typer.echo(f"{key.name}: {streams} at once, {audio} audio a minute")
