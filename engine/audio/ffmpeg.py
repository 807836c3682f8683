"""Reading by FFmpeg of formats that libsndfile does not read: mp3, m4a, webm, ….

FFmpeg may use no protocol, open no second file, and use only the formats and decoders of ``READABLE``: a playlist that
names an address or ``/etc/passwd`` is refused. The number of packets and frames per second is limited. Samples are
converted to packed ones first, because PyAV reads beyond the end of planar frames of more than eight channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition

from whispergpt.engine.audio.limits import (
    ENCODER_PADDING_SECONDS,
    READABLE,
    AudioError,
    Block,
    check_length,
    check_size,
    cut_short,
    mix,
    not_audio,
)
from whispergpt.engine.audio.source import Source

MOST_PIECES_A_SECOND = 1000
"""Packets plus frames per second of sound; Opus at its shortest has 800."""
MOST_FOREIGN = 100_000
"""Packets that are not sound, such as a film's pictures: ten minutes of a fast film."""
MOST_SPOILT = 16
"""Packets of an mp3 or aac file that may fail to decode: at a tag, or where streams were joined."""
LARGEST_ADTS = 8_191
"""Bytes in one packet of an aac file; the header has 13 bits for their number."""
PROBED_BYTES = 524_288
"""Bytes that FFmpeg reads ahead for facts missing from the headers. It keeps the packets it finds there: with its
default of five million bytes, empty packets take 300 MB."""
FORMATS = "aac,aiff,flac,matroska,mov,mp3,mp4,ogg,wav,webm"
DECODERS = (
    "aac,alac,flac,libopus,libvorbis,mp3,mp3float,opus,vorbis,adpcm_ima_wav,adpcm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)
PADDED = {"mp3", "mp3float", "aac", "opus", "libopus"}
"""Decoders of codings to which encoders add silence at the ends."""
FRAMED = {"mp3", "aac"}
"""Formats that are only packets, one after another, without their number."""
SIGNATURES = (
    (8, b"WAVE", "wav"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (8, b"AIF", "aiff"),
    (4, b"ftyp", "m4a"),
    (0, b"\x1aE\xdf\xa3", "webm"),
)
"""Signatures of formats: ``(offset, bytes, name)``. A file that has one and cannot be read is damaged."""


def read_with_ffmpeg(file: Source, head: bytes, max_seconds: float | None = None) -> Iterator[Block]:
    """Decode a file.

    Args:
        head: its first 12 bytes.
        max_seconds: refuse a file if its header claims more; None for no limit.

    Raises:
        AudioError: the file is not audio, is damaged, or is too long.
    """
    kind = next((name for at, mark, name in SIGNATURES if head[at : at + len(mark)] == mark), None)
    try:
        container = open_with_ffmpeg(file)
    except (av.FFmpegError, OSError):
        raise (cut_short(kind) if kind else not_audio()) from None
    with container:
        yield from _read(container, kind, max_seconds)


def open_with_ffmpeg(file: Source) -> InputContainer:
    """Open a file for FFmpeg, from its beginning, with no means but the file itself.

    Raises:
        av.FFmpegError, OSError: the file is of no known format, or its headers are damaged.
    """
    file.seek(0)
    return av.open(
        file,
        mode="r",
        container_options={
            "format_whitelist": FORMATS,
            "codec_whitelist": DECODERS,
            "protocol_whitelist": "none",
            "max_streams": "32",
            "probesize": str(PROBED_BYTES),
        },
        io_open=_refuse_to_open,
        metadata_errors="replace",
    )


def _read(container: InputContainer, kind: str | None, max_seconds: float | None) -> Iterator[Block]:
    stream = _best_of(container)
    name, rate, read = container.format.name, stream.rate, 0
    padded = stream.codec_context.name in PADDED
    claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    tells_its_end = name.startswith("mov")
    if tells_its_end:
        check_length(claimed, padded, max_seconds)
    # PyAV frees a file's own list of channels each time it is read. It is read only here, and then replaced by a plain
    # number of channels; their average does not need an order.
    if channels := stream.codec_context.channels:
        stream.codec_context.layout = f"{channels} channels"
    pieces = _Pieces(container, stream)
    converter, takes = av.AudioResampler(format="flt"), None
    try:
        for frame in pieces.frames():
            channels = frame.layout.nb_channels
            check_size(frame.sample_rate, channels)
            if frame.sample_rate != rate:
                raise AudioError("undecodable", f"The audio changes its rate from {rate} to {frame.sample_rate} Hz.")
            read += frame.samples
            if takes != (kind_of := (frame.format.name, frame.layout.name)):  # the format may change between frames
                converter, takes = av.AudioResampler(format="flt"), kind_of
            for converted in converter.resample(frame):
                samples = converted.to_ndarray().reshape(-1, channels)
                yield Block(rate, padded, mix(samples.astype(np.float32, copy=False), axis=1))
    except av.FFmpegError:
        raise cut_short(kind or (name if name in FRAMED else "audio")) from None
    # With padding, a file decodes to more samples than are heard, so the packets are counted instead.
    there = pieces.seconds if padded else read / rate
    if tells_its_end and there < claimed - ENCODER_PADDING_SECONDS:
        raise cut_short("m4a")


def _best_of(container: InputContainer) -> AudioStream:
    """Return the stream that a player would choose, or the first that can be read; skip all others.

    Raises:
        AudioError: there is no such stream (``not_audio``).
    """
    sounds = container.streams.audio
    if not sounds:
        raise AudioError("not_audio", f"The file has no audio in it; {READABLE} are read.")
    known = DECODERS.split(",")
    readable = [sound for sound in sounds if sound.codec_context is not None and sound.codec_context.name in known]
    if not readable:
        named = sounds[0].codec_context.name if sounds[0].codec_context is not None else ""
        coding = f"in the coding {named}, which is not read" if named else "in a coding that is not known"
        raise AudioError("not_audio", f"The file's audio is {coding}; {READABLE} are read.")
    best = next((sound for sound in readable if sound.disposition & Disposition.default), readable[0])
    for other in container.streams:
        if other.index != best.index:
            other.discard = Discard.all
    return best


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"an audio file may not refer to {url}")


class _Pieces:
    """Packets and frames of one stream of a container, a limited number per second of sound.

    A file may be cut into single samples, each of which takes as long to decode as a block.

    Attributes:
        seconds: duration of all whole packets so far.
    """

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._container, self._stream = container, stream
        self._framed = container.format.name in FRAMED
        self._mp3 = container.format.name == "mp3"
        self._foreign = 0
        self.seconds = 0.0

    def frames(self) -> Iterator[AudioFrame]:
        """Yield the decoded frames.

        Raises:
            AudioError: there are too many pieces (``undecodable``).
            av.FFmpegError: a packet is damaged.
        """
        pieces, sound, spoilt = 0, 0.0, 0
        packets = self._packets()
        if self._framed:
            packets = _but_a_broken_end(packets, _whole_mp3() if self._mp3 else _whole_adts)
        for packet in packets:
            pieces += 1
            if packet.duration and packet.time_base and not packet.is_corrupt:
                self.seconds += float(packet.duration * packet.time_base)
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                spoilt += 1
                if not self._framed or spoilt > MOST_SPOILT:
                    raise
                continue
            for frame in frames:
                pieces += 1
                sound += frame.samples / max(1, frame.sample_rate)
                yield frame
            if pieces > MOST_PIECES_A_SECOND * (1 + sound):
                raise AudioError("undecodable", "The file cuts its audio into pieces too small to be read.")

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        packets, ends = self._container.demux(), 0
        while True:
            try:
                packet = next(packets, None)
            except av.InvalidDataError:
                if not self._framed or self._container.size - ends > LARGEST_ADTS:
                    raise
                return  # the last packet broke off in its header
            if packet is None:
                return
            if packet.stream_index == self._stream.index:
                ends = (packet.pos or 0) + packet.size
                yield cast("Packet[AudioStream]", packet)
            elif packet.size:
                self._foreign += 1
                if self._foreign > MOST_FOREIGN:
                    raise AudioError("undecodable", "The file has too much beside its audio; send the audio alone.")


def _but_a_broken_end(
    packets: Iterator[Packet[AudioStream]], whole: Callable[[Packet[AudioStream]], bool]
) -> Iterator[Packet[AudioStream]]:
    """Yield all packets except a last one that is not ``whole``: half a frame would be noise before the continuation.

    Args:
        whole: called once for each packet, in order.
    """
    held: Packet[AudioStream] | None = None
    for packet in packets:
        if not packet.size:  # an empty packet: the decoder is to return what it still holds
            if held is not None and whole(held):
                yield held
            yield packet
            return
        if held is not None:
            whole(held)
            yield held
        held = packet
    if held is not None and whole(held):
        yield held


def _whole_mp3() -> Callable[[Packet[AudioStream]], bool]:
    """Return a test of whether a packet is as long as the shortest before it with the same header."""
    shortest: dict[bytes, int] = {}

    def whole(packet: Packet[AudioStream]) -> bool:
        header = bytes(packet)[:3]
        least = shortest.get(header, 0)
        shortest[header] = min(packet.size, shortest.get(header, packet.size))
        return packet.size >= least

    return whole


def _whole_adts(packet: Packet[AudioStream]) -> bool:
    """Return whether a packet is as long as its header says (ISO 14496-3, 1.A.2.2.1), or has no header."""
    data = bytes(packet)[:6]
    if len(data) < 6 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return len(data) == 6
    return packet.size >= ((data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5)
