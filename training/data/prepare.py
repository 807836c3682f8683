"""Folders of audio → a prepared folder: int16 shards at 24 kHz and a manifest, split by speaker or work."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from whispergpt.engine.audio.audio_file import AudioError, read_audio
from whispergpt.engine.backends.processors import usable_processors
from whispergpt.engine.config import HOP, SAMPLE_RATE
from whispergpt.training.data.datasets import find_audio
from whispergpt.training.data.grouping import HELDOUT_RULE, GroupBy, Layout, choose_heldout, folder_name, label, lay_out
from whispergpt.training.data.journal import JOURNAL, Entry, Header, Journal, Source, check_header, read_journal
from whispergpt.training.data.manifest import (
    FORMAT,
    MANIFEST,
    MOST_WORKERS,
    VERSION,
    Clip,
    Folder,
    Heldout,
    Manifest,
    Shard,
    Skipped,
    Split,
    hash_file,
    hash_shards,
    read_manifest,
    shard_name,
    verify_shards,
    write_manifest,
)

SHARD_SAMPLES = 256 * 2**20 // 2
"""Most samples in a shard: 256 MiB, 93 minutes. No file is split between shards, so longer files are skipped."""
LEAST_SECONDS = 60.0
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Error numbers of a file that cannot grow: the disk, the quota or the permitted size is used up."""

_Sound: TypeAlias = tuple[str, npt.NDArray[np.int16]]
"""SHA-256 of a file, and its samples ``[n]``."""


@dataclass(frozen=True)
class Preparation:
    """Result of ``prepare``; ``fresh`` is False where the folder was complete already."""

    manifest: Manifest
    fresh: bool


@dataclass(frozen=True)
class _Job:
    """A source and its path, or the reason for skipping it, where one is known already."""

    source: Source
    path: Path
    reason: str = ""


def prepare(
    folders: list[Path],
    out: Path,
    group_by: GroupBy = "auto",
    heldout: int | None = None,
    workers: int | None = None,
    shard_samples: int = SHARD_SAMPLES,
) -> Preparation:
    """Decode all audio under ``folders`` into ``out``, going on where an earlier call stopped.

    Args:
        heldout: number of groups that are never trained on; None holds out 6 %, at least one. 0 is for more
            recordings beside a folder that holds some out. MAESTRO's own split takes precedence.
        workers: threads that decode, each with a file in memory; None takes one for each core, eight at most.

    Raises:
        ValueError: the folders have too little audio or too few groups, ``out`` is another preparation's, the
            sources have changed since it was finished, or the disk is full. Files prepared so far are kept.
    """
    if heldout is not None and heldout < 0:
        raise ValueError(f"--heldout must be at least 0, not {heldout}")
    layouts, jobs = _survey(folders, group_by)
    header = Header(
        VERSION,
        [os.path.abspath(folder) for folder in folders],  # noqa: PTH100 (resolve would follow links)
        [layout.grouping for layout in layouts],
        shard_samples,
    )
    _sides([job.source for job in jobs if not job.reason], heldout)
    if (out / MANIFEST).exists():
        return Preparation(_finished(out, header, [job.source for job in jobs], heldout), fresh=False)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / JOURNAL).exists() and any(out.iterdir()):
        raise ValueError(f"{out} has other files in it: choose an empty or a new folder with -o")
    entries: list[Entry] = []
    try:
        with closing(Journal(out, header, [job.source for job in jobs])) as journal:
            entries = journal.entries
            _decode_rest(journal, jobs, workers or min(MOST_WORKERS, usable_processors()))
        named = [Folder(folder_name(f), layout.grouping) for f, layout in zip(folders, layouts, strict=True)]
        manifest = _manifest(out, entries, named, heldout)
        write_manifest(out, manifest)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ValueError(
            f"{out} cannot grow ({error.strerror}): {len(entries)} of {len(jobs)} files are prepared and kept; "
            "make room and give the same command again"
        ) from None
    return Preparation(manifest, fresh=True)


def _survey(folders: list[Path], group_by: GroupBy) -> tuple[list[Layout], list[_Job]]:
    """Return each folder's layout, and all sources in the order of preparation."""
    names = [folder_name(folder) for folder in folders]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two of the folders are called {name}, by which clips are known: prepare them apart")
    layouts, jobs = [], []
    for folder, name in zip(folders, names, strict=True):
        files = [path.relative_to(folder) for path in find_audio(folder)] if folder.is_dir() else []
        if not files:
            raise ValueError(f"{folder} is not a folder with audio in it")
        layout = lay_out(folder, files, group_by)
        layouts.append(layout)
        jobs += [_job(folder / file, f"{name}/{label(file.as_posix())}", file, layout) for file in files]
    return layouts, jobs


def _job(path: Path, named: str, file: Path, layout: Layout) -> _Job:
    try:
        found = path.stat()
        size, changed = found.st_size, found.st_mtime_ns
    except OSError:
        size, changed = 0, 0
    source = Source(named, size, changed, layout.groups.get(file, ""), layout.own_split.get(file))
    return _Job(source, path, "" if source.group else f"It is not in {layout.table}.")


def _sides(sources: list[Source], asked: int | None) -> dict[str, Split]:
    """Return the side of each group.

    Raises:
        ValueError: one side has no group.
    """
    own = {source.group: source.own_split for source in sources if source.own_split}
    # If one recording of a work is held out, all of them are.
    own |= {source.group: source.own_split for source in sources if source.own_split == "heldout"}
    others = {source.group for source in sources} - set(own)
    held = {group for group, split in own.items() if split == "heldout"} | choose_heldout(others, asked)
    sides: dict[str, Split] = {group: "heldout" if group in held else "train" for group in own.keys() | others}
    if own and len(set(sides.values())) < 2:
        raise ValueError("MAESTRO's own split needs works to train on and works held out, and one of them is missing")
    if len(sides) < 2 and asked != 0:
        only = "".join(f", {group}" for group in sides)
        raise ValueError(
            f"all audio is of one group{only}, and one must be held out: give a folder with a folder for each speaker "
            "or work below it, or say --group-by file"
        )
    if "train" not in sides.values():
        raise ValueError(f"no group is left to train on: there are {len(sides)} and {asked} are to be held out")
    return sides


def _decode_rest(journal: Journal, jobs: list[_Job], workers: int) -> None:
    done = len(journal.entries)
    first_of: dict[str, str] = {}
    for entry in journal.entries:
        first_of.setdefault(entry.sha256, entry.source.path)
    with tqdm(total=len(jobs), initial=done, desc="prepare", unit="file", disable=None) as progress:
        for job, sound in _decoded(jobs[done:], workers, journal.header.shard_samples / SAMPLE_RATE):
            if isinstance(sound, str):
                journal.skip(job.source, sound)
            elif first := first_of.get(sound[0]):
                # Under two names, one recording could be both trained on and held out.
                journal.skip(job.source, f"It is the same file as {first}.")
            else:
                journal.append(job.source, *sound)
                first_of[sound[0]] = job.source.path
            progress.update()


def _decoded(jobs: list[_Job], workers: int, longest: float) -> Iterator[tuple[_Job, _Sound | str]]:
    """Yield each job's sound, or the reason for skipping it, in order; at most ``workers`` + 1 are in memory."""
    rest = iter(jobs)
    pool = ThreadPoolExecutor(workers)
    ahead: deque[tuple[_Job, Future[_Sound | str]]] = deque()
    try:
        while True:
            ahead += [(job, pool.submit(_read, job, longest)) for job in islice(rest, workers + 1 - len(ahead))]
            if not ahead:
                return
            job, future = ahead.popleft()
            yield job, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(job: _Job, longest: float) -> _Sound | str:
    if job.reason:
        return job.reason
    if not job.path.is_file():
        return "It is not a file that can be opened."
    try:
        sha256 = hash_file(job.path)
        audio = read_audio(job.path, max_seconds=longest)
    except AudioError as error:
        return f"It is longer than {longest / 60:.0f} minutes." if error.code == "too_long" else str(error)
    except OSError as error:
        return f"It cannot be read: {error.strerror}."
    whole = len(audio) // HOP * HOP
    if not whole:
        return "It is shorter than one frame (1/75 s)."
    return sha256, (np.clip(audio[:whole], -1, 1) * 32767).astype(np.int16)


def _manifest(out: Path, entries: list[Entry], folders: list[Folder], asked: int | None) -> Manifest:
    kept = [entry for entry in entries if not entry.skipped]
    skipped = [Skipped(entry.source.path, entry.skipped) for entry in entries if entry.skipped]
    seconds = sum(entry.samples for entry in kept) / SAMPLE_RATE
    if seconds < LEAST_SECONDS:
        why = f" (the first: {skipped[0].path}: {skipped[0].reason})" if skipped else ""
        raise ValueError(
            f"{seconds:.1f} s of audio is too little: at least {LEAST_SECONDS:.0f} s are needed; "
            f"{len(kept)} files were read and {len(skipped)} skipped{why}"
        )
    sides = _sides([entry.source for entry in kept], asked)
    clips = [
        Clip(e.source.path, e.sha256, e.source.group, sides[e.source.group], e.shard, e.start, e.samples) for e in kept
    ]
    lengths = {clip.shard: clip.start + clip.samples for clip in clips}
    hashes = hash_shards(out, len(lengths))
    shards = [Shard(shard_name(i), lengths[i], sha256) for i, sha256 in enumerate(hashes)]
    held = Heldout(asked, HELDOUT_RULE, sorted(group for group, side in sides.items() if side == "heldout"))
    return Manifest(FORMAT, VERSION, SAMPLE_RATE, folders, held, shards, clips, skipped)


def _finished(out: Path, header: Header, sources: list[Source], asked: int | None) -> Manifest:
    """Return the manifest of a finished folder, if it is of these sources and its shards are intact."""
    manifest = read_manifest(out)
    journal = read_journal(out)
    if journal is None:
        raise ValueError(f"{out} is finished, but has no {JOURNAL} to compare with: choose another folder with -o")
    check_header(out, journal[0], header)
    before = {entry.source.path: entry.source for entry in journal[1]}
    now = {source.path: source for source in sources}
    new, gone = len(now.keys() - before.keys()), len(before.keys() - now.keys())
    changed = sum(before[path] != now[path] for path in now.keys() & before.keys())
    if new or gone or changed:
        raise ValueError(
            f"{out} is finished, and since then {new} files are new, {changed} changed and {gone} gone: prepare them "
            "into another folder with -o, or remove this one first"
        )
    if manifest.heldout.asked != asked:
        said = manifest.heldout.asked if manifest.heldout.asked is not None else "the default"
        raise ValueError(f"{out} was prepared with --heldout {said}: choose another folder with -o for another split")
    verify_shards(out, manifest)
    return manifest
