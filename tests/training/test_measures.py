"""The measures: each is best for the same sound, worse for a worse one, and right where the answer is known.

Those that numba compiles for, which takes most of their time, are beside the command's in ``test_measure_command.py``.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.audio import HOP, SAMPLE_RATE, Samples, encode, noisy, silence, speech, tone
from tests.support.packages import require_package
from tests.support.tools import require_tool
from whispergpt.training.measures.continuations import Continuation, continuation_faults
from whispergpt.training.measures.drift import MEASURES, courses, fit_slope
from whispergpt.training.measures.faults import fault_figures
from whispergpt.training.measures.figures.bandwidth import band_levels, band_rise_db, high_band_db, opens_band
from whispergpt.training.measures.figures.buzz import comb_db, frame_correlation
from whispergpt.training.measures.figures.listening import Pesq
from whispergpt.training.measures.figures.log_mel import log_mel_distance
from whispergpt.training.measures.figures.packages import MissingError, need, need_program, versions
from whispergpt.training.measures.figures.signal_ratio import delay, si_sdr_db, snr_db
from whispergpt.training.measures.figures.silence import recording_level, silent_share
from whispergpt.training.measures.figures.spectra import power_spectra
from whispergpt.training.measures.figures.stillness import still_share
from whispergpt.training.measures.figures.words import word_errors, words_of
from whispergpt.training.measures.opus import OpusRoundTrip, packet_sizes
from whispergpt.training.measures.prompts import CutPrompt, cut_prompts
from whispergpt.training.measures.recordings import find_recordings
from whispergpt.training.measures.report import Keeper, means
from whispergpt.training.measures.round_trip import in_16_bits


def white(seconds: float, level: float = 0.1, seed: int = 0) -> Samples:
    return noisy(silence(seconds), level, seed)


def buzzing(seconds: float, share: float) -> Samples:
    """Return noise of which a ``share`` of the energy repeats every frame."""
    repeated = np.tile(white(HOP / SAMPLE_RATE, seed=1), round(seconds * SAMPLE_RATE) // HOP)
    return np.asarray(np.sqrt(share) * repeated + np.sqrt(1 - share) * white(seconds)[: len(repeated)], np.float32)


def voice(seconds: float, hertz: float, vibrato: float) -> Samples:
    """Return 60 harmonics, 6 dB weaker an octave, whose pitch swings by a share five times a second."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * hertz * (t - vibrato * np.cos(2 * np.pi * 5 * t) / (2 * np.pi * 5))
    overtones = [n for n in range(1, 61) if n * hertz * (1 + vibrato) < SAMPLE_RATE / 2]
    return noisy(np.asarray(sum(0.1 / n * np.sin(n * phase) for n in overtones), np.float32), 1e-4)


def low_passed(sound: Samples, hertz: float, by: float = 0.0) -> Samples:
    """Return a sound whose amplitudes above a frequency are multiplied by ``by``."""
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE) > hertz] *= by
    return np.asarray(np.fft.irfft(spectrum, len(sound)), np.float32)


def test_log_mel_distance_is_nothing_for_the_same_and_grows_with_noise() -> None:
    sound = speech(2.0)
    distances = [log_mel_distance(sound, noisy(sound, level)) for level in (0.0, 1e-3, 1e-2, 1e-1)]
    assert distances[0] == 0 and distances == sorted(distances) and distances[3] > 2 * distances[1] > 0
    white = noisy(silence(1.0), 0.05)
    assert log_mel_distance(white, white * 10) == pytest.approx(1.0, abs=0.01), "ten times the amplitude is 1"
    assert log_mel_distance(silence(1.0), in_16_bits(noisy(silence(1.0), 1e-6))) == 0, "what 16 bits hide is nothing"
    with pytest.raises(ValueError, match="cannot be compared"):
        log_mel_distance(sound, sound[:-1])


def test_signal_ratios_are_those_of_the_noise() -> None:
    sound = noisy(silence(1.0), 0.1)
    worse = noisy(sound, 0.01, seed=1)
    assert snr_db(sound, worse) == pytest.approx(20, abs=0.2)
    assert si_sdr_db(sound, 3 * worse) == pytest.approx(20, abs=0.2), "the scale is free"
    assert snr_db(sound, 3 * worse) < 0
    late = np.concatenate([silence(3 / SAMPLE_RATE), worse[:-3]])
    assert delay(sound, late) == 3 and delay(late, sound) == -3
    assert snr_db(sound, late) == pytest.approx(20, abs=0.2), "three samples late is forgiven"
    assert snr_db(sound, np.roll(worse, 40)) < 0


@pytest.mark.parametrize("kbps", [6.0, 12.0, 24.0])
def test_opus_comes_back_in_time_at_the_rate_asked_for(kbps: float) -> None:
    require_tool("opusenc")
    require_tool("opusdec")
    sound = in_16_bits(speech(4.0))
    back = OpusRoundTrip(kbps)(sound)
    assert back.payload_kbps == pytest.approx(kbps, rel=0.03)
    assert len(back.samples) == len(sound) and abs(delay(sound, back.samples)) <= 2
    assert log_mel_distance(sound, back.samples) < (0.7 if kbps < 12 else 0.3)


def test_an_ogg_files_framing_is_not_counted() -> None:
    file = encode(speech(1.0), format="OGG", subtype="OPUS")
    sizes = packet_sizes(io.BytesIO(file))
    assert len(sizes) == 51 and 0 < len(file) - sum(sizes) < 0.5 * len(file)
    with pytest.raises(ValueError, match="Invalid data"):
        packet_sizes(io.BytesIO(file[1:]))
    with pytest.raises(ValueError, match="6 to 256 kbps"):
        OpusRoundTrip(3.0)


def test_pesq_is_near_its_best_for_the_same_and_falls_with_noise() -> None:
    require_package("pesq")
    sound = speech(4.0)
    same, little, much = (Pesq()(sound, noisy(sound, level)) for level in (0.0, 1e-3, 1e-2))
    assert same is not None and little is not None and much is not None
    assert same > 4.6 and same > little > much > 1
    assert Pesq()(silence(2.0), silence(2.0)) is None


def test_half_silent_audio_is_half_silence() -> None:
    half = np.concatenate([tone(300, 2.0), noisy(silence(2.0), 1e-4)])
    level = recording_level(half)
    assert level == pytest.approx(20 * np.log10(0.2 / 2**0.5), abs=0.02)
    assert silent_share(half, level) == pytest.approx(0.5, abs=0.01)
    assert silent_share(half * 0.001, level) == 1, "measured by the level of another recording"
    assert silent_share(half * 0.001, recording_level(half * 0.001)) == pytest.approx(0.5, abs=0.01)


def test_a_drone_stands_still_and_speech_does_not() -> None:
    voice, drone = speech(4.0), noisy((tone(150, 3.0) + tone(300, 3.0)) / 2, 1e-3)
    level = recording_level(voice)
    assert still_share(voice, level) == 0
    assert still_share(np.concatenate([voice, drone]), level) == pytest.approx(3 / 7, abs=0.01)
    assert still_share(noisy(silence(3.0), 0.1), level) == 1, "a steady hiss"
    assert still_share(np.concatenate([voice, drone * 1e-3]), level) == 0, "what is not heard is no drone"
    assert still_share(np.concatenate([voice, silence(3.0)]), level) == 0
    assert still_share(voice[: SAMPLE_RATE - HOP], level) is None
    swelling = drone * np.sin(np.arange(len(drone)) / SAMPLE_RATE * 8 * np.pi).astype(np.float32) ** 2
    assert still_share(swelling, level) == 0


def test_powers_of_a_window_add_up_to_the_mean_square() -> None:
    spectra = np.concatenate(list(power_spectra(white(60.0), 9_600, 2_400)))
    assert len(spectra) == 1 + (60 * SAMPLE_RATE - 9_600) // 2_400, "blocks leave no window out"
    assert spectra.sum(axis=1).mean() == pytest.approx(0.01, rel=0.01)
    second = np.concatenate(list(power_spectra(tone(300, 1.0), 960, 480)))
    assert second.argmax(axis=1).tolist() == [12] * len(second), "300 Hz is bin 12 of 25 Hz"


def test_comb_and_correlation_of_noise_are_0_and_grow_with_what_repeats() -> None:
    combs, correlations = [], []
    for share in (0.0, 0.1, 0.3, 0.6, 1.0):
        figures = fault_figures(buzzing(10.0, share))
        combs.append(figures["comb_db"])
        correlations.append(figures["frame_correlation"])
    assert combs[0] == pytest.approx(0, abs=0.3) and combs[-1] is not None and combs[-1] > 60
    assert combs == sorted(combs, key=lambda value: value or 0.0)
    assert correlations == pytest.approx([0, 0.1, 0.3, 0.6, 1], abs=0.03), "the correlation is the share that repeats"
    other = fault_figures(np.tile(white((HOP + 37) / SAMPLE_RATE), 400))
    assert other["frame_correlation"] == pytest.approx(0, abs=0.2), "another period is no frame"
    assert other["comb_db"] == pytest.approx(0, abs=10), "nor has it more than a few multiples of 75 Hz"


def test_only_what_repeats_above_2_khz_and_up_to_7500_hz_is_a_buzz() -> None:
    below, above = low_passed(buzzing(10.0, 1.0), 550), low_passed(white(10.0, seed=2), 550)
    only_low = below + white(10.0, seed=2) - above
    assert comb_db(only_low) == pytest.approx(0, abs=0.3)
    assert frame_correlation(only_low) == pytest.approx(0, abs=0.02)
    high = buzzing(10.0, 1.0)
    top = high - low_passed(high, 8_000) + low_passed(white(10.0, seed=2), 8_000)
    assert comb_db(top) == pytest.approx(0, abs=0.3)
    loud_low = white(10.0, 0.01) + 50 * tone(300, 10.0)
    assert frame_correlation(loud_low) == pytest.approx(0, abs=0.02), "the filter keeps a loud tone at 300 Hz out"


def test_a_voice_at_a_multiple_of_75_hz_does_not_mislead() -> None:
    for hertz in (150.0, 225.0):
        natural, machine = (fault_figures(voice(10.0, hertz, vibrato)) for vibrato in (0.03, 0.0))
        assert natural["comb_db"] is not None and abs(natural["comb_db"]) < 2
        assert natural["frame_correlation"] == pytest.approx(0, abs=0.1)
        assert machine["frame_correlation"] is not None and machine["frame_correlation"] > 0.9, (
            "a pitch that never moves"
        )
    read = fault_figures(speech(4.0))
    assert read["comb_db"] == pytest.approx(0, abs=0.7) and read["frame_correlation"] == pytest.approx(0, abs=0.1)


def test_level_above_8_2_khz_is_that_of_the_loudest_half_second() -> None:
    noise = white(8.0)
    share = 10 * np.log10((12_000 - 8_200) / 12_000)
    assert high_band_db(band_levels(noise)) == pytest.approx(share, abs=0.4)
    assert high_band_db(band_levels(0.1 * noise)) == pytest.approx(share, abs=0.4), "the level does not matter"
    dull = low_passed(noise, 8_000)
    levels = band_levels(in_16_bits(dull))
    assert levels is not None and levels.high == pytest.approx(-101, abs=1), "the rounding alone is left"
    for seconds in (0.5, 1.0, 4.0):
        once = dull.copy()
        once[: round(seconds * SAMPLE_RATE)] = noise[: round(seconds * SAMPLE_RATE)]
        assert high_band_db(band_levels(once)) == pytest.approx(share, abs=0.7), "half a second is enough"


def test_a_continuation_opens_a_band_that_its_prompt_does_not_have() -> None:
    prompt = band_levels(low_passed(white(3.0), 8_000))
    half = white(8.0, seed=2)
    half[SAMPLE_RATE:] = low_passed(half, 8_000)[SAMPLE_RATE:]
    for sound, opens in (
        (white(8.0, seed=1), True),
        (half, True),
        (low_passed(white(8.0, seed=1), 8_000, by=10 ** (-30 / 20)), True),
        (low_passed(white(8.0, seed=1), 8_000, by=10 ** (-50 / 20)), False),
        (low_passed(white(8.0, seed=1), 8_000), False),
        (white(8.0, 1e-4), False),
    ):
        assert opens_band(prompt, band_levels(sound)) is opens
        assert opens_band(band_levels(white(3.0)), band_levels(sound)) is False, "the prompt has the band itself"
    assert band_rise_db(prompt, prompt) == 0
    assert band_rise_db(prompt, band_levels(white(8.0))) == pytest.approx(70, abs=0.6), "no band is -75 dB, white is -5"
    assert band_rise_db(band_levels(white(8.0)), prompt) == pytest.approx(-70, abs=0.6)


def test_what_is_silent_or_too_short_has_no_figures() -> None:
    for nothing in (silence(0.0), silence(3.0), white(0.39), white(100 / SAMPLE_RATE)):
        assert set(fault_figures(nothing, white(3.0)).values()) == {None}
        assert fault_figures(white(3.0), nothing)["opens_band"] is None
    short = fault_figures(white(0.45), white(3.0))
    assert [name for name, value in short.items() if value is None] == ["high_band_db", "band_rise_db", "opens_band"]
    assert set(fault_figures(white(0.5), white(3.0)).values()) & {None} == set()
    assert frame_correlation(tone(300, 2.0)) is None, "there is nothing above 2 kHz"


def test_the_faults_of_a_continuation_stand_beside_those_of_what_it_is_compared_with() -> None:
    prompt = CutPrompt("a.flac", "a", 0.0, low_passed(white(3.0), 8_000), low_passed(white(4.0, seed=1), 8_000))
    figures = continuation_faults(prompt, Continuation(low_passed(buzzing(3.0, 0.5), 8_000), buzzing(8.0, 1.0)))
    assert [round(figures[f"frame_correlation{of}"] or 0, 1) for of in ("", "_prompt", "_original", "_rest")] == [
        *(1, 0.5, 0, 0)
    ]
    assert [figures[f"opens_band{of}"] for of in ("", "_prompt", "_rest")] == [1, 0, 0]
    assert "opens_band_original" not in figures and figures["band_rise_db_rest"] == 0
    without = CutPrompt("a.flac", "a", 0.0, prompt.audio, silence(0.0))
    assert not any(
        name.endswith("_rest") for name in continuation_faults(without, Continuation(prompt.audio, prompt.audio))
    )


def test_word_errors_are_the_fewest_changes() -> None:
    assert words_of("Don't STOP, “well-known” friend’s 3rd_cat!") == [
        "don't",
        "stop",
        "well",
        "known",
        "friend's",
        "3rd",
        "cat",
    ]
    assert (word_errors("a b c d", "a b c d").errors, word_errors("A b, c; d.", "a B c d").words) == (0, 4)
    assert word_errors("a b c d", "a x c").errors == 2
    assert word_errors("a b", "b a b a").errors == 2
    assert word_errors("a b c", "").errors == 3


def test_a_fade_is_a_drift_and_noise_is_none() -> None:
    noise = noisy(silence(190.0), 0.05)
    fade = noise * 10 ** (-2 * np.arange(len(noise)) / SAMPLE_RATE / 60 / 20)  # 2 dB a minute
    level = recording_level(noise[: 3 * SAMPLE_RATE])
    of_noise, of_fade = courses(noise, level), courses(fade.astype(np.float32), level)
    steady, falling = ({m.name: fit_slope(of[m.name], m) for m in MEASURES} for of in (of_noise, of_fade))
    assert {slope.verdict for slope in steady.values()} == {"steady"} and len(of_noise["level"]) == 19
    assert abs(steady["level"].per_minute) < 0.05
    assert falling["level"].per_minute == pytest.approx(-2, abs=0.05)
    assert falling["spectrum"].per_minute == pytest.approx(0.1, abs=0.01)
    assert [falling[m.name].verdict for m in MEASURES] == ["drifts", "drifts", "steady"]
    wild = np.linspace(0, 6, 24) + 15 * np.resize([1.0, -1.0, -1.0, 1.0], 24)
    assert fit_slope(wild, MEASURES[0]).verdict == "unclear"


def test_prompts_share_no_sample_and_have_their_true_rest(tmp_path: Path) -> None:
    sound = noisy(silence(10.0), 0.1)
    for name, seconds in (("long", 10), ("short", 4), ("tiny", 1)):
        path = tmp_path / name / "a.wav"
        path.parent.mkdir()
        soundfile.write(path, sound[: seconds * SAMPLE_RATE], SAMPLE_RATE, subtype="FLOAT")
    (tmp_path / "long" / "b.wav").write_bytes(b"RIFF, but no sound")
    recordings = find_recordings([tmp_path])
    prompts = cut_prompts(recordings, 10, 2.0, 4.0, 1.0)
    starts = {(prompt.group.split("/")[-1], prompt.start) for prompt in prompts}
    assert starts == {("long", 0), ("short", 0), ("long", 2), ("long", 4), ("long", 6)}
    for prompt in prompts:
        first = round(prompt.start * SAMPLE_RATE)
        whole = np.concatenate([prompt.audio, prompt.rest])
        assert len(prompt.audio) == 2 * SAMPLE_RATE and (whole == sound[first : first + len(whole)]).all()
    assert sorted(len(prompt.rest) / SAMPLE_RATE for prompt in prompts) == [2, 2, 4, 4, 4]
    skipped = {Path(entry["file"]).parent.name for entry in recordings.skipped}
    assert skipped == {"tiny", "long"}, "what cannot be read, and what is too short"
    assert len(cut_prompts(find_recordings([tmp_path]), 3, 2.0, 4.0, 1.0)) == 3
    with pytest.raises(ValueError, match=r"No recording has 31\.00 s"):
        cut_prompts(find_recordings([tmp_path]), 1, 30.0, 4.0, 1.0)


def test_transcripts_beside_recordings_are_found(tmp_path: Path) -> None:
    chapter = tmp_path / "set" / "12" / "34"
    chapter.mkdir(parents=True)
    for name in ("12-34-0000", "12-34-0001"):
        soundfile.write(chapter / f"{name}.flac", tone(200, 1.0), 16_000)
    (chapter / "12-34.trans.txt").write_text("12-34-0000 HE SAID SO\n")
    (tmp_path / "set.tsv").write_text('file\tseconds\ttext\nset/12/34/12-34-0001.flac\t1\tAnd so "did she.\n')
    texts = {Path(one.name).stem: one.text for one in find_recordings([tmp_path / "set"]).all}
    assert texts == {"12-34-0000": "HE SAID SO", "12-34-0001": 'And so "did she.'}


def test_what_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pesq", None)
    with pytest.raises(MissingError, match=r"PESQ needs the package pesq.*whispergpt\[measures\]"):
        need("pesq", "PESQ")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingError, match="opusenc is not installed; install opus-tools"):
        need_program("opusenc")
    assert versions(["matplotlib"])["matplotlib"].count(".") == 2


def test_means_are_over_what_there_is(tmp_path: Path) -> None:
    assert means([{"a": 1.0, "b": None}, {"a": 3.0, "b": 5.0, "c": None}]) == {"a": 2.0, "b": 5.0, "c": None}
    with pytest.raises(ValueError, match="-o FOLDER"):
        Keeper(None, audio=True)
    Keeper(tmp_path / "kept", audio=True).audio("a/b c.flac codec 6", tone(200, 1.0))
    assert [path.name for path in (tmp_path / "kept" / "audio").iterdir()] == ["a_b_c.flac_codec_6.flac"]
