"""``whispergpt train decoder|mean|install|push|curves``: what becomes of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from whispergpt.cli.arguments import check_finite, require_matplotlib, told_in_one_line
from whispergpt.cli.options import MODEL_HELP
from whispergpt.cli.train.options import FineTemperature
from whispergpt.engine.checkpoints.checkpoint import (
    LoadedModel,
    find_model,
    load_codec,
    load_model,
    load_spoken_codec,
    save_codec,
    save_model,
)
from whispergpt.training.install import install_model
from whispergpt.training.lm.mean import mean_of, mean_of_codecs
from whispergpt.training.lm.own_decoder import with_decoder
from whispergpt.training.push import push_model
from whispergpt.training.study.curves import draw_curves, read_curve


def decoder(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder of a codec whose decoder becomes the model's own: a run of `train codec --drawn-by` that "
            "learnt the codes of this model's fine stage, or a model that has one."
        ),
    ],
    model: Annotated[str, typer.Option(help=f"The model that is to have it. {MODEL_HELP}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model that is written.")],
    fine_temperature: FineTemperature = None,
) -> None:
    """Give a model a decoder of its own, and write the whole as a model folder; the codec keeps the one it has."""
    with told_in_one_line():
        loaded = load_model(model, torch.device("cpu"))
        _save(with_decoder(loaded, load_spoken_codec(find_model(run)), fine_temperature), out)


def mean(
    first: Annotated[str, typer.Argument(help=f"A model, whose codec and defaults are kept. {MODEL_HELP}.")],
    second: Annotated[str, typer.Argument(help="Another, of the same sizes, codes and licence.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model that is written.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the second's weights in the mean.")] = 0.5,
    codec: Annotated[
        bool, typer.Option("--codec", help="Of the codecs alone: of two models, or of runs of `train codec`.")
    ] = False,
) -> None:
    """Write a model whose weights are the mean of two models', from runs that began with the same weights."""
    with told_in_one_line():
        check_finite(share=share)
        if codec:
            if (out / "model.safetensors").exists():
                raise ValueError(f"{out} has a model in it: choose another folder with -o")
            averaged = mean_of_codecs(load_codec(find_model(first)), load_codec(find_model(second)), share)
            out.mkdir(parents=True, exist_ok=True)
            save_codec(averaged, out)
            return
        cpu = torch.device("cpu")
        _save(mean_of(load_model(first, cpu), load_model(second, cpu), share), out)


def _save(model: LoadedModel, folder: Path) -> None:
    save_model(folder, model.step.model, model.step.plain_codec, model.defaults, model.licence)


def install(
    run: Annotated[Path, typer.Argument(help="Folder of a model's run.")],
    name: Annotated[str, typer.Option(help="What `--model` will call it.")],
    replacing: Annotated[bool, typer.Option("--replace", help="Instead of the installed one of that name.")] = False,
) -> None:
    """Put what a run made among the installed models; a codec that one of them has is shared with it."""
    with told_in_one_line():
        typer.echo(f"installed {install_model(run, name, replacing)}")


def push(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FOLDER", help="Folder of a run or a model, or an installed model's name."),
    ],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository, made if it is missing.")],
    private: Annotated[bool, typer.Option("--private", help="Make a missing repository private.")] = False,
) -> None:
    """Upload a model to the Hugging Face Hub, for `--model hf://OWNER/NAME`; HF_TOKEN is the token to write with."""
    with told_in_one_line():
        typer.echo(f"pushed {push_model(model, repository, private).pinned}")


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of models' runs, or their logs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture; its ending says its format.")],
    title: Annotated[str, typer.Option(help="Above it.")] = "",
) -> None:
    """Draw learning curves from runs' logs, as the paper's figures 2 and 3 have them."""
    with told_in_one_line():
        require_matplotlib("The picture")
        draw_curves([read_curve(run) for run in runs], title, out)
