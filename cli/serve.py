"""``whispergpt serve``: run the server until it is stopped."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from socket import inet_aton
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from whispergpt.cli.options import MODEL_HELP, expand_options, in_plain_words
from whispergpt.engine.checkpoints.hub import is_hub_name, parse_hub_name
from whispergpt.engine.checkpoints.hub_errors import HubError
from whispergpt.engine.checkpoints.installed import installed_models, model_folder, no_model
from whispergpt.server.access.api_keys import KeyFileError, read_keys
from whispergpt.server.access.metrics_token import MetricsTokenError, read_token
from whispergpt.server.run import serve as run_server
from whispergpt.server.serve_error import ServeError
from whispergpt.server.settings import Settings

_LABEL = re.compile(r"\w([\w-]{0,61}\w)?", re.ASCII)


@dataclass(frozen=True)
class Flags:
    """Settings that have a flag; None leaves a setting at its default."""

    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. Default: 8000.")] = None
    model: Annotated[
        list[str] | None,
        typer.Option(help=f"{MODEL_HELP}; may be repeated. The first is the default."),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            help="auto, cpu, cuda or cuda:N; several with commas, such as cuda:0,cuda:1, or all, which is every CUDA "
            "device, for an engine on each. Default: auto."
        ),
    ] = None
    dtype: Annotated[
        str | None, typer.Option(help="Precision of products: auto, float32 or int8 (CPUs). Default: auto.")
    ] = None
    max_streams: Annotated[int | None, typer.Option(help="Streams that may play at once. Default: 64.")] = None
    workers: Annotated[
        str | None,
        typer.Option(
            help="Front-end processes that share the engines, the port, all limits and /metrics; auto is 1 on a CPU. "
            "Default: 1."
        ),
    ] = None
    keys: Annotated[Path | None, typer.Option(help="File of API keys. Default: no key is needed on loopback.")] = None
    open_: Annotated[bool | None, typer.Option("--open", help="Require no key, even on a network address.")] = None
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict", help="Let an engine crash end the server, and resume streams only with identical samples."
        ),
    ] = None


@expand_options
def serve(flags: Flags) -> None:
    """Serve models over HTTP and WebSocket. Every flag, and every other limit, is also WHISPERGPT_<FLAG>."""
    given = {name.rstrip("_"): None if value == [] else value for name, value in vars(flags).items()}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
        _check(settings)
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(given, str(first["loc"][0]), in_plain_words(first["msg"]))
    except _WrongError as error:
        _refuse(given, error.name, str(error))
    try:
        run_server(settings)
    except ServeError as error:
        typer.echo(f"whispergpt serve: {error}", err=True)
        raise typer.Exit(error.status) from None


class _WrongError(ValueError):
    """A setting with a valid type but a value that does not work on this machine."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def _check(settings: Settings) -> None:
    """Check the arguments before anything is started."""
    if not _may_be_host(settings.host):
        told = f"'{settings.host}' is neither an address nor a name, such as 127.0.0.1, ::1 or localhost"
        raise _WrongError("host", f"{told}; --port has the port")
    for name in settings.model:
        if is_hub_name(name):
            try:
                parse_hub_name(name)
            except HubError as error:
                raise _WrongError("model", str(error)) from None
        elif model_folder(name) is None:
            raise _WrongError("model", no_model(name))
    if not settings.model and not installed_models():
        raise _WrongError("model", "no model is installed, so one must be named.")
    files = {"keys": (settings.keys, read_keys), "metrics_token_file": (settings.metrics_token_file, read_token)}
    for name, (path, read) in files.items():
        try:
            if path is not None:
                read(path)
        except (KeyFileError, MetricsTokenError) as error:
            raise _WrongError(name, str(error)) from None


def _may_be_host(host: str) -> bool:
    """Return whether the text is a valid address or name; whether it exists shows on listening."""
    try:
        if ":" in host:
            return bool(IPv6Address(host))
        labels = host.encode("idna").decode().removesuffix(".").split(".")
        if labels[-1].isdigit():
            return bool(inet_aton(host))
    except (ValueError, OSError):
        return False
    return all(_LABEL.fullmatch(label) for label in labels)


def _refuse(given: dict[str, Any], name: str, why: str) -> NoReturn:
    """Print one line and exit; it names the variable if that has the value, else the flag."""
    variable = f"WHISPERGPT_{name.upper()}"
    by_flag = name in given and (given[name] is not None or variable not in os.environ)
    shown = f"--{name.replace('_', '-')}" if by_flag else variable
    typer.echo(f"whispergpt serve: {shown}: {why}", err=True)
    raise typer.Exit(2) from None
