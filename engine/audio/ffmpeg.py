"""Reading of what libsndfile cannot (mp3, m4a, webm, …), by FFmpeg.

It may use no protocol and open no second file, and of its formats and decoders only those of ``READABLE`` are let in: a
playlist that names an address or ``/etc/passwd`` is not audio. The work is bounded by pieces per second. Samples are
packed before Python sees them: PyAV reads beyond the end of planar frames of more than eight channels.
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
"""Packets and frames together; Opus at its shortest has 800."""
MOST_FOREIGN = 100_000
"""Packets of a film's pictures and subtitles beside the sound: ten minutes of a fast film."""
MOST_SPOILT = 16
"""Packets of an mp3 or aac file that are none: where streams were joined, or a tag stands."""
LARGEST_ADTS = 8_191
"""Bytes of a packet of an aac file, whose header has 13 bits for them."""
PROBED_BYTES = 524_288
"""Bytes that are searched for what the headers leave out. FFmpeg keeps what it finds there: of the five
million that it usually takes, 300 MB where packets are empty."""
FORMATS = "aac,aiff,flac,matroska,mov,mp3,mp4,ogg,wav,webm"
DECODERS = (
    "aac,alac,flac,libopus,libvorbis,mp3,mp3float,opus,vorbis,adpcm_ima_wav,adpcm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)
PADDED = {"mp3", "mp3float", "aac", "opus", "libopus"}
"""The decoders of what encoders pad."""
FRAMED = {"mp3", "aac"}
"""Formats that are packets one behind another, and nothing that says how many."""
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


def read_with_ffmpeg(file: Source, head: bytes, max_seconds: float | None = None) -> Iterator[Block]:
    """The sound of a file that begins with these 12 bytes.

    Args:
        max_seconds: refuse a file whose header says more; None for any.

    Raises:
        AudioError: it is not audio, damaged, or too long.
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
                "probesize": str(PROBED_BYTES),
            },
            io_open=_refuse_to_open,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError):
        raise (cut_short(kind) if kind else not_audio()) from None
    with container:
        yield from _read(container, kind, max_seconds)


def _read(container: InputContainer, kind: str | None, max_seconds: float | None) -> Iterator[Block]:
    stream = _best_of(container)
    name, rate, read = container.format.name, stream.rate, 0
    padded = stream.codec_context.name in PADDED
    claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    tells_its_end = name.startswith("mov")
    if tells_its_end:
        check_length(claimed, padded, max_seconds)
    # Where a file has its own order of channels, PyAV frees the list of it with each look: here, once. The decoder is
    # told no order instead, which an average does not need.
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
            if takes != (kind_of := (frame.format.name, frame.layout.name)):  # they may change between frames
                converter, takes = av.AudioResampler(format="flt"), kind_of
            for converted in converter.resample(frame):
                samples = converted.to_ndarray().reshape(-1, channels)
                yield Block(rate, padded, mix(samples.astype(np.float32, copy=False), axis=1))
    except av.FFmpegError:
        raise cut_short(kind or (name if name in FRAMED else "audio")) from None
    # Of what an encoder padded, more comes out of the file than is heard: the packets tell whether all are there.
    there = pieces.seconds if padded else read / rate
    if tells_its_end and there < claimed - ENCODER_PADDING_SECONDS:
        raise cut_short("m4a")


def _best_of(container: InputContainer) -> AudioStream:
    """The sound that a player would choose, or the first that can be read; everything else is passed over.

    Raises:
        AudioError: there is none (``not_audio``).
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
    """What a container has for one of its streams, while there is no more of it than its sound accounts for: a file may
    be cut into single samples, each of which takes as long as a block.

    Attributes:
        seconds: of all whole packets so far.
    """

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._container, self._stream = container, stream
        self._framed = container.format.name in FRAMED
        self._mp3 = container.format.name == "mp3"
        self._foreign = 0
        self.seconds = 0.0

    def frames(self) -> Iterator[AudioFrame]:
        """The decoded frames.

        Raises:
            AudioError: there are too many pieces (``undecodable``).
            av.FFmpegError: one is damaged.
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
    """All packets but a last one that is not ``whole``: half a frame decodes to noise, just where a continuation joins.

    Args:
        whole: is asked once about each packet, in turn.
    """
    held: Packet[AudioStream] | None = None
    for packet in packets:
        if not packet.size:  # what the decoder still has is asked for
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
    """Whether a packet is as long as the shortest before it with the same header."""
    shortest: dict[bytes, int] = {}

    def whole(packet: Packet[AudioStream]) -> bool:
        header = bytes(packet)[:3]
        least = shortest.get(header, 0)
        shortest[header] = min(packet.size, shortest.get(header, packet.size))
        return packet.size >= least

    return whole


def _whole_adts(packet: Packet[AudioStream]) -> bool:
    """Whether a packet is as long as its header says (ISO 14496-3, 1.A.2.2.1); one without a header is."""
    data = bytes(packet)[:6]
    if len(data) < 6 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return len(data) == 6
    return packet.size >= ((data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5)
