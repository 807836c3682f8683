"""Options of several subcommands of `whispergpt train`, and the lists of numbers that some of them take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import torch
import typer

from whispergpt.engine.config import MEL_WINDOWS, SAMPLE_RATE, MelConfig, ModelConfig
from whispergpt.engine.device import pick_device
from whispergpt.engine.model.codec import Codec
from whispergpt.engine.model.mel import mel_filterbank
from whispergpt.training.data.alteration import UNALTERED, Alteration
from whispergpt.training.data.datasets import AudioSet, load_prepared
from whispergpt.training.measures.figures.packages import need
from whispergpt.training.precision import product_type
from whispergpt.training.scalars import require_tensorboard
from whispergpt.training.tokens.tokens import VERSIONS, Tokens, tokenize

Steps = Annotated[int, typer.Option(help="Optimiser steps in all.")]
Batch = Annotated[int, typer.Option(help="Crops of ten seconds a step.")]
FineTemperature = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=2.0, help="Of its finer codes, if they are drawn, here and from now on. Default: what it has."
    ),
]
PitchAhead = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="For music: weight of a second task, to foretell the pitch classes of the next second and of the next "
        "four, so that the model learns what keeps a key. 1 is a good start. The last step's weights are kept.",
    ),
]
GuideWeight = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Learn the odds of --model instead of the recordings' codes, to which is added so many times what sound "
        "more than about a second ago changes in them, so that the model leans on it more. 1 is a good start. The last "
        "step's weights are kept.",
    ),
]
LEAST_LIMIT_HZ = 1_000


@dataclass(frozen=True)
class RunOptions:
    """Data, folder and device of a training run.

    Raises:
        ValueError: ``shares`` is not one number above 0 for each folder, or TensorBoard is needed and not installed.
    """

    data: Annotated[list[Path], typer.Argument(help="Folders that `whispergpt train prepare` wrote.")]
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run: checkpoint, log and result.")]
    shares: Annotated[
        str | None, typer.Option(help="How much comes from each folder, such as 3,1. Default: their hours.")
    ] = None
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="Write the log for TensorBoard too, into a folder of the run's name in this one."),
    ] = None
    seed: Annotated[int, typer.Option(help="Of the weights and the order of the data.")] = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    bfloat16: Annotated[
        bool | None,
        typer.Option(
            "--bfloat16/--float32",
            help="The type of the large products. Default: bfloat16 where the device multiplies it faster.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.tensorboard is not None:
            require_tensorboard()
        shares = self.folder_shares
        if shares is not None and (len(shares) != len(self.data) or not all(0 < share < math.inf for share in shares)):
            raise ValueError(
                f"--shares must be {len(self.data)} numbers above 0 with commas between, not {self.shares!r}"
            )

    @property
    def folder_shares(self) -> tuple[float, ...] | None:
        """Return how much comes from each folder; None for their hours."""
        return None if self.shares is None else tuple(_numbers(self.shares))

    @property
    def cache(self) -> Path:
        """Return the folder of what is kept of all recordings together."""
        return self.caches[0]

    @property
    def caches(self) -> list[Path]:
        """Return the folder of each prepared folder's tokens."""
        return [folder / "tokens" for folder in self.data]

    def pick(self) -> tuple[torch.device, torch.dtype]:
        """Return the device to train on, and the type of its large products.

        Raises:
            DeviceError: there is no such device.
        """
        device = pick_device(self.device)
        return device, product_type(device, self.bfloat16)

    def load_audio(self) -> AudioSet:
        """Return the audio of the prepared folders; how much it is goes to stderr."""
        data = load_prepared(self.data)
        train, heldout = data.train.seconds / 3600, data.heldout.seconds / 3600
        typer.echo(f"{train:.2f} h to train on, {heldout:.2f} h held out", err=True)
        return data


@dataclass(frozen=True)
class ModelOptions(RunOptions):
    """Options of a run that trains a model on tokens, of altered copies too.

    Raises:
        ValueError: a list is not one of numbers, or one of them is out of range.
    """

    transpose: Annotated[
        str | None,
        typer.Option(help="Learn from the recordings played faster and slower too: semitones, such as -1.5,1.5."),
    ] = None
    limit_band: Annotated[
        str | None,
        typer.Option(
            help="Learn from copies without what is above so many Hz too, of recordings that reach higher: 8000."
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 < abs(shift) <= 12 for shift in _numbers(self.transpose)):
            raise ValueError(
                f"--transpose must be semitones from -12 to 12 with commas between, not {self.transpose!r}"
            )
        if not all(LEAST_LIMIT_HZ <= limit < SAMPLE_RATE / 2 for limit in _numbers(self.limit_band)):
            raise ValueError(
                f"--limit-band must be Hz from {LEAST_LIMIT_HZ} to below {SAMPLE_RATE // 2} with commas between, "
                f"not {self.limit_band!r}"
            )

    def load_tokens(
        self,
        codec: Codec,
        mel: MelConfig,
        versions: Sequence[str] = VERSIONS,
        ahead: bool = False,
        audio: AudioSet | None = None,
    ) -> tuple[list[Tokens], list[Tokens]]:
        """Return the tokens to learn from, the recordings before their altered copies, and those to check with.

        Args:
            versions: those of ``VERSIONS`` that slices are needed of.
            ahead: with the pitch classes of what follows, to learn from.
            audio: what ``load_audio`` returned, if it was called already.

        Raises:
            MissingError: those are wanted, and librosa is not installed.
        """
        if ahead:
            need("librosa", "Foretelling pitch classes")
        audio = audio or self.load_audio()
        alterations = [
            UNALTERED,
            *(Alteration(semitones=shift) for shift in _numbers(self.transpose)),
            *(Alteration(highest_hz=hertz) for hertz in _numbers(self.limit_band)),
        ]
        train = (tokenize(audio.train, codec, mel, self.caches, one, versions, ahead) for one in alterations)
        return list(chain.from_iterable(train)), tokenize(audio.heldout, codec, mel, self.caches, versions=versions)


@dataclass(frozen=True)
class SliceOptions:
    """Options of the mel slices that a model hears; what is not given is the model's own."""

    mel_bands: Annotated[int | None, typer.Option(min=1, max=512, help="Mel bands of a slice.")] = None
    mel_window: Annotated[
        int | None,
        typer.Option(
            help="Samples at 24 kHz that a slice is made of: 1024, 2048 or 4096. Longer ones tell lower notes apart."
        ),
    ] = None
    mel_high: Annotated[float | None, typer.Option(help="Hz at which the highest mel band ends.")] = None

    def __post_init__(self) -> None:
        if self.mel_window not in (None, *MEL_WINDOWS):
            raise ValueError(f"--mel-window must be 1024, 2048 or 4096, not {self.mel_window}")
        if self.mel_high is not None and not LEAST_LIMIT_HZ <= self.mel_high <= SAMPLE_RATE / 2:
            most = SAMPLE_RATE // 2
            raise ValueError(f"--mel-high must be from {LEAST_LIMIT_HZ} to {most} Hz, not {self.mel_high:g}")

    def of(self, model: ModelConfig) -> MelConfig:
        """Return the model's slices with what is given.

        Raises:
            ValueError: the model hears none, or a band is narrower than the window can tell.
        """
        old = model.mel
        mel = replace(
            old,
            n_mels=self.mel_bands or old.n_mels,
            window=self.mel_window or old.window,
            high_hz=self.mel_high or old.high_hz,
        )
        if mel != old and model.spectrogram is None:
            raise ValueError("a token-only model hears no slices: leave out --mel-bands, --mel-window and --mel-high")
        if (mel_filterbank(mel.window, mel.n_mels, mel.low_hz, mel.high_hz).amax(0) == 0).any():
            raise ValueError(
                f"{mel.n_mels} mel bands up to {mel.high_hz:g} Hz are more than a window of {mel.window} samples "
                "can tell apart: fewer --mel-bands, or a longer --mel-window"
            )
        return mel


def _numbers(given: str | None) -> list[float]:
    """Return the numbers between commas; NaN alone, which no option takes, where one is not a number."""
    try:
        return [float(part) for part in given.split(",")] if given else []
    except ValueError:
        return [math.nan]
