"""What libsndfile does not read (mp3, m4a, webm, …), by FFmpeg.

It may use no protocol and open no second file, and of its formats and decoders only those of ``READABLE`` are let in: a
playlist that names an address or ``/etc/passwd`` is not audio. The work is bounded by pieces per second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NoReturn

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from engine.audio_file import (
    ENCODER_PADDING_SECONDS,
    READABLE,
    AudioError,
    Block,
    check_size,
    cut_short,
    mix,
    not_audio,
)

MOST_PIECES_A_SECOND = 1000
"""Packets and frames together; Opus at its shortest has 800."""
MOST_SPOILT = 16
"""Packets of an mp3 that are none: where streams were joined, or a tag stands."""
FORMATS = "aac,aiff,flac,matroska,mov,mp3,mp4,ogg,wav,webm"
DECODERS = (
    "aac,alac,flac,libopus,libvorbis,mp3,mp3float,opus,vorbis,adpcm_ima_wav,adpcm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)
MP3_DECODERS = {"mp3", "mp3float"}
PADDED = MP3_DECODERS | {"aac", "opus", "libopus"}
"""The decoders of what encoders pad."""
SIGNATURES = (
    (8, b"WAVE", "wav"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (8, b"AIF", "aiff"),
    (4, b"ftyp", "m4a"),
    (0, b"\x1aE\xdf\xa3", "webm"),
)
"""Where a file says what it is: ``(offset, bytes, name)``; one that says so and cannot be read is damaged."""


def read_with_ffmpeg(file: BinaryIO, head: bytes) -> Iterator[Block]:
    """The sound of a file that begins with these 12 bytes.

    Raises:
        AudioError: it is not audio, or damaged.
    """
    kind = next((name for at, mark, name in SIGNATURES if head[at : at + len(mark)] == mark), None)
    file.seek(0)
    try:
        container = av.open(
            file,
            mode="r",
            container_options={
                "format_whitelist": FORMATS,
                "codec_whitelist": DECODERS,
                "protocol_whitelist": "none",
                "max_streams": "32",
            },
            io_open=_refuse_to_open,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError):
        raise (cut_short(kind) if kind else not_audio()) from None
    with container:
        if not container.streams.audio:
            raise AudioError("not_audio", f"The file has no audio in it; {READABLE} are read.")
        stream = container.streams.audio[0]
        if stream.codec_context is None or stream.codec_context.name not in DECODERS.split(","):
            raise AudioError("not_audio", f"The file's audio is in a coding that is not known; {READABLE} are read.")
        rate, read, padded = stream.rate, 0, stream.codec_context.name in PADDED
        converter, takes = av.AudioResampler(format="fltp"), None
        try:
            for frame in _in_fair_pieces(container, stream):
                check_size(frame.sample_rate, frame.layout.nb_channels)
                if frame.sample_rate != rate:
                    raise AudioError(
                        "undecodable", f"The audio changes its rate from {rate} to {frame.sample_rate} Hz."
                    )
                read += frame.samples
                if takes != (kind_of := (frame.format.name, frame.layout.name)):  # they may change between frames
                    converter, takes = av.AudioResampler(format="fltp"), kind_of
                for converted in converter.resample(frame):
                    samples = mix(converted.to_ndarray().astype(np.float32, copy=False), axis=0)
                    yield Block(rate, padded, samples)
        except av.FFmpegError:
            raise cut_short(kind or ("mp3" if container.format.name == "mp3" else "audio")) from None
        claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if container.format.name.startswith("mov") and read < (claimed - ENCODER_PADDING_SECONDS) * rate:
            raise cut_short("m4a")


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"an audio file may not refer to {url}")


def _in_fair_pieces(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """The frames, while there are no more of them and of packets than their sound accounts for: a file may be cut into
    single samples, each of which takes as long as a block.

    Raises:
        AudioError: there are more.
    """
    pieces, sound, spoilt = 0, 0.0, 0
    mp3 = stream.codec_context.name in MP3_DECODERS
    packets = container.demux(stream)
    for packet in _but_a_broken_end(packets) if mp3 else packets:
        pieces += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            spoilt += 1
            if not mp3 or spoilt > MOST_SPOILT:
                raise
            continue
        for frame in frames:
            pieces += 1
            sound += frame.samples / max(1, frame.sample_rate)
            yield frame
        if pieces > MOST_PIECES_A_SECOND * (1 + sound):
            raise AudioError("undecodable", "The file cuts its audio into pieces too small to be read.")


def _but_a_broken_end(packets: Iterator[Packet[AudioStream]]) -> Iterator[Packet[AudioStream]]:
    """All of an mp3's packets but a last one that is shorter than another with the same header: half a frame decodes to
    noise, just where a continuation joins."""
    shortest: dict[bytes, int] = {}
    held: tuple[bytes, Packet[AudioStream]] | None = None
    for packet in packets:
        if not packet.size:  # the end
            if held is not None and held[1].size >= shortest.get(held[0], 0):
                yield held[1]
            yield packet
            return
        if held is not None:
            header, before = held
            shortest[header] = min(before.size, shortest.get(header, before.size))
            yield before
        held = bytes(packet)[:3], packet
