"""Output formats: 16-bit samples at 24 kHz as wav, flac, mp3, Ogg Opus or raw PCM, whole or streamed.

Files have a title, and a comment with their provenance: in a chunk LIST INFO behind the samples of a whole wav, in
Vorbis comments of flac and Opus, and in ID3 of mp3. A streamed wav has none, because its header has 44 bytes and its
samples go on to the end.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Literal, Protocol

import av
from msgspec.structs import replace

from whispergpt.engine.config import SAMPLE_RATE
from whispergpt.server.audio.ogg import page
from whispergpt.server.audio.provenance import Provenance, comment_of, title_of

Format = Literal["wav", "flac", "mp3", "opus", "pcm"]
MEDIA_TYPES: dict[Format, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "pcm": "application/octet-stream",
}
_UNKNOWN_SIZE = 0xFFFFFFFF
_CODECS: dict[Format, tuple[str, str, int | None]] = {
    # response format: container, codec, bits per second
    "flac": ("flac", "flac", None),
    "mp3": ("mp3", "libmp3lame", 64_000),
    "opus": ("ogg", "libopus", 48_000),
}
_PACKET_MILLISECONDS = 80
_LIVE_OPUS = {
    "compression_level": "1",
    "vbr": "constrained",
    "frame_duration": str(_PACKET_MILLISECONDS),
    "b": "49000",
}
"""Options of libopus for audio that is sent while it is made. Complexity 1 takes a third of the processor time of 10,
which whole files have, and finds attacks as that does; 0 does not. Without the constraint it takes a fifth more bytes.
PESQ of a recording of speech is 4.28, and 4.47 at complexity 10. A packet for each page saves a tenth of the time that
packets of 20 ms take. At 49 kbit/s it has the size and the sound of theirs at 48: PESQ of 24 recordings is 4.11."""
LOSSY: frozenset[Format] = frozenset({"mp3", "opus"})
LIBRARY = "libavcodec " + ".".join(map(str, av.library_versions["libavcodec"]))
"""Name and version of the library that encodes."""


class Encoder(Protocol):
    """Turns s16le samples into bytes of a body. Its first bytes hold sound: a header never comes by itself."""

    def take_head(self) -> bytes:
        """Return the header by itself, before the first samples; ``push`` does not give it out then."""

    def push(self, pcm: bytes) -> bytes:
        """Take more samples; returns the bytes of the body that are ready, none while a codec gathers a page."""

    def finish(self) -> bytes:
        """Return the rest of the body."""


def encoder(wanted: Format, total_samples: int, made: Provenance | None = None) -> Encoder:
    """Return an encoder whose body is sent while it grows.

    Args:
        total_samples: length of the whole.
        made: provenance for the tags, where the format has them in front.
    """
    if wanted == "pcm":
        return _RawEncoder(b"")
    if wanted == "wav":
        return _RawEncoder(_wav_header(None))
    if wanted == "flac":
        return _StreamedFlacEncoder(total_samples, made)
    return _LiveOpusEncoder(made) if wanted == "opus" else _CodecEncoder(wanted, _Sink(), made)


def joinable_encoder(wanted: Format) -> tuple[bytes, Encoder]:
    """Return the head of a body without an end, and the encoder of its rest. A decoder that has the head can begin at
    any part that ``push`` gives: whole frames of flac and mp3, whole pages of Ogg."""
    encoding: Encoder
    if wanted == "flac":
        encoding = _StreamedFlacEncoder(0)  # samples that are not known
    else:
        encoding = _CodecEncoder(wanted, _Sink(), joinable=True) if wanted == "mp3" else encoder(wanted, 0)
    return encoding.take_head(), encoding


def encode(wanted: Format, pcm: bytes, made: Provenance | None = None) -> bytes:
    """Return a whole body, with true sizes in its header, and with its provenance where the format has tags."""
    if wanted == "pcm":
        return pcm
    if wanted == "wav":
        tags = _wav_tags(made) if made else b""
        return _wav_header(len(pcm), len(tags)) + pcm + tags
    sink = io.BytesIO()
    compressed = _CodecEncoder(wanted, sink, made)
    compressed.push(pcm)
    compressed.finish()
    return sink.getvalue()


def in_format(made: Provenance, wanted: Format) -> Provenance:
    """Return a provenance as the tags of a format have it: with the library on which a lossy one depends."""
    return replace(made, encoder=LIBRARY if wanted in LOSSY else None)


def _wav_tags(made: Provenance) -> bytes:
    """Return the chunk LIST INFO with title, program and comment."""
    chunks = b"INFO"
    for name, text in ((b"INAM", title_of(made)), (b"ISFT", made.generated_by), (b"ICMT", comment_of(made))):
        value = text.encode() + b"\0"
        chunks += name + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
    return b"LIST" + struct.pack("<I", len(chunks)) + chunks


def _wav_header(data_bytes: int | None, tag_bytes: int = 0) -> bytes:
    riff = _UNKNOWN_SIZE if data_bytes is None else 36 + data_bytes + tag_bytes
    data = _UNKNOWN_SIZE if data_bytes is None else data_bytes
    form = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, SAMPLE_RATE * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", riff)
        + b"WAVEfmt "
        + struct.pack("<I", len(form))
        + form
        + (b"data" + struct.pack("<I", data))
    )


class _RawEncoder:
    def __init__(self, header: bytes) -> None:
        self._header = header

    def take_head(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def push(self, pcm: bytes) -> bytes:
        return self.take_head() + pcm

    def finish(self) -> bytes:
        return self.push(b"")


class _Sink:
    """File that a container writes to and cannot seek in: the body of an answer under way."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _CodecEncoder:
    _OPTIONS: Mapping[str, str] = {}
    """Options of the codec."""

    def __init__(
        self, wanted: Format, sink: _Sink | io.BytesIO, made: Provenance | None = None, joinable: bool = False
    ) -> None:
        container, codec, bit_rate = _CODECS[wanted]
        options = {"flush_packets": "1"} | ({"page_duration": "80000"} if container == "ogg" else {})
        self._sink = sink
        self._container = av.open(sink, "w", format=container, options=options)
        if made:
            comment = comment_of(in_format(made, wanted))
            self._container.metadata.update({"title": title_of(made), "comment": comment})
        # A frame of mp3 may otherwise need bytes of the frames before it.
        alone = {"reservoir": "0"} if joinable else {}
        stream = self._container.add_stream(codec, rate=SAMPLE_RATE, options={**self._OPTIONS, **alone})
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        self._stream.layout = "mono"
        self._stream.format = "s16p" if codec == "libmp3lame" else "s16"
        if bit_rate:
            self._stream.bit_rate = bit_rate
        self._container.start_encoding()
        self._head = sink.take() if isinstance(sink, _Sink) else b""
        self._at = 0

    def take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def push(self, pcm: bytes) -> bytes:
        self._container.mux(self._encoded(pcm))
        return self._ready()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._ready()

    def _encoded(self, pcm: bytes) -> list[av.Packet[av.AudioStream]]:
        samples = len(pcm) // 2
        frame = av.AudioFrame(self._stream.format.name, "mono", samples)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.pts = SAMPLE_RATE, self._at
        self._at += samples
        return self._stream.encode(frame)

    def _ready(self) -> bytes:
        ready = self._sink.take() if isinstance(self._sink, _Sink) else b""
        return self.take_head() + ready if ready else ready


class _StreamedFlacEncoder(_CodecEncoder):
    """FLAC whose header has the number of samples to come: some readers fail at the end without it."""

    _LENGTH = slice(18, 26)
    """In STREAMINFO (RFC 9639, section 8.2): rate, channels, depth, then the number of samples in the last 36 bits."""

    def __init__(self, total_samples: int, made: Provenance | None = None) -> None:
        super().__init__("flac", _Sink(), made)
        head = bytearray(self._head)
        fields = int.from_bytes(head[self._LENGTH], "big")
        head[self._LENGTH] = (fields >> 36 << 36 | total_samples).to_bytes(8, "big")
        self._head = bytes(head)


class _LiveOpusEncoder(_CodecEncoder):
    """Live Opus, whose pages are written here: libavformat takes a tenth of the encoder's time for them."""

    _OPTIONS = _LIVE_OPUS
    _HEAD_PAGES = 2
    """OpusHead and OpusTags (RFC 7845, section 3); pages are numbered from 0."""
    _SERIAL, _PRE_SKIP = slice(14, 18), slice(38, 40)
    """Fields of the first page: serial number, and samples at 48 kHz that a decoder drops at the beginning."""

    def __init__(self, made: Provenance | None = None) -> None:
        super().__init__("opus", _Sink(), made)
        self._serial = int.from_bytes(self._head[self._SERIAL], "little")
        self._pre_skip = int.from_bytes(self._head[self._PRE_SKIP], "little")
        self._pages = 0

    def push(self, pcm: bytes) -> bytes:
        return self._paged(self._encoded(pcm))

    def finish(self) -> bytes:
        return self._paged(self._stream.encode(None), last=True)

    def _paged(self, packets: list[av.Packet[av.AudioStream]], last: bool = False) -> bytes:
        pages: list[bytes] = []
        for packet in packets:
            self._pages += 1
            ends = last and packet is packets[-1]
            samples = self._pre_skip + self._at * 2 if ends else self._pages * _PACKET_MILLISECONDS * 48
            pages.append(page(bytes(packet), samples, self._serial, self._HEAD_PAGES + self._pages - 1, ends))
        return b"".join([self.take_head(), *pages]) if pages else b""
