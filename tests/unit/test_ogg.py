"""Pages of live Opus beside those of libavformat."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest

from whispergpt.engine.audio.audio_file import read_audio
from whispergpt.load.ogg import OPUS_RATE, granules
from whispergpt.server.audio.encoders import encoder
from whispergpt.server.audio.ogg import page

_RATE = 24_000


def noise(samples: int) -> bytes:
    return np.random.default_rng(1).normal(0, 3_000, samples).astype("<i2").tobytes()


def written_by_libavformat(pcm: bytes, **options: str) -> bytes:
    """Return Ogg Opus with a page for each packet."""
    body = io.BytesIO()
    with av.open(body, "w", format="ogg", options={"page_duration": "1"}) as container:
        stream = container.add_stream("libopus", rate=_RATE, options=options)
        assert isinstance(stream, av.AudioStream)
        stream.layout, stream.format, stream.bit_rate = "mono", "s16", 48_000
        frame = av.AudioFrame("s16", "mono", len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.pts = _RATE, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return body.getvalue()


def split(body: bytes) -> list[bytes]:
    pages, at = [], 0
    while at < len(body):
        segments = body[at + 26]
        size = 27 + segments + sum(body[at + 27 : at + 27 + segments])
        pages.append(body[at : at + size])
        at += size
    return pages


@pytest.mark.parametrize("milliseconds", ["20", "80"])
def test_a_page_is_that_of_libavformat(milliseconds: str) -> None:
    _, *pages = split(written_by_libavformat(noise(_RATE), frame_duration=milliseconds))
    assert len(pages) > 10 and any(len(one) % 255 for one in pages)
    for one in pages:
        flags, granule, serial, number = struct.unpack_from("<BqII", one, 5)
        assert page(one[27 + one[26] :], granule, serial, number, last=flags == 4) == one


@pytest.mark.parametrize("samples", [1, 1_764, 1_765, 1_920, 3_841, _RATE])
@pytest.mark.parametrize("step", [640, 7_680, 1_000_000])
def test_live_opus_is_as_long_as_its_samples_and_its_page_is_a_packet_of_80_ms(samples: int, step: int) -> None:
    pcm, live = noise(samples), encoder("opus", 0)
    pushed = [live.push(pcm[at : at + step]) for at in range(0, len(pcm), step)]
    rest = live.finish()
    body = b"".join([*pushed, rest])
    options = {"compression_level": "1", "vbr": "constrained", "frame_duration": "80", "b": "49000"}
    assert np.array_equal(read_audio(body), read_audio(written_by_libavformat(pcm, **options)))
    assert len(read_audio(body)) == samples
    _, _, *pages = split(body)
    assert [int.from_bytes(one[18:22], "little") for one in pages] == list(range(2, 2 + len(pages)))
    assert [granules(one) for one in pages[:-1]] == [
        0.08 * OPUS_RATE * (number + 1) for number in range(len(pages) - 1)
    ]
    assert [one[5] for one in pages] == [0] * (len(pages) - 1) + [4]
