"""Continuation of every recording under a folder, many at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import typer
from msgspec.structs import replace
from tqdm import tqdm

from whispergpt.cli.arguments import counted, tell_skipped
from whispergpt.engine.audio.audio_file import AudioError, cut_prompt, read_audio
from whispergpt.engine.batch import Job, generate_all
from whispergpt.engine.config import FRAME_RATE, HOP
from whispergpt.engine.engine import Engine
from whispergpt.engine.whole_file import whole_file
from whispergpt.server.audio.encoders import Format, encode, in_format
from whispergpt.server.audio.provenance import Provenance, ProvenanceError, provenance, read_provenance, sha256_of
from whispergpt.server.parameters import sampling_for
from whispergpt.training.data.datasets import find_audio

if TYPE_CHECKING:
    from whispergpt.cli.continuation import GenerationOptions


@dataclass
class Entry:
    """A recording of the folder, and its continuation; both are named from their folders on.

    Attributes:
        status: ``written``; ``kept``, because an earlier run made the same; or ``failed``, for the ``reason``.
    """

    file: str
    output: str
    status: Literal["written", "kept", "failed"] = "failed"
    seed: int | None = None
    reason: str | None = None


@dataclass
class FolderResult:
    """Entries of a run, in the order of their names, and how fast it was."""

    output: Path
    engine: Engine
    seconds: float
    """Seconds of each continuation, without the prompt."""
    entries: list[Entry]
    taken: float = 0.0
    """Wall seconds, without loading."""

    @property
    def failed(self) -> list[Entry]:
        """Return the recordings that could not be continued."""
        return [entry for entry in self.entries if entry.status == "failed"]

    def tell(self, as_json: bool, model: str) -> None:
        """Print the summary. ``model``: its name, as the text has it."""
        count = Counter(entry.status for entry in self.entries)
        made = count["written"] * self.seconds
        factor = round(made / self.taken, 3) if made else None
        if as_json:
            summary = {
                "output": str(self.output),
                "model": self.engine.model.id,
                "fingerprint": self.engine.fingerprint,
                **{name: count[name] for name in ("written", "kept", "failed")},
                "seconds": made,
                "realtime_factor": factor,
                "files": [{k: v for k, v in asdict(entry).items() if v is not None} for entry in self.entries],
            }
            typer.echo(json.dumps(summary))
            return
        tell_skipped([(entry.file, entry.reason or "") for entry in self.failed])
        text = f"{self.output}: {counted(count['written'], 'file')} written, {count['kept']} kept, "
        text += f"{count['failed']} failed; {made:.2f} s by {model}"
        typer.echo(text + (f", {factor} times real time" if factor else ""))


@dataclass
class _Planned:
    """A continuation to make. ``lead``: the decoded prompt to put in front, int16 ``[n]``."""

    entry: Entry
    made: Provenance
    lead: list[npt.NDArray[np.int16]] = field(default_factory=list)


class _Run:
    def __init__(self, folder: Path, output: Path, options: GenerationOptions, wanted: Format) -> None:
        self._folder, self._options, self._wanted = folder, options, wanted
        self._frames = options.check()
        entries = _plan(folder, output, wanted)
        output.mkdir(parents=True, exist_ok=True)
        engine = options.load()
        self.result = FolderResult(output, engine, self._frames / FRAME_RATE, entries)

    def run(self) -> None:
        began = time.perf_counter()
        total = len(self.result.entries) * self._frames
        with tqdm(total=total, desc="continue", unit="frame", disable=None, leave=False) as self._progress:
            for take in generate_all(self.result.engine, self._jobs(), self._progress.update):
                planned = take.key
                if not take.finite:
                    planned.entry.reason = "The model computes numbers that are not finite."
                    continue
                body = encode(
                    self._wanted, np.concatenate([*planned.lead, take.pcm.reshape(-1)]).tobytes(), planned.made
                )
                with whole_file(self.result.output / planned.entry.output) as whole:
                    whole.write_bytes(body)
                planned.entry.status = "written"
        self.result.taken = time.perf_counter() - began

    def _jobs(self) -> Iterator[Job[_Planned]]:
        """Yield the continuations to make; entries of the others are completed."""
        engine, with_prompt = self.result.engine, self._options.with_prompt
        info = engine.info()
        for entry in self.result.entries:
            source = self._folder / entry.file
            sampling = sampling_for(self._options.wishes, info)
            try:
                made = provenance(info, sampling, self._frames, with_prompt, sha256_of(source))
                if (seed := self._seed_of_same(self.result.output / entry.output, made)) is not None:
                    entry.status, entry.seed = "kept", seed
                    self._progress.update(self._frames)
                    continue
                prompt = engine.encode_prompt(cut_prompt(read_audio(source)))
            except AudioError as error:
                entry.reason = str(error)
            except OSError as error:
                entry.reason = f"It cannot be read: {error.strerror}."
            else:
                entry.seed = sampling.seed
                lead = [prompt.decoded.numpy()] if with_prompt else []
                yield Job(_Planned(entry, made, lead), prompt, sampling, self._frames)
                continue
            self._progress.update(self._frames)

    def _seed_of_same(self, target: Path, made: Provenance) -> int | None:
        """Return the seed of a whole file that an earlier run made in the same way; None if there is none.

        Without ``--seed`` the seed may be any.
        """
        if not target.is_file():
            return None
        try:
            there, _ = read_provenance(target)
            samples = len(read_audio(target, max_seconds=None))
        except (ProvenanceError, AudioError):
            return None
        expected = in_format(made, self._wanted)
        if self._options.seed is None:
            expected = replace(expected, seed=there.seed)
        return there.seed if there == expected and samples >= self._frames * HOP else None


def continue_folder(folder: Path, output: Path, options: GenerationOptions, wanted: Format) -> FolderResult:
    """Continue every recording under ``folder`` into ``output``, with the same structure and names.

    A continuation that is there already, made of the same recording in the same way, is kept.

    Raises:
        ValueError: there is no recording, or ``output`` cannot be used.
        OSError: a continuation cannot be written.
        ModelError, DeviceError, ApiError: the options cannot be used.
    """
    run = _Run(folder, output, options, wanted)
    run.run()
    return run.result


def _plan(folder: Path, output: Path, wanted: Format) -> list[Entry]:
    """Return an entry for each recording. Recordings that differ in their ending alone keep it in the new name.

    Raises:
        ValueError: there is no recording, a continuation would replace one, or both go to one folder.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; the continuations of a folder go to a folder.")
    found, own = find_audio(folder), output.resolve()
    if own == folder.resolve():
        told = f"{output} has the recordings, and the next run would continue its continuations too"
        raise ValueError(f"{told}: name another folder with -o.")
    if own.is_relative_to(folder.resolve()):
        found = [path for path in found if not path.resolve().is_relative_to(own)]
    if not found:
        raise ValueError(f"{folder} has no audio in it.")
    names = [path.relative_to(folder) for path in found]
    stems = Counter(name.with_suffix("") for name in names)
    entries = []
    sources = {path.resolve() for path in found}
    for name in names:
        target = name.with_suffix(f".{wanted}") if stems[name.with_suffix("")] == 1 else Path(f"{name}.{wanted}")
        if (output / target).resolve() in sources:
            raise ValueError(f"{output / target} is a recording itself: name another folder with -o.")
        entries.append(Entry(name.as_posix(), target.as_posix()))
    return entries
