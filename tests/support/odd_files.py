"""Files that recorders, editors and players leave behind, and few decoders expect."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import av
import numpy as np

from tests.support.audio import Samples

RATE = 48_000


def wave_header(channels: int, rate: int, data_bytes: int = 0) -> bytes:
    """The header of a 16-bit wav, by default of one that was never closed, which FFmpeg alone reads."""
    frame = channels * 2
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * frame, frame, 16)
    return b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", data_bytes)


def id3_tag(size: int, footer: bool = False) -> bytes:
    """An ID3v2 tag with so many bytes of content."""
    head = bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    flags = b"\x04\x00\x10" if footer else b"\x03\x00\x00"
    return b"ID3" + flags + head + bytes(size) + (b"3DI" + flags + head if footer else b"")


def film(container: str, sounds: Sequence[tuple[str, Samples, bool]], picture: bool = True) -> bytes:
    """A film.

    Args:
        container: FFmpeg's name of the format.
        sounds: of each track the coding, mono samples at 48 kHz, and whether players shall choose it.
        picture: whether there is one, before the sounds.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        seen = out.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p") if picture else None
        streams = [out.add_stream(codec, rate=RATE, layout="mono") for codec, _, _ in sounds]
        for stream, (_, _, default) in zip(streams, sounds, strict=True):
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
        if seen is not None:
            for shade in range(25):
                out.mux(seen.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8))))
            out.mux(seen.encode(None))
        for stream, (_, samples, _) in zip(streams, sounds, strict=True):
            context = stream.codec_context
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
            frame.sample_rate = RATE
            converter = av.AudioResampler(context.format, "mono", RATE, context.frame_size or 960)
            for converted in [*converter.resample(frame), *converter.resample(None), None]:
                out.mux(stream.encode(converted))
    return file.getvalue()


def with_itunes_gaps(m4a: bytes, priming: int, remainder: int, length: int) -> bytes:
    """An m4a whose index comes last, with the encoder's padding in an iTunSMPB tag and in no edit list."""
    at = m4a.index(b"moov") - 4
    (size,) = struct.unpack(">I", m4a[at : at + 4])
    assert at + size == len(m4a)
    index = m4a[at:].replace(b"edts", b"free").replace(b"udta", b"free")
    told = f" 00000000 {priming:08X} {remainder:08X} {length:016X}" + " 00000000" * 8
    tag = box(
        b"----",
        box(b"mean", bytes(4) + b"com.apple.iTunes"),
        box(b"name", bytes(4) + b"iTunSMPB"),
        box(b"data", struct.pack(">II", 1, 0) + told.encode()),
    )
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    index += box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", tag)))
    return m4a[:at] + struct.pack(">I", len(index)) + index[4:]


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of an MP4 file."""
    inside = b"".join(content)
    return struct.pack(">I", 8 + len(inside)) + kind + inside
