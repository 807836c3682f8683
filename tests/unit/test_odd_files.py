"""Whole files of real life that are easily read wrongly: joined, tagged, cut, with many channels or many tracks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.audio import Samples, encode, encode_with_ffmpeg, speech
from tests.support.odd_files import RATE, film, id3_tag, wave_header, with_itunes_gaps
from whispergpt.engine.audio.audio_file import AudioError, read_audio


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> Samples:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def pitch(audio: Samples) -> int:
    """The loudest frequency, in hertz."""
    return int(np.abs(np.fft.rfft(audio[:24_000])).argmax() * 24_000 // len(audio[:24_000]))


def refused(data: bytes, code: str) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(data)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


# Channels


@pytest.mark.parametrize("channels", [7, 8, 9, 12, 16, 24, 32, 64])
@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_many_channels_through_ffmpeg(channels: int, rate: int) -> None:
    pcm = (np.repeat(tone(1.0, rate=rate)[:, None], channels, 1) * 32_767).astype("<i2").tobytes()
    audio = read_audio(wave_header(channels, rate) + pcm)
    assert len(audio) == 24_000 and pitch(audio) == 440


def test_a_file_with_its_own_order_of_channels(tmp_path: Path) -> None:
    """PyAV frees the list of channels twice, which ends the process: hence another."""
    file = io.BytesIO()
    with av.open(file, "w", format="aiff") as out:
        stream = out.add_stream("pcm_s16be", rate=24_000, layout="7.1")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8 * 24_000), np.int16), format="s16", layout="7.1")
        frame.sample_rate = 24_000
        for part in (frame, None):
            out.mux(stream.encode(part))
    (tmp_path / "a.aiff").write_bytes(file.getvalue())
    script = (
        "import sys\n"
        "from whispergpt.engine.audio.ffmpeg import read_with_ffmpeg\n"
        "from whispergpt.engine.audio.source import Memory\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "for _ in range(20):\n"
        "    assert sum(len(block.samples) for block in read_with_ffmpeg(Memory(data), data[:12])) == 24_000\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "a.aiff"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_work_of_a_second_is_bounded_by_the_header() -> None:
    assert "8 channels at 655350 Hz" in refused(wave_header(8, 655_350) + bytes(80_000), "unusable_rate")
    flac = encode(np.zeros((655_350, 8), np.float32), 655_350, "FLAC", "PCM_16")
    assert "8 channels at 655350 Hz" in refused(flac, "unusable_rate")


# Joined files


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chained_ogg_is_read_to_its_end(subtype: str) -> None:
    links = [encode(tone(2.0, hertz), RATE, "OGG", subtype) for hertz in (440, 660, 880)]
    audio = read_audio(b"".join(links))
    assert len(audio) == 6 * 24_000
    assert [pitch(audio[at : at + 40_000]) for at in (4_000, 52_000, 100_000)] == [440, 660, 880]


@pytest.mark.parametrize("kind", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")])
def test_joined_files_may_differ_in_rate_and_channels(kind: tuple[str, str]) -> None:
    stereo = np.repeat(tone(2.0, 660, 24_000)[:, None], 2, 1)
    audio = read_audio(encode(tone(2.0), RATE, *kind) + encode(stereo, 24_000, *kind))
    assert len(audio) == 4 * 24_000 and pitch(audio[52_000:]) == 660


def test_joined_flac_is_read_to_its_end() -> None:
    flac = encode(tone(2.0), RATE, "FLAC")
    assert len(read_audio(flac * 3)) == 6 * 24_000
    assert "FLAC" in refused((flac * 2)[:-100], "undecodable")
    assert "FLAC" in refused(flac + flac[:60], "undecodable")


def test_a_flac_inside_a_flac_s_picture_is_no_second_one() -> None:
    flac = encode(tone(2.0), RATE, "FLAC")
    assert flac[4] == 0
    picture = b"\x06" + len(flac).to_bytes(3, "big") + flac
    assert len(read_audio(flac[:42] + picture + flac[42:])) == 2 * 24_000


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chained_ogg_that_breaks_off_is_read_as_far_as_it_goes(subtype: str) -> None:
    link = encode(speech(4.0), 24_000, "OGG", subtype)
    assert len(read_audio(link + link[:200])) == 4 * 24_000
    assert 4.5 < len(read_audio(link + link[: len(link) * 3 // 4])) / 24_000 < 7.9


def test_joined_files_are_too_long_together() -> None:
    for kind in (("OGG", "OPUS"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")):
        assert "60 s" in refused(encode(tone(21.0, rate=8_000), 8_000, *kind) * 3, "too_long")


def test_thousands_of_links_are_refused() -> None:
    assert "1,000" in refused(encode(tone(0.01), RATE, "FLAC") * 1_001, "undecodable")


# Tags in front


@pytest.mark.parametrize("size", [0, 100, 500_000, 1_200_000])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "aiff", "mp3", "aac", "m4a"])
def test_an_id3_tag_in_front_of_anything(kind: str, size: int) -> None:
    if kind in ("aac", "m4a"):
        data = encode_with_ffmpeg(tone(2.0), RATE, "adts" if kind == "aac" else "ipod", "aac")
    else:
        data = encode(tone(2.0), RATE, kind.upper())
    assert abs(len(read_audio(id3_tag(size) + data)) - len(read_audio(data))) < 2_400


def test_tags_with_a_footer_and_one_behind_another() -> None:
    assert len(read_audio(id3_tag(300, footer=True) + id3_tag(10) + encode(tone(2.0), RATE))) == 48_000


def test_a_tag_alone_is_no_audio() -> None:
    refused(id3_tag(5_000), "undecodable")
    refused(id3_tag(5_000)[:100], "undecodable")
    refused(id3_tag(100) + b"Once upon a time\n" * 100, "not_audio")


def test_a_tagged_file_is_read_from_its_path_too(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(id3_tag(1_200_000) + encode(tone(2.0), RATE, "FLAC") * 2)
    assert len(read_audio(tmp_path / "a.flac")) == 4 * 24_000


# Cut ends


@pytest.mark.parametrize("cut", [0, 1, 6, 30, 50, 90, 400])
def test_an_aac_that_breaks_off_keeps_its_whole_packets(cut: int) -> None:
    data = encode_with_ffmpeg(speech(3.0), 24_000, "adts", "aac")
    audio, whole = read_audio(data[: len(data) - cut]), read_audio(data)
    assert len(whole) - 6 * 1024 <= len(audio) <= len(whole)
    assert np.array_equal(audio, whole[: len(audio)])


def test_an_aac_that_is_mostly_noise_is_damaged() -> None:
    data, noise = encode_with_ffmpeg(speech(3.0), 24_000, "adts", "aac"), np.random.default_rng(0)
    broken = bytearray(data)
    for at in noise.integers(2_000, len(data), 600):
        broken[at] = noise.integers(256)
    assert "aac" in refused(bytes(broken), "undecodable")


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_an_m4a_whose_padding_stands_in_an_itunes_tag(rate: int) -> None:
    whole = encode_with_ffmpeg(speech(3.0, rate), rate, "ipod", "aac")
    tagged = with_itunes_gaps(whole, 2_112, 500, 3 * rate)
    audio = read_audio(tagged)
    assert 2.8 < len(audio) / 24_000 < 3.1
    at = tagged.index(b"moov") - 4
    sound = tagged.index(b"mdat") + 4
    cut = bytearray(tagged)
    cut[sound + (at - sound) // 2 : at] = bytes(at - sound - (at - sound) // 2)
    with pytest.raises(AudioError):
        read_audio(bytes(cut))


# Films


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_the_track_that_players_choose(container: str) -> None:
    data = film(container, [("aac", tone(2.0, 440), False), ("aac", tone(2.0, 880), True)])
    assert pitch(read_audio(data)) == 880


@pytest.mark.parametrize("chosen", [False, True])
def test_the_first_track_that_can_be_read(chosen: bool) -> None:
    data = film("matroska", [("ac3", tone(2.0, 440), chosen), ("libopus", tone(2.0, 880), False)])
    assert pitch(read_audio(data)) == 880


def test_a_film_without_a_track_that_can_be_read_names_its_coding() -> None:
    message = refused(film("matroska", [("ac3", tone(1.0), True), ("eac3", tone(1.0), False)]), "not_audio")
    assert "ac3" in message and message.endswith("are read.")


# What need not be decoded to be refused, and what would not end


def test_a_header_that_is_too_long_is_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    import soundfile

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was decoded")

    flac = encode(np.zeros(61 * 8_000, np.float32), 8_000, "FLAC")
    m4a = encode_with_ffmpeg(np.zeros(62 * 24_000, np.float32), 24_000, "ipod", "aac")
    monkeypatch.setattr(soundfile.SoundFile, "read", never)
    monkeypatch.setattr("whispergpt.engine.audio.ffmpeg._Pieces.frames", never)
    assert "60 s" in refused(flac, "too_long")
    assert "60 s" in refused(m4a, "too_long")


def test_foreign_packets_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whispergpt.engine.audio.ffmpeg.MOST_FOREIGN", 20)
    data = film("matroska", [("pcm_s16le", tone(2.0), True)])
    monkeypatch.setattr("whispergpt.engine.audio.ffmpeg.Discard", _Keep)
    assert "beside its audio" in refused(data, "undecodable")


class _Keep:
    """A film whose container does not know how to pass over other tracks."""

    all = 0


# Where a prompt comes from


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    data = encode(tone(2.0), RATE, "FLAC")
    os.mkfifo(tmp_path / "pipe")
    writing = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writing.start()
    audio = read_audio(tmp_path / "pipe")
    writing.join()
    assert np.array_equal(audio, read_audio(data))
