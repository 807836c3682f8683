"""``whispergpt models``: list the installed models."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from whispergpt.engine.checkpoints.checkpoint import describe_model
from whispergpt.engine.checkpoints.installed import installed_models


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False) -> None:
    """List the installed models."""
    described = [describe_model(name) for name in installed_models()]
    if as_json:
        typer.echo(json.dumps({"data": described}, indent=2))
        return
    for model in described:
        typer.echo(f"{model['id']:16}{model['parameters'] / 1e6:6.2f}M parameters   {model['licence']}")
