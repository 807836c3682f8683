"""Every container, coding, number of channels, rate and cut, read by decoders and by FFmpeg as it is."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import av
import numpy as np
import soundfile

from tests.support.audio import Samples, encode
from whispergpt.server.access.caller import Caller
from whispergpt.server.access.precedence import Precedence
from whispergpt.server.decoding.pool import DecoderPool
from whispergpt.server.errors import ApiError
from whispergpt.server.settings import Settings

FILES = 200
SECONDS = 1.5
PADDING_SECONDS = 0.12
"""What encoders add at the ends, and some decoders take away again."""
PAGE_SECONDS = 1.0
"""What a cut takes of an Ogg's last page, of which one decoder hears more than another."""
KINDS = {
    "wav": ["pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_f64le", "pcm_u8", "pcm_mulaw", "adpcm_ima_wav", "libmp3lame"],
    "w64": ["pcm_s16le"],
    "aiff": ["pcm_s16be", "pcm_s24be"],
    "caf": ["pcm_s16be"],
    "au": ["pcm_s16be"],
    "flac": ["flac"],
    "ogg": ["libopus"],
    "mp3": ["libmp3lame"],
    "adts": ["aac"],
    "ipod": ["aac", "alac"],
    "mp4": ["aac"],
    "mov": ["pcm_s16le", "aac", "alac"],
    "matroska": ["pcm_s16le", "libopus", "aac", "libmp3lame", "alac"],
    "webm": ["libopus"],
    # These are written by libsndfile.
    "OGG": ["VORBIS", "OPUS"],
    "FLAC": ["PCM_24"],
    "RF64": ["PCM_16"],
    "AIFF": ["FLOAT"],
    "WAVEX": ["PCM_24"],
}
CHANNELS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}
MOST_PLANES = 8
"""PyAV can encode planar samples of no more channels."""
RATES = [8_000, 16_000, 24_000, 44_100, 48_000, 96_000]
CUTS = [1.0, 1.0, 0.999, 0.9, 0.5, 0.05]


@dataclass(frozen=True)
class Kind:
    container: str
    codec: str
    channels: int
    rate: int


@cache
def encoded(kind: Kind) -> bytes | None:
    """A file of this kind; None where there is none: encoders take only some numbers of channels and rates."""
    sound = np.sin(np.arange(round(SECONDS * kind.rate)) * (880 * np.pi / kind.rate)).astype(np.float32)
    samples = np.repeat(0.3 * sound[:, None], kind.channels, 1)
    try:
        if kind.container.isupper():
            return encode(samples, kind.rate, kind.container, kind.codec)
        return encoded_by_ffmpeg(kind, samples)
    except (av.FFmpegError, ValueError, soundfile.LibsndfileError):
        return None


def encoded_by_ffmpeg(kind: Kind, samples: Samples) -> bytes | None:
    file, layout = io.BytesIO(), CHANNELS[kind.channels]
    with av.open(file, "w", format=kind.container) as out:
        stream = out.add_stream(kind.codec, rate=kind.rate, layout=layout)
        context = stream.codec_context
        context.open()
        if context.format.is_planar and kind.channels > MOST_PLANES:
            return None
        converter = av.AudioResampler(context.format, layout, kind.rate, context.frame_size or 1_000)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = kind.rate
        for converted in [*converter.resample(frame), *converter.resample(None), None]:
            out.mux(stream.encode(converted))
    return file.getvalue() or None


def seconds_by_ffmpeg(data: bytes) -> float | None:
    """What FFmpeg hears, passing over what it cannot decode; None where it hears nothing."""
    samples, rate = 0, 1
    try:
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.audio[0]
            if channels := stream.codec_context.channels:
                stream.codec_context.layout = f"{channels} channels"  # PyAV frees the list of any other order twice
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        samples, rate = samples + frame.samples, frame.sample_rate
                except av.InvalidDataError:
                    continue
    except (av.FFmpegError, IndexError):
        return samples / rate or None
    return samples / rate


def chosen() -> Iterator[tuple[Kind, float]]:
    """The same files in every run."""
    dice = random.Random(24)
    every = [
        Kind(container, codec, channels, rate)
        for container, codecs in KINDS.items()
        for codec in codecs
        for channels in CHANNELS
        for rate in RATES
    ]
    dice.shuffle(every)
    # Each pair of container and coding first, then whatever comes.
    seen: set[tuple[str, str]] = set()
    first = [kind for kind in every if (pair := (kind.container, kind.codec)) not in seen and not seen.add(pair)]
    count = 0
    for kind in [*first, *every]:
        if count == FILES:
            return
        if encoded(kind) is not None:
            count += 1
            yield kind, CUTS[count % len(CUTS)]


async def test_each_file_is_read_at_the_length_that_ffmpeg_gives_or_refused_with_a_sentence() -> None:
    pool, anybody = DecoderPool(Settings(), Precedence()), Caller()
    pool.start()
    wrong, read, refused = [], 0, 0
    try:
        for kind, part in chosen():
            whole = encoded(kind)
            assert whole is not None
            data = whole[: round(len(whole) * part)]
            reference = seconds_by_ffmpeg(data)
            try:
                seconds = len(await pool.decode(data, anybody)) / 4 / 24_000
            except ApiError as error:
                refused += 1
                sentence = error.message.endswith(".") and "\n" not in error.message and "crash" not in error.message
                if error.status not in (413, 415, 422) or not sentence or part == 1.0:
                    wrong.append((kind, part, error.status, error.message, reference))
                continue
            read += 1
            slack = PADDING_SECONDS + (PAGE_SECONDS if part < 1 and kind.container.lower() == "ogg" else 0)
            if reference is None or abs(seconds - reference) > slack:
                wrong.append((kind, part, seconds, reference))
    finally:
        pool.close()
    assert not wrong, "\n".join(map(str, wrong))
    assert read + refused == FILES and read > FILES // 3, (read, refused)
