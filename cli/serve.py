"""``whispergpt serve``: the server, until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from engine.installed import installed_models, model_folder
from server.run import ServeError
from server.run import serve as run_server
from server.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. Default: 8000.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Name of an installed model or a folder; may be repeated, the first is the default."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of products: auto or float32. Default: auto.")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Streams that may play at once. Default: 64.")] = None,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys. Default: none are asked for on loopback.")
    ] = None,
    open_: Annotated[bool | None, typer.Option("--open", help="Ask nobody for a key, wherever it listens.")] = None,
    strict: Annotated[
        bool | None,
        typer.Option("--strict", help="Fail instead of degrading; streams go on elsewhere with the very same samples."),
    ] = None,
) -> None:
    """Serve models over HTTP and WebSocket. Every flag, and every other bound, is also WHISPERGPT_<FLAG>."""
    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "model": model or None,
        "device": device,
        "dtype": dtype,
        "max_streams": max_streams,
        "keys": keys,
        "open": open_,
        "strict": strict,
    }
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        shown = f"--{name.replace('_', '-')}" if flags.get(name) is not None else f"WHISPERGPT_{name.upper()}"
        typer.echo(f"whispergpt serve: {shown}: {first['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from None
    for name in settings.model:
        if model_folder(name) is None:
            known = ", ".join(installed_models()) or "none"
            typer.echo(
                f"whispergpt serve: --model: there is no model '{name}', neither installed ({known}) nor a folder.",
                err=True,
            )
            raise typer.Exit(2)
    if not settings.model and not installed_models():
        typer.echo("whispergpt serve: --model: no model is installed, so one must be named.", err=True)
        raise typer.Exit(2)
    try:
        run_server(settings)
    except ServeError as error:
        typer.echo(f"whispergpt serve: {error}", err=True)
        raise typer.Exit(1) from None
