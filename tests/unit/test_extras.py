"""A missing optional package is one sentence that names what to install, and what it names exists."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.audio import SPEECH
from tests.support.corpus import one_line, run_main
from whispergpt.benchmarks.peers.process import PEERS, how_to_get
from whispergpt.benchmarks.simulation.__main__ import main as simulate
from whispergpt.engine.extras import MissingPackageError, missing_package, require_package
from whispergpt.server.observe.tracing import PACKAGES, Tracing, TracingError
from whispergpt.training.measures.figures import packages as measuring
from whispergpt.training.recipes import packages as recipes
from whispergpt.training.recipes.scores import bach_folder

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CLIENT = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]
SENTENCE = re.compile(r"needs the package (\S+), which .+: pip install 'whispergpt\[(\w+)\]'( \(in a clone: .+\))?\.$")


def check_sentence(sentence: str, package: str, extra: str) -> None:
    """The sentence names the package, and an extra of pyproject.toml that has it."""
    named = SENTENCE.search(sentence.strip())
    assert named and (named[1], named[2]) == (package, extra), sentence
    requirements = {Requirement(each).name for each in PROJECT["optional-dependencies"][extra]}
    assert package in requirements, f"{package} is not in the extra {extra}"


def hide(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Make Python believe that a module is not installed, until the test's end."""
    for name in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize(
    ("module", "package", "extra", "command"),
    [
        ("matplotlib", "matplotlib", "plot", "bench --curve --plot x.svg"),
        ("matplotlib", "matplotlib", "plot", "load http://127.0.0.1:9 --page x.html"),
        ("matplotlib", "matplotlib", "plot", "train curves run -o x.png"),
        ("matplotlib", "matplotlib", "plot", "train study context . --model speech --plot x.png"),
        ("matplotlib", "matplotlib", "demo", "demo"),
        ("whispergpt_client", "whispergpt-client", "demo", "demo"),
        ("whispergpt_client", "whispergpt-client", "play", f"continue {SPEECH} --play"),
        ("sounddevice", "sounddevice", "play", f"continue {SPEECH} --play"),
        ("huggingface_hub", "huggingface_hub", "hub", "eval . --model hf://me/voice"),
        ("huggingface_hub", "huggingface_hub", "hub", "serve --model hf://me/voice"),
        ("huggingface_hub", "huggingface_hub", "hub", "train push speech me/voice"),
        ("tensorboard", "tensorboard", "tensorboard", "train codec . -o run --tensorboard boards"),
    ],
)
def test_a_command_names_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    module: str,
    package: str,
    extra: str,
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    hide(monkeypatch, module)
    assert run_main(*command.split()) == 2
    check_sentence(one_line(capsys), package, extra)


def test_the_client_can_come_from_an_index_or_from_a_clone() -> None:
    said = missing_package("The demonstration", "whispergpt-client", "demo")
    assert said.endswith("pip install 'whispergpt[demo]' (in a clone: pip install ./clients/python '.[demo]').")
    assert CLIENT["name"] == "whispergpt-client" and "whispergpt_client" in CLIENT["scripts"]["whispergpt-client"]


def test_the_simulation_names_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hide(monkeypatch, "matplotlib")
    with pytest.raises(SystemExit) as ended:
        simulate(["--plot", str(tmp_path / "x.svg")])
    assert ended.value.code == 2
    check_sentence(capsys.readouterr().err.splitlines()[-1], "matplotlib", "plot")


@pytest.mark.parametrize(("package", "module"), PACKAGES.items())
def test_tracing_names_what_it_lacks(monkeypatch: pytest.MonkeyPatch, package: str, module: str) -> None:
    """Ray brings OpenTelemetry without this exporter, so each part is looked for by itself."""
    hide(monkeypatch, module)
    with pytest.raises(TracingError) as said:
        Tracing(on=True)
    check_sentence(str(said.value), package, "tracing")
    Tracing(on=False)


@pytest.mark.parametrize(
    ("module", "package"),
    [("music21", "music21"), ("mido", "mido"), ("kokoro_onnx", "kokoro-onnx"), ("onnx", "onnx"), ("rdata", "rdata")],
)
def test_recipes_name_what_they_lack(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    hide(monkeypatch, module)
    with pytest.raises(MissingPackageError) as said:
        recipes.library(module)
    check_sentence(str(said.value), package, "recipes")


def test_the_scores_name_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "music21")
    with pytest.raises(MissingPackageError) as said:
        bach_folder()
    check_sentence(str(said.value), "music21", "recipes")


@pytest.mark.parametrize("module", sorted(measuring.DISTRIBUTIONS.keys() - {"ai_edge_litert"}))
def test_measures_name_what_they_lack(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    hide(monkeypatch, module)
    with pytest.raises(measuring.MissingError) as said:
        measuring.need(module, "The measure")
    check_sentence(str(said.value), measuring.DISTRIBUTIONS[module], "measures")


@pytest.mark.parametrize("peer", PEERS)
def test_each_peer_says_how_to_get_it(peer: str) -> None:
    said = how_to_get(peer)
    assert said.startswith("pip install ") and said.endswith("in a clone, `make peers` installs what the peers need")
    pinned = set(re.findall(r"\S+==\S+?(?=;|\s|$)", said))
    makefile, extras = (ROOT / "Makefile").read_text(), PROJECT["optional-dependencies"]
    assert all(each in makefile or each in extras["encodec"] for each in pinned), pinned


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.inside", "json.no_such_module"])
def test_a_module_is_looked_for_without_an_error_of_its_own(module: str) -> None:
    with pytest.raises(MissingPackageError, match=f"^It needs the package {module}, which is not installed: "):
        require_package(module, "It", "plot")
    require_package("json.decoder", "It", "plot")


def test_every_extra_that_is_named_exists() -> None:
    """In the code and in the documentation, wherever ``whispergpt[…]`` or ``'.[…]'`` is written."""
    extras = PROJECT["optional-dependencies"].keys()
    folders = ("engine", "server", "cli", "training", "benchmarks", "load", "deploy", "docs")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if file.suffix in (".py", ".md")]
    named: Callable[[str], list[str]] = re.compile(r"(?:whispergpt|'\.)\[([a-z,]+)\]").findall
    for file in [*files, ROOT / "README.md", ROOT / "pyproject.toml", ROOT / "Makefile"]:
        for each in named(file.read_text()):
            assert extras >= set(each.split(",")), f"{file}: {each}"
