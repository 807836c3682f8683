"""Reading by libsndfile: wav, flac, ogg, aiff and similar formats, and joined files of them.

libsndfile gets no mp3, because its libmpg123 writes warnings to stderr.
"""

from __future__ import annotations

from collections.abc import Iterator

import soundfile

from whispergpt.engine.audio.limits import AudioError, Block, check_length, check_size, cut_short, mix, not_audio
from whispergpt.engine.audio.links import links_of
from whispergpt.engine.audio.sound_chunk import SoundChunk
from whispergpt.engine.audio.source import Source

BLOCK_VALUES = 262_144
UNKNOWN_FRAMES = 2**62
"""Frames from which on the length is unknown; libsndfile gives 2^63 - 1 for a file that does not say it."""
FORMATS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"}
BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"dns.", b"caff")
WAVE_MPEG = {0x50, 0x55}
"""Codes in a wav's header for MPEG layers 1 to 3."""


def read_with_sndfile(
    file: Source, head: bytes, sound: SoundChunk | None, max_seconds: float | None
) -> Iterator[Block] | None:
    """Decode a file that begins with ``head``; return None where libsndfile cannot read it.

    Args:
        sound: the chunk of a wav or aiff that has its sound.
        max_seconds: refuse a file if its header claims more; None for no limit.

    Raises:
        AudioError: the file is not audio, or is too long.
    """
    if not head.startswith(BEGINNINGS) or (sound and sound.coding in WAVE_MPEG):
        return None
    links = links_of(file, head)
    claimed = 0.0
    for number, link in enumerate(links):
        link.seek(0)
        try:
            with soundfile.SoundFile(link) as opened:
                if opened.format not in FORMATS:
                    raise not_audio()
                # A streamed FLAC or wav may not say how long it is. libsndfile takes the FLAC's end for damage, and
                # the wav for empty.
                if opened.frames >= UNKNOWN_FRAMES or (not opened.frames and sound and sound.open_ended):
                    break
                check_size(opened.samplerate, opened.channels)
                claimed += opened.frames / opened.samplerate
        except soundfile.LibsndfileError:
            if number and head.startswith(b"fLaC"):
                raise cut_short("FLAC") from None
            if number and number + 1 == len(links):
                links.pop()  # a recording without a known end broke off in the headers of its last link
                continue
            break
    else:
        check_length(claimed, False, max_seconds)
        return _blocks(links)
    file.seek(0)
    return None


def _blocks(links: list[Source]) -> Iterator[Block]:
    for link in links:
        link.seek(0)
        with soundfile.SoundFile(link) as opened:
            yield from _blocks_of(opened, joined=len(links) > 1)


def _blocks_of(file: soundfile.SoundFile, joined: bool) -> Iterator[Block]:
    if not file.frames and not joined:
        raise AudioError("empty_audio", f"The {file.format} file is empty: it has no samples.")
    read = 0
    while True:
        try:
            block = file.read(BLOCK_VALUES // file.channels, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            raise cut_short(file.format) from None
        if not len(block):
            break
        read += len(block)
        yield Block(file.samplerate, False, mix(block, axis=1))
    if file.format == "FLAC" and read < file.frames:
        raise cut_short(file.format)
