"""Where a file ends: what is cut short, what is streamed without an end, and what is too long by a little."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from tests.support.audio import encode, encode_with_ffmpeg, speech
from whispergpt.engine.audio.audio_file import AudioError, Samples, read_audio

RATE = 24_000


def refused(data: bytes, code: str, max_seconds: float = 60) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(data, max_seconds)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def with_size(wav: bytes, data: int, riff: int | None = None) -> bytes:
    """A wav that says another size of its sound, and of itself."""
    at = wav.index(b"data") + 4
    changed = wav[:at] + struct.pack("<I", data) + wav[at + 4 :]
    return changed if riff is None else changed[:4] + struct.pack("<I", riff) + changed[8:]


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


# What breaks off


@pytest.mark.parametrize(
    ("kind", "subtype", "name"),
    [
        ("WAV", "PCM_16", "wav"),
        ("WAV", "PCM_U8", "wav"),
        ("WAV", "PCM_24", "wav"),
        ("WAV", "ULAW", "wav"),
        ("WAV", "IMA_ADPCM", "wav"),
        ("WAVEX", "PCM_16", "wav"),
        ("RF64", "PCM_16", "wav"),
        ("AIFF", "PCM_16", "aiff"),
        ("AIFF", "FLOAT", "aiff"),
    ],
)
def test_an_upload_that_broke_off(kind: str, subtype: str, name: str) -> None:
    whole = encode(speech(2.0), RATE, kind, subtype)
    assert len(read_audio(whole)) >= 2 * RATE
    for part in (0.02, 0.5, 0.9, 1 - 100 / len(whole)):
        message = refused(whole[: int(len(whole) * part)], "undecodable")
        assert f"The {name} file ends early" in message and message.endswith("are there.")


@pytest.mark.parametrize("more", [1, 2, 8, 36, 44])
def test_a_header_that_counted_itself_is_no_upload_that_broke_off(more: int) -> None:
    wav = encode(speech(1.0))
    at = wav.index(b"data") + 4
    claimed = int.from_bytes(wav[at : at + 4], "little") + more
    assert len(read_audio(wav[:at] + claimed.to_bytes(4, "little") + wav[at + 4 :])) == RATE


def test_a_big_endian_wav_that_broke_off() -> None:
    file = io.BytesIO()
    soundfile.write(file, speech(1.0), RATE, format="WAV", subtype="PCM_16", endian="BIG")
    whole = file.getvalue()
    assert whole[:4] == b"RIFX" and len(read_audio(whole)) == RATE
    refused(whole[:20_000], "undecodable")


def test_chunks_before_the_sound_hide_nothing() -> None:
    wav = encode(speech(1.0))
    at = wav.index(b"data")
    history = chunk(b"bext", bytes(602) + b"A=PCM,F=24000,W=16,M=mono,T=a recorder\r\n" * 80) + chunk(b"iXML", b"<x/>")
    whole = wav[:at] + history + wav[at:]
    assert len(read_audio(whole)) == RATE
    refused(whole[:-100], "undecodable")


def test_a_wav_cut_behind_its_header_is_no_empty_one() -> None:
    assert "0 are there" in refused(encode(speech(1.0))[:44], "undecodable")


def test_what_ffmpeg_alone_can_read_is_held_to_its_size() -> None:
    whole = encode_with_ffmpeg(speech(2.0), RATE, "wav", "libmp3lame")
    assert len(read_audio(whole)) >= 2 * RATE
    refused(whole[: len(whole) // 2], "undecodable")


# What is whole, whatever its header says


STREAMED = [0, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x80000000, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x7FFFFF00, 0x7FFFF000, 0x7F000000]
"""What is written by who cannot know: nothing, ffmpeg, arecord, sox and others."""


@pytest.mark.parametrize("size", STREAMED)
def test_a_wav_that_was_streamed(size: int) -> None:
    wav = with_size(encode(speech(1.0)), size, min(size + 36, 0xFFFFFFFF) if size else 0)
    assert len(read_audio(wav)) == RATE
    assert len(read_audio(wav[: 44 + RATE])) == RATE // 2


@pytest.mark.parametrize("size", [0x7F000000, 0xFFFFFFFF])
def test_an_aiff_that_was_streamed(size: int) -> None:
    aiff = encode(speech(1.0), format="AIFF")
    at = aiff.index(b"SSND") + 4
    assert len(read_audio(aiff[:at] + struct.pack(">I", size) + aiff[at + 4 :])) == RATE


class Pipe:
    """Where nothing can be written twice."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> int:
        self.written += bytes(data)
        return len(data)


def test_what_ffmpeg_pipes_is_read() -> None:
    pipe = Pipe()
    with av.open(pipe, "w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, RATE), 1_000, np.int16), format="s16", layout="mono")
        frame.sample_rate = RATE
        output.mux(stream.encode(frame))
    assert pipe.written.count(b"\xff\xff\xff\xff") == 2
    assert len(read_audio(pipe.written)) == RATE


def test_an_empty_wav_is_not_one_that_was_never_closed() -> None:
    empty = encode(np.zeros(0))
    assert "no samples" in refused(empty + chunk(b"LIST", b"INFOISFT" + bytes(50_000)), "empty_audio")
    assert len(read_audio(empty + bytes(2 * RATE))) == RATE


def test_a_size_that_counts_what_is_not_sound() -> None:
    eight_bits = encode(speech(1.0)[:23_999], subtype="PCM_U8")
    sound = eight_bits[: 44 + 23_999]
    assert len(read_audio(sound)) == 23_999, "the byte that makes it even may be missing"
    assert len(read_audio(with_size(sound, 24_000))) == 23_999, "or be counted without being there"
    wav = encode(speech(1.0))
    assert len(read_audio(wav[:4] + struct.pack("<I", 999_999) + wav[8:])) == RATE, "RIFF's size may be wrong"
    tagged = wav + chunk(b"LIST", b"INFOISFT" + bytes(5_000))
    assert len(read_audio(tagged[:-3_000])) == RATE, "what breaks off behind the sound"


def test_a_header_of_nothing_but_chunks_is_given_up() -> None:
    wav = encode(speech(1.0))
    with pytest.raises(AudioError):
        read_audio(wav[:12] + chunk(b"junk", b"") * 1_000_000)


# What is too long


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")],
)
@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_the_limit_is_exact_where_the_length_is(kind: str, subtype: str, rate: int) -> None:
    assert len(read_audio(encode(np.zeros(2 * rate), rate, kind, subtype), 2)) == 2 * RATE
    message = refused(encode(np.zeros(2 * rate + 2), rate, kind, subtype), "too_long", 2)
    assert "longer than 2 s" in message


@pytest.mark.parametrize(("container", "codec"), [("ipod", "alac"), ("matroska", "pcm_f32le")])
def test_the_limit_is_exact_through_ffmpeg_too(container: str, codec: str) -> None:
    def sound(count: int) -> bytes:
        return encode_with_ffmpeg(np.zeros(count, np.float32), 48_000, container, codec)

    assert len(read_audio(sound(96_000), 2)) == 2 * RATE
    refused(sound(96_001), "too_long", 2)


def lossy(samples: Samples, container: str) -> bytes:
    return encode_with_ffmpeg(samples, 48_000, container, "libmp3lame" if container == "mp3" else "aac")


@pytest.mark.parametrize("container", ["mp3", "adts", "ipod"])
def test_what_an_encoder_padded_is_dropped_in_front(container: str) -> None:
    """The continuation joins the end: of what is a little too long, that has to stay."""
    samples = np.zeros(round(48_000 * 2.03), np.float32)
    samples[-9_600:] = 0.3 * np.sin(np.arange(9_600) / 10)
    data = lossy(samples, container)
    everything, prompt = read_audio(data, 3), read_audio(data, 2)
    assert len(prompt) == 2 * RATE < len(everything)
    assert np.array_equal(prompt, everything[-2 * RATE :])
    assert np.abs(prompt[-2_400:]).max() > 0.2
    refused(lossy(np.zeros(round(48_000 * 2.2), np.float32), container), "too_long", 2)


# mp3


def mp3(seconds: float = 3.0, rate: int = RATE) -> bytes:
    return encode_with_ffmpeg(speech(seconds, rate), rate, "mp3", "libmp3lame")


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_the_frame_in_which_an_mp3_broke_off_is_not_heard(rate: int) -> None:
    """Half a frame decodes to noise, just where the continuation joins."""
    data = mp3(rate=rate)
    whole = read_audio(data)
    assert len(whole) == 3 * RATE
    for cut in np.random.default_rng(0).integers(len(data) // 3, len(data) * 9 // 10, 12):
        audio = read_audio(data[:cut])
        assert len(audio) > RATE / 2
        settled = len(audio) - 100  # the resampler's filter rings at the end
        assert np.abs(audio[:settled] - whole[:settled]).max() < 1e-4


def test_an_mp3_is_read_past_what_is_no_frame() -> None:
    """Streams are joined, and tags stand where they like."""
    one = mp3()
    tag = b"TAG" + bytes(125)
    for data in (one + tag, one + bytes(5_000), one + b"LYRICSBEGIN" + b"la " * 500 + b"LYRICS200" + tag):
        audio = read_audio(data)
        assert 3.0 <= len(audio) / RATE < 3.05
        assert np.abs(audio[: 3 * RATE] - read_audio(one)).max() < 1e-4
    assert 6.0 <= len(read_audio(one + tag + one)) / RATE < 6.1


def test_an_mp3_that_is_mostly_noise_is_damaged() -> None:
    one, noise = mp3(), np.random.default_rng(0)
    crumbs = [one[at : at + 200] + noise.bytes(300) for at in range(0, len(one), 200)]
    assert "mp3" in refused(b"".join(crumbs), "undecodable")


def test_no_upload_writes_to_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Which is JSON, an object a line: libmpg123 would write as it likes."""
    one, noise = mp3(), np.random.default_rng(0)
    wavs = []
    for wav in (encode(speech(0.5)), encode(speech(0.5), format="RF64"), encode(speech(0.5), format="W64")):
        at = wav.index(b"fmt ") + (24 if wav[:4] == b"riff" else 8)
        wavs += [wav[:at] + struct.pack("<H", tag) + wav[at + 2 : at + 200] + one for tag in (0x50, 0x55)]
    uploads = [one[: len(one) // 2], one[:6_000] + noise.bytes(2_000) + one[6_000:], one[5_000:], *wavs]
    for _ in range(20):
        broken = bytearray(one)
        for at in noise.integers(0, len(one), 20):
            broken[at] = noise.integers(256)
        uploads.append(bytes(broken))
    for upload in uploads:
        try:
            read_audio(upload)
        except AudioError as error:
            assert error.code in {"undecodable", "not_audio", "unusable_rate", "not_finite"}, error
    assert capfd.readouterr() == ("", "")
