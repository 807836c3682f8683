"""Reading audio: any rate, channel count and format; and what is refused, with which code."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from whispergpt.benchmarks.attacks.fuzz import mutated
from whispergpt.benchmarks.attacks.tools.prompts import short_prompt
from whispergpt.engine.audio.audio_file import AudioError, Resampler, Samples, cut_prompt, read_audio

TONE = 440.0
ENCODER_PADDING = 0.06
"""Seconds that an mp3 or m4a encoder may add at the ends."""


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> Samples:
    """The same sine in every channel, ``[n, channels]``, at a loudness of its own that averages to 0.3."""
    sine = np.sin(2 * np.pi * TONE * np.arange(round(rate * seconds)) / rate)
    loudness = np.linspace(0.2, 0.4, channels) if channels > 1 else np.array([0.3])
    return (sine[:, None] * loudness).astype(np.float32)


def encode(samples: Samples, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def encode_with_ffmpeg(
    path: Path, samples: Samples, rate: int, codec: str, options: dict[str, str] | None = None, video: bool = False
) -> bytes:
    """A file of the kind that ``path``'s suffix names, with a moving picture beside the sound if ``video``."""
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(str(path), "w", options=options or {}) as container:
        picture = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p") if video else None
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        context = stream.codec_context
        converter = av.AudioResampler(context.format, layout, rate, context.frame_size or None)
        for converted in [*converter.resample(frame), *converter.resample(None), None]:
            container.mux(stream.encode(converted))
        if picture is not None:
            for shade in range(25):
                container.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8))))
            container.mux(picture.encode(None))
    return path.read_bytes()


def assert_is_tone(audio: Samples, seconds: float = 1.0, slack: float = 320 / 24_000) -> None:
    """Right duration, frequency, loudness, and nothing else to be heard."""
    assert audio.dtype == np.float32
    assert seconds - 320 / 24_000 <= len(audio) / 24_000 <= seconds + slack
    middle = audio[4_800 : int((seconds - 0.1) * 24_000)].astype(np.float64)
    at = np.arange(len(middle)) / 24_000
    waves = np.stack([np.sin(2 * np.pi * TONE * at), np.cos(2 * np.pi * TONE * at)], 1)
    parts, *_ = np.linalg.lstsq(waves, middle, rcond=None)
    assert np.hypot(*parts) == pytest.approx(0.3, rel=0.05)
    assert np.corrcoef(waves @ parts, middle)[0, 1] > 0.995


def refused(source: bytes | Path, code: str, **options: float | None) -> str:
    """The message with which ``source`` is refused, which must have this code and be one sentence."""
    with pytest.raises(AudioError) as caught:
        read_audio(source, **options)
    message = str(caught.value)
    assert caught.value.code == code, message
    assert message.endswith(".") and "\n" not in message and len(message) < 200
    return message


# What is read


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_any_rate_and_channel_count(rate: int, channels: int) -> None:
    assert_is_tone(read_audio(encode(tone(rate, channels=channels), rate)))


@pytest.mark.parametrize(
    ("kind", "subtype", "slack"),
    [
        ("WAV", "PCM_U8", 0.0),
        ("WAV", "PCM_24", 0.0),
        ("WAV", "FLOAT", 0.0),
        ("WAV", "DOUBLE", 0.0),
        ("WAV", "ULAW", 0.0),
        ("FLAC", "PCM_16", 0.0),
        ("OGG", "VORBIS", 0.0),
        ("OGG", "OPUS", 0.0),
        ("MP3", None, ENCODER_PADDING),
        ("AIFF", "PCM_16", 0.0),
    ],
)
def test_formats_of_libsndfile(kind: str, subtype: str | None, slack: float) -> None:
    audio = read_audio(encode(tone(48_000, channels=2), 48_000, kind, subtype))
    assert_is_tone(audio, slack=max(slack, 320 / 24_000))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.m4a", "aac", {}),
        ("faststart.m4a", "aac", {"movflags": "faststart"}),
        ("fragmented.mp4", "aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "200000"}),
        ("alac.m4a", "alac", {}),
        ("a.aac", "aac", {}),
        ("a.webm", "libopus", {}),
        ("a.mka", "libopus", {}),
        ("a.mkv", "pcm_s16le", {}),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_formats_of_ffmpeg(tmp_path: Path, name: str, codec: str, options: dict[str, str], channels: int) -> None:
    data = encode_with_ffmpeg(tmp_path / name, tone(48_000, channels=channels), 48_000, codec, options)
    assert_is_tone(read_audio(data), slack=ENCODER_PADDING)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_the_sound_of_a_film(tmp_path: Path, name: str) -> None:
    data = encode_with_ffmpeg(tmp_path / name, tone(48_000), 48_000, "aac", video=True)
    assert_is_tone(read_audio(data), slack=ENCODER_PADDING)


def test_a_path_and_its_bytes_read_alike_whatever_the_extension(tmp_path: Path) -> None:
    m4a = encode_with_ffmpeg(tmp_path / "a.m4a", tone(48_000), 48_000, "aac")
    for data in (encode(tone(44_100), 44_100, "FLAC"), encode(tone(44_100), 44_100, "MP3"), m4a):
        expected = read_audio(data)
        for name in ("x.wav", "x.mp3", "x.raw", "x.txt", "x.sd2", "x.m3u8", "x"):
            (tmp_path / name).write_bytes(data)
            assert np.array_equal(read_audio(tmp_path / name), expected), name


def test_metadata_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    data = encode_with_ffmpeg(tmp_path / "a.webm", tone(48_000), 48_000, "libopus")
    assert b"Lavf" in data
    assert_is_tone(read_audio(data.replace(b"Lavf", b"\xe9\xff\xfe\xe8")))


def test_a_wav_and_a_flac_streamed_without_a_length() -> None:
    wav = bytearray(encode(tone(24_000), 24_000))
    wav[4:8] = wav[40:44] = b"\xff" * 4
    assert wav[36:40] == b"data"
    assert_is_tone(read_audio(bytes(wav)))
    flac = bytearray(encode(tone(48_000, 2.0), 48_000, "FLAC"))
    flac[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    flac[22:26] = bytes(4)
    assert_is_tone(read_audio(bytes(flac)), 2.0)


def test_content_survives_resampling() -> None:
    """Noise below every Nyquist frequency comes back the same through 48 kHz and 16 kHz."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(48_000))
    spectrum[7_000:] = 0
    wide = np.fft.irfft(spectrum, 48_000)
    quarter = np.abs(wide).max() * 4
    at_48k, at_24k, at_16k = (wide[::step] / quarter for step in (1, 2, 3))
    for samples, rate in ((at_48k, 48_000), (at_16k, 16_000)):
        audio = read_audio(encode(samples.astype(np.float32), rate, subtype="FLOAT"))
        assert len(audio) == 24_000
        assert np.corrcoef(audio[500:-500], at_24k[500:-500])[0, 1] > 0.999


# What is refused


def test_empty() -> None:
    refused(b"", "empty_audio")
    for kind in ("WAV", "AIFF"):
        assert "no samples" in refused(encode(np.zeros((0, 1), np.float32), 24_000, kind), "empty_audio")


def test_an_empty_path_a_folder_and_an_absent_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    refused(tmp_path / "empty.wav", "empty_audio")
    assert "cannot be opened: No such file" in refused(tmp_path / "absent.wav", "not_audio")
    assert "cannot be opened: Is a directory" in refused(tmp_path, "not_audio")


@pytest.mark.parametrize(
    "data",
    [
        b"Once upon a time\n" * 200,
        b"<html><body>404</body></html>",
        b'{"audio": null}',
        b"1\n00:00:01,000 --> 00:00:02,000\na subtitle\n" * 9,
        b"P6 10 10 255\n" + bytes(300),
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        b"PK\x03\x04" + bytes(range(256)) * 4,
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"R",
        bytes(100_000),
        b"\xff" * 100_000,
        np.random.default_rng(0).bytes(100_000),
    ],
    ids=["text", "html", "json", "subtitle", "ppm", "png", "zip", "webp", "letter", "zeros", "ones", "noise"],
)
def test_what_is_not_audio(data: bytes) -> None:
    assert "wav, flac" in refused(data, "not_audio")


@pytest.mark.parametrize("kind", ["VOC", "MAT4", "HTK", "PVF"])
def test_formats_that_are_not_named_are_not_read(kind: str) -> None:
    refused(encode(tone(24_000), 24_000, kind, "PCM_16"), "not_audio")


def test_containers_that_are_not_named_are_not_read(tmp_path: Path) -> None:
    refused(encode_with_ffmpeg(tmp_path / "a.ts", tone(48_000), 48_000, "aac"), "not_audio")


def test_a_film_without_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        picture = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(picture.encode(None))
    assert "no audio in it" in refused(tmp_path / "a.mp4", "not_audio")


def test_sound_in_an_unlisted_coding(tmp_path: Path) -> None:
    data = encode_with_ffmpeg(tmp_path / "a.mka", tone(48_000), 48_000, "ac3")
    assert "coding" in refused(data, "not_audio")


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_truncated_flac(part: float) -> None:
    rng = np.random.default_rng(0)
    data = encode(tone(48_000, 2.0) + 0.01 * rng.standard_normal((96_000, 1)), 48_000, "FLAC")
    assert "FLAC" in refused(data[: int(len(data) * part)], "undecodable")


def test_damaged_flac() -> None:
    data = bytearray(encode(tone(48_000, 2.0), 48_000, "FLAC"))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    refused(bytes(data), "undecodable")


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["index last", "index first"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_m4a(tmp_path: Path, part: float, options: dict[str, str]) -> None:
    data = encode_with_ffmpeg(tmp_path / "a.m4a", tone(48_000, 2.0), 48_000, "aac", options)
    assert "m4a" in refused(data[: int(len(data) * part)], "undecodable")


def test_an_m4a_cut_between_packets(tmp_path: Path) -> None:
    """No packet is damaged, but the index promises more."""
    data = encode_with_ffmpeg(tmp_path / "a.m4a", tone(48_000, 2.0), 48_000, "alac")
    assert_is_tone(read_audio(data), 2.0, slack=ENCODER_PADDING)
    faststart = encode_with_ffmpeg(tmp_path / "b.m4a", tone(48_000, 2.0), 48_000, "alac", {"movflags": "faststart"})
    for cut in range(len(faststart) // 2, len(faststart) // 2 + 40):
        refused(faststart[:cut], "undecodable")


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_recordings_without_a_known_end_are_read_as_far_as_they_go(kind: str, subtype: str | None) -> None:
    rng = np.random.default_rng(0)
    data = encode(tone(48_000, 4.0) + 0.01 * rng.standard_normal((192_000, 1)), 48_000, kind, subtype)
    audio = read_audio(data[: len(data) * 3 // 4])
    assert 1.5 < len(audio) / 24_000 < 3.2
    assert_is_tone(audio[:24_000])


def test_a_truncated_webm_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    data = encode_with_ffmpeg(tmp_path / "a.webm", tone(48_000, 2.0), 48_000, "libopus")
    audio = read_audio(data[: len(data) // 2])
    assert 0.8 < len(audio) / 24_000 < 1.1


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("WAV", None)])
def test_cut_anywhere_there_is_audio_or_a_sentence(kind: str, subtype: str | None) -> None:
    data = encode(tone(48_000, 0.3), 48_000, kind, subtype)
    for cut in np.random.default_rng(0).integers(1, len(data), 60):
        try:
            assert np.isfinite(read_audio(data[:cut])).all()
        except AudioError as error:
            assert error.code in {"not_audio", "undecodable", "empty_audio"}


@pytest.mark.parametrize("name", ["a.m4a", "a.webm", "a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_flipped_bytes_raise_nothing_else(tmp_path: Path, name: str) -> None:
    if name == "a.m4a":
        data = encode_with_ffmpeg(tmp_path / name, tone(48_000, 0.3), 48_000, "aac")
    elif name == "a.webm":
        data = encode_with_ffmpeg(tmp_path / name, tone(48_000, 0.3), 48_000, "libopus")
    else:
        data = encode(tone(48_000, 0.3), 48_000, name[2:].upper())
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 600), 4):
            broken[at] = rng.integers(256)
        with contextlib.suppress(AudioError):
            assert np.isfinite(read_audio(bytes(broken))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 1e30])
@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_samples_that_are_no_numbers(value: float, rate: int) -> None:
    samples = tone(rate, channels=2).astype(np.float64)
    samples[rate // 2, 1] = value
    refused(encode(samples, rate, "WAV", "DOUBLE"), "not_finite")


def test_infinities_that_cancel() -> None:
    samples = tone(24_000, channels=2)
    samples[99] = (np.inf, -np.inf)
    refused(encode(samples, 24_000, "WAV", "FLOAT"), "not_finite")


def header(channels: int, rate: int, data_bytes: int = 0xFFFFFFFF) -> bytes:
    frame = channels * 2
    form = struct.pack("<HHIIHH", 1, channels, rate, min(rate * frame, 0xFFFFFFFF), frame & 0xFFFF, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", data_bytes)


@pytest.mark.parametrize(
    ("channels", "rate", "code"),
    [
        (1_000, 24_000, "undecodable"),
        (65, 24_000, "undecodable"),
        (65_535, 24_000, "undecodable"),
        (0, 24_000, "undecodable"),
        (1, 0, "undecodable"),
        (1, 0xFFFFFFFF, "undecodable"),
        (1, 1, "unusable_rate"),
        (1, 3_999, "unusable_rate"),
        (1, 768_001, "unusable_rate"),
        (64, 768_000, "unusable_rate"),
    ],
)
def test_headers_that_lie_or_boast(channels: int, rate: int, code: str) -> None:
    refused(header(channels, rate) + bytes(200_000), code)


def test_a_header_of_billions_of_frames_reads_what_is_there() -> None:
    assert len(read_audio(header(1, 24_000) + bytes(48_000))) == 24_000
    flac = bytearray(encode(tone(48_000), 48_000, "FLAC"))
    flac[21] |= 0x0F
    refused(bytes(flac), "too_long")
    refused(bytes(flac), "undecodable", max_seconds=None)


@pytest.mark.parametrize("kind", ["FLAC", "flac in mkv"])
def test_an_hour_is_refused_at_once_in_little_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hour.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros(8_000 * 60, np.int16))
    if kind != "FLAC":
        with av.open(str(path)) as source, av.open(str(tmp_path / "hour.mkv"), "w") as target:
            stream = target.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        path = tmp_path / "hour.mkv"
    data = path.read_bytes()
    tracemalloc.start()
    started = time.process_time()
    try:
        assert "longer than 60 s" in refused(data, "too_long")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 3
    assert peak < 60 * 24_000 * 4 * 2.5


def test_sound_in_single_samples_is_refused_at_once(tmp_path: Path) -> None:
    """Each of them is a packet and a frame, and takes as long as a block."""
    path = tmp_path / "crumbs.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for number in range(48_000):
            crumb = av.Packet(b"\x00\x10")
            crumb.stream, crumb.pts, crumb.dts = stream, number, number
            out.mux(crumb)
    started = time.process_time()
    assert "too small" in refused(path.read_bytes(), "undecodable")
    assert time.process_time() - started < 1


def test_the_heaviest_prompt_that_is_allowed() -> None:
    """8 channels at 192 kHz for a minute, as FLAC."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 192_000, 8, "PCM_16", format="FLAC") as out:
        for _ in range(60):
            out.write(np.zeros((192_000, 8), np.int16))
    tracemalloc.start()
    try:
        audio = read_audio(file.getvalue())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(audio) == 60 * 24_000
    assert peak < 40e6  # Decoded at once it would be 369 MB.


def test_without_a_limit_everything_is_read() -> None:
    for rate in (24_000, 44_100):
        assert len(read_audio(encode(np.zeros((rate * 70, 1)), rate), max_seconds=None)) == 70 * 24_000


def test_prompts_are_cut_to_whole_frames() -> None:
    assert len(cut_prompt(np.zeros(24_000 + 319, np.float32))) == 24_000
    assert len(cut_prompt(np.zeros(12_000, np.float32))) == 12_000 // 320 * 320
    assert len(cut_prompt(np.zeros(60 * 24_000, np.float32))) == 60 * 24_000
    for samples, code in ((11_999, "too_short"), (0, "too_short"), (60 * 24_000 + 1, "too_long")):
        with pytest.raises(AudioError) as caught:
            cut_prompt(np.zeros(samples, np.float32))
        assert caught.value.code == code


# Files that refer to other files


@pytest.fixture
def address() -> Iterator[tuple[str, list[str]]]:
    """A local HTTP server with a wav file at every path; ``(its URL, the paths asked of it)``."""
    asked: list[str] = []
    wav = encode(tone(24_000), 24_000)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(wav)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def playlists(target: str) -> dict[str, bytes]:
    """Files of every kind that can name another one, naming ``target``."""
    hls = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{target}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    return {
        "hls": hls.encode(),
        "m3u": f"#EXTM3U\n{target}\n".encode(),
        "concat": f"ffconcat version 1.0\nfile '{target}'\n".encode(),
        "dash": dash.encode(),
        "sdp": sdp.encode(),
        "address": target.encode(),
    }


@pytest.mark.parametrize("kind", sorted(playlists("")))
def test_playlists_open_neither_network_nor_files(
    kind: str, address: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = address
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.wav").write_bytes(encode(tone(24_000), 24_000))
    for target in (f"{url}/a.wav", str(tmp_path / "secret.wav"), "secret.wav", f"concat:{tmp_path}/secret.wav"):
        data = playlists(target)[kind]
        for name in ("list.m3u8", "list.wav", "list.ffconcat"):
            (tmp_path / name).write_bytes(data)
            refused(tmp_path / name, "not_audio")
        refused(data, "not_audio")
    assert asked == []


def test_the_playlists_of_this_test_would_work_elsewhere(address: tuple[str, list[str]], tmp_path: Path) -> None:
    """Or the test above would show nothing."""
    url, asked = address
    options = {"protocol_whitelist": "http,tcp,file", "allowed_extensions": "ALL", "extension_picky": "0"}
    (tmp_path / "list.m3u8").write_bytes(playlists(f"{url}/a.wav")["hls"])
    with contextlib.suppress(av.FFmpegError):  # FFmpeg asks for the segment and may then dislike a wav as one.
        av.open(str(tmp_path / "list.m3u8"), container_options=options)
    assert "/a.wav" in asked
    (tmp_path / "secret.wav").write_bytes(encode(tone(24_000), 24_000))
    (tmp_path / "list.ffconcat").write_bytes(playlists("secret.wav")["concat"])
    with av.open(str(tmp_path / "list.ffconcat")) as container:
        assert container.streams.audio


# The resampler


@pytest.mark.parametrize("rate", [4_000, 11_025, 24_000, 44_100, 192_000])
def test_the_resampler_gives_the_same_samples_however_they_come(rate: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(rate // 2 + 7).astype(np.float32) * 0.3
    whole = Resampler(rate).push(samples, last=True)
    assert abs(len(whole) - len(samples) * 24_000 / rate) <= 1
    for most in (1, 97, 5_000, rate):
        resampler, parts, at = Resampler(rate), [], 0
        if most == 1:
            parts.append(resampler.push(samples[:-400]))
            at = len(samples) - 400
        while at < len(samples):
            count = int(rng.integers(0, most + 1)) if most > 1 else 1
            parts.append(resampler.push(samples[at : at + count]))
            at += count
        parts.append(resampler.push(samples[:0], last=True))
        assert np.array_equal(np.concatenate(parts), whole)


def test_the_resampler_holds_back_less_than_a_block_and_its_filter() -> None:
    resampler, given = Resampler(48_000), 0
    for second in range(1, 6):
        for _ in range(100):
            given += len(resampler.push(np.zeros(480, np.float32)))
        assert second - given / 24_000 < 0.2
        assert len(resampler._pending) < 4_800


def test_the_resampler_refuses_rates_and_samples() -> None:
    for rate in (0, -1, 3_999, 768_001, 2**31):
        with pytest.raises(AudioError) as caught:
            Resampler(rate)
        assert caught.value.code == "unusable_rate"
    for value in (np.nan, np.inf, -np.inf, 1e9):
        for rate in (24_000, 16_000):
            with pytest.raises(AudioError) as caught:
                Resampler(rate).push(np.array([0, value], np.float32))
            assert caught.value.code == "not_finite"


def test_a_damaged_header_leaves_no_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends the decoder to before the beginning; found by ``python -m whispergpt.benchmarks.attacks fuzz``."""
    traces: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", traces.append)
    whole = short_prompt("AIFF")
    for seed in (1006, 1384, 1675, 1803, 1942, 2250, 2654, 2891):
        with contextlib.suppress(AudioError):
            read_audio(mutated(random.Random(seed), whole))
    assert not traces
