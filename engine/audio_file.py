"""Any audio, as mono float32 at 24 kHz: decoded block by block, so that memory stays bounded whatever a file claims.

libsndfile reads wav, flac, ogg and mp3; what it does not know (m4a, webm, …) goes to FFmpeg through PyAV; soxr
resamples. Blocks have a fixed size, so the samples depend on the audio alone and not on how it arrived.

Uploads are hostile until decoded. A file is only ever read through a handle without a name, FFmpeg may use no protocol
and open no second file, and of its formats and decoders only those of ``READABLE`` are let in: a playlist that names an
address or ``/etc/passwd`` is not audio. The work is bounded by duration, channels, samples and pieces per second.

What is cut short: FLAC and m4a say how long they are, and are refused when less is there. Wav, ogg, mp3 and webm are
recorded and streamed without a known end, so what is there of them is read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from engine.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

READABLE = "wav, flac, ogg, opus, mp3, m4a, aac, webm and aiff"
MIN_PROMPT_SECONDS = 0.5
MAX_PROMPT_SECONDS = 60.0
MIN_RATE, MAX_RATE = 4_000, 768_000
MAX_CHANNELS = 64
MAX_VALUES_PER_SECOND = 8 * MAX_RATE
"""Rate times channels: what bounds the work of a second of audio."""
MOST_PIECES_A_SECOND = 1000
"""Packets and frames together; Opus at its shortest has 800."""
LARGEST_SAMPLE = 65_536.0
"""Full scale is 1; some float files hold 16-bit values unscaled. Anything larger is no sound."""
ENCODER_PADDING_SECONDS = 0.1
"""What an mp3 or m4a encoder adds at the ends; so much over the limit is cut, not refused."""

BLOCK_VALUES = 262_144
UNKNOWN_FRAMES = 2**62
"""libsndfile says 2^63 - 1 where a file does not tell how long it is."""
SNDFILE_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"}
FFMPEG_FORMATS = "aac,aiff,flac,matroska,mov,mp3,mp4,ogg,wav,webm"
FFMPEG_DECODERS = (
    "aac,alac,flac,libopus,libvorbis,mp3,mp3float,opus,vorbis,adpcm_ima_wav,adpcm_ms,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)
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

Samples = npt.NDArray[np.float32]


class AudioError(ValueError):
    """Audio that cannot be used; ``code`` names the reason and the message is written for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Resampler:
    """Mono audio at any rate → 24 kHz, in fixed blocks of 0.1 seconds.

    Args:
        rate: samples per second of the input.

    Raises:
        AudioError: the rate is outside 4 to 768 kHz (``unusable_rate``).
    """

    def __init__(self, rate: int) -> None:
        if not MIN_RATE <= rate <= MAX_RATE:
            raise AudioError("unusable_rate", f"A sample rate of {rate} Hz is outside {MIN_RATE} to {MAX_RATE} Hz.")
        self._stream = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self._block = max(1, rate // 10)
        self._pending: Samples = np.zeros(0, np.float32)

    def push(self, samples: Samples, last: bool = False) -> Samples:
        """Take ``[n]`` samples and return what is ready; ``last`` flushes the filter.

        Raises:
            AudioError: a sample is NaN, infinite or absurdly large (``not_finite``).
        """
        if not (np.abs(samples) <= LARGEST_SAMPLE).all():
            raise AudioError("not_finite", "The audio contains samples that are NaN, infinite or absurdly large.")
        if self._stream is None:
            return samples
        self._pending = np.concatenate([self._pending, samples])
        ready = []
        while len(self._pending) >= self._block:
            ready.append(self._stream.resample_chunk(self._pending[: self._block]))
            self._pending = self._pending[self._block :]
        if last:
            ready.append(self._stream.resample_chunk(self._pending, last=True))
            self._pending = self._pending[:0]
        return np.concatenate(ready) if ready else samples[:0]


def read_audio(source: bytes | Path, max_seconds: float | None = MAX_PROMPT_SECONDS) -> Samples:
    """Decode a whole file to mono float32 samples ``[n]`` at 24 kHz.

    Args:
        source: the bytes of a file, or its path.
        max_seconds: refuse audio longer than this many seconds; None reads on without a bound.

    Raises:
        AudioError: ``empty_audio``, ``not_audio``, ``undecodable``, ``not_finite``, ``unusable_rate`` or ``too_long``.
    """
    with _open(source) as file:
        head = file.read(12)
        if not head:
            raise AudioError("empty_audio", "The audio is empty: send a file with sound in it.")
        file.seek(0)
        try:
            opened = soundfile.SoundFile(file)
        except soundfile.LibsndfileError:
            return _collect(_read_with_ffmpeg(file, head), max_seconds)
        with opened:
            if opened.format not in SNDFILE_FORMATS:
                raise _not_audio()
            if opened.frames < UNKNOWN_FRAMES:
                return _collect(_read_with_sndfile(opened), max_seconds)
        # A streamed FLAC does not say how long it is; libsndfile then takes its end for damage.
        return _collect(_read_with_ffmpeg(file, head), max_seconds)


def cut_prompt(audio: Samples) -> Samples:
    """Cut 24 kHz audio ``[n]`` to whole frames.

    Raises:
        AudioError: shorter than 0.5 seconds (``too_short``) or longer than 60 (``too_long``).
    """
    seconds = len(audio) / SAMPLE_RATE
    if seconds < MIN_PROMPT_SECONDS:
        raise too_short(seconds)
    if seconds > MAX_PROMPT_SECONDS + 1e-6:
        raise _too_long(MAX_PROMPT_SECONDS)
    return audio[: len(audio) // HOP * HOP]


def too_short(seconds: float) -> AudioError:
    """The error for a prompt of so few seconds."""
    return AudioError(
        "too_short", f"The prompt has {seconds:.2f} s of audio; at least {MIN_PROMPT_SECONDS} s is needed."
    )


def _too_long(limit: float) -> AudioError:
    return AudioError("too_long", f"The prompt is longer than {limit:g} s; send at most that much.")


def _not_audio() -> AudioError:
    return AudioError("not_audio", f"The file is not audio in a known format; {READABLE} are read.")


class _Bounded(io.BufferedIOBase):
    """A damaged header may send its decoder to before the beginning: it arrives there instead of raising, since the
    decoder calls from C, which would write the stack trace to stderr and go on."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OSError):
            return super().seek(0)


class _Bytes(_Bounded, io.BytesIO):
    """A file in memory."""


class _File(_Bounded, io.BufferedReader):
    """An open file that keeps its name from the decoders, which would guess the format by the extension."""

    name = "audio"


def _open(source: bytes | Path) -> _Bytes | _File:
    if isinstance(source, bytes):
        return _Bytes(source)
    try:
        return _File(io.FileIO(source))
    except OSError as error:
        raise AudioError("not_audio", f"{source} cannot be opened: {error.strerror}.") from None


def _collect(blocks: Iterator[tuple[int, Samples]], max_seconds: float | None) -> Samples:
    """Join ``(rate, mono samples)`` blocks into 24 kHz audio, counting as they come."""
    resampler: Resampler | None = None
    parts: list[Samples] = []
    read = 0
    for rate, block in blocks:
        resampler = resampler or Resampler(rate)
        read += len(block)
        if max_seconds is not None and read > (max_seconds + ENCODER_PADDING_SECONDS) * rate:
            raise _too_long(max_seconds)
        parts.append(resampler.push(block))
    if resampler is None:
        raise AudioError("undecodable", "The file holds no audio that can be decoded.")
    parts.append(resampler.push(np.zeros(0, np.float32), last=True))
    audio = np.concatenate(parts)
    return audio if max_seconds is None else audio[: int(max_seconds * SAMPLE_RATE)]


def _check_size(rate: int, channels: int) -> None:
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError("undecodable", f"The audio has {channels} channels; 1 to {MAX_CHANNELS} can be read.")
    if rate * channels > MAX_VALUES_PER_SECOND:
        raise AudioError("unusable_rate", f"{channels} channels at {rate} Hz are more than can be read.")


def _mix(channels: Samples, axis: int) -> Samples:
    with np.errstate(invalid="ignore", over="ignore"):  # The resampler refuses what comes of it.
        mono: Samples = channels.mean(axis=axis, dtype=np.float32)
    return mono


def _read_with_sndfile(file: soundfile.SoundFile) -> Iterator[tuple[int, Samples]]:
    _check_size(file.samplerate, file.channels)
    if not file.frames:
        raise AudioError("empty_audio", f"The {file.format} file is empty: it has no samples.")
    read = 0
    while True:
        try:
            block = file.read(BLOCK_VALUES // file.channels, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            raise _cut_short(file.format) from None
        if not len(block):
            break
        read += len(block)
        yield file.samplerate, _mix(block, axis=1)
    if file.format == "FLAC" and read < file.frames:
        raise _cut_short(file.format)


def _cut_short(kind: str) -> AudioError:
    return AudioError("undecodable", f"The {kind} file is damaged or cut short and cannot be decoded.")


def _in_fair_pieces(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """The frames, while there are no more of them and of packets than their sound accounts for: a file may be cut into
    single samples, each of which takes as long as a block.

    Raises:
        AudioError: there are more.
    """
    pieces, sound = 0, 0.0
    for packet in container.demux(stream):
        pieces += 1
        for frame in packet.decode():
            pieces += 1
            sound += frame.samples / max(1, frame.sample_rate)
            yield frame
        if pieces > MOST_PIECES_A_SECOND * (1 + sound):
            raise AudioError("undecodable", "The file cuts its audio into pieces too small to be read.")


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"an audio file may not refer to {url}")


def _read_with_ffmpeg(file: BinaryIO, head: bytes) -> Iterator[tuple[int, Samples]]:
    import av  # FFmpeg takes a while to load, and most prompts do not need it.

    kind = next((name for at, mark, name in SIGNATURES if head[at : at + len(mark)] == mark), None)
    file.seek(0)
    try:
        container = av.open(
            file,
            mode="r",
            container_options={
                "format_whitelist": FFMPEG_FORMATS,
                "codec_whitelist": FFMPEG_DECODERS,
                "protocol_whitelist": "none",
                "max_streams": "32",
            },
            io_open=_refuse_to_open,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError):
        raise (_cut_short(kind) if kind else _not_audio()) from None
    with container:
        if not container.streams.audio:
            raise AudioError("not_audio", f"The file has no audio in it; {READABLE} are read.")
        stream = container.streams.audio[0]
        if stream.codec_context is None or stream.codec_context.name not in FFMPEG_DECODERS.split(","):
            raise AudioError("not_audio", f"The file's audio is in a coding that is not known; {READABLE} are read.")
        rate, read = stream.rate, 0
        converter, takes = av.AudioResampler(format="fltp"), None
        try:
            for frame in _in_fair_pieces(container, stream):
                _check_size(frame.sample_rate, frame.layout.nb_channels)
                if frame.sample_rate != rate:
                    raise AudioError(
                        "undecodable", f"The audio changes its rate from {rate} to {frame.sample_rate} Hz."
                    )
                read += frame.samples
                if takes != (kind_of := (frame.format.name, frame.layout.name)):  # they may change between frames
                    converter, takes = av.AudioResampler(format="fltp"), kind_of
                for converted in converter.resample(frame):
                    yield rate, _mix(converted.to_ndarray().astype(np.float32, copy=False), axis=0)
        except av.FFmpegError:
            raise _cut_short(kind or "audio") from None
        claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if container.format.name.startswith("mov") and read < (claimed - ENCODER_PADDING_SECONDS) * rate:
            raise _cut_short("m4a")
