"""The wheel: what is in it, every command of an installation that has nothing but the wheel, and the README's commands
in a clone beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from tests.support.audio import HOP, SAMPLE_RATE
from tests.support.kernels import kernels_expected
from tests.support.tools import require_tool
from whispergpt.cli.main import COMMANDS
from whispergpt.engine.native import prebuilt
from whispergpt.engine.native.library import processor_targets
from whispergpt.server.ready_line import wait_until_ready

ROOT = Path(__file__).resolve().parents[2]
DATA = {
    "engine": ("models", "native/src"),
    "server": ("static",),
    "training": ("recipes",),
    "benchmarks": ("simulation",),
    "deploy": ("ray",),
    "examples": ("",),
}
"""Folders of which every tracked file is in the wheel, by the package that has them."""

IN_ONE_PROCESS = """
import contextlib, io, json, sys
from whispergpt.cli.main import main
printed = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main(arguments)
        except SystemExit as ended:
            assert not ended.code, (arguments, ended.code)
    printed.append(out.getvalue())
print(json.dumps(printed))
"""
"""Program that runs the commands in its argument, lists of words, and prints a list of their outputs."""


def tracked(*folders: str) -> list[str]:
    """Files that git knows, as paths from the root."""
    done = subprocess.run(
        [require_tool("git"), "ls-files", "-z", "--", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in done.stdout.split("\0") if name]


def copy_tracked(folder: Path) -> None:
    """Copy the tracked files alone, so that a file which nobody added cannot hide a fault. Links stay links."""
    for name in tracked():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def build(source: Path, out: Path) -> Path:
    """Build the wheel of a folder, without a network."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-build-isolation", "--wheel-dir", str(out), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob(f"{'whispergpt_client' if source.name == 'python' else 'whispergpt'}-*.whl")
    return wheel


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheels alone, and a folder that is not the repository."""

    python: Path
    folder: Path
    clone: Path
    """The repository that it was built from."""
    wheel: Path
    names: frozenset[str]
    """Files in the wheel."""
    status: str
    """What git says of the clone that it was built in."""

    @property
    def command(self) -> Path:
        return self.python.with_name("whispergpt")

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return kept | {"PATH": f"{self.python.parent}:{kept['PATH']}"}

    @property
    def without_compiler(self) -> dict[str, str]:
        """Environment in which no compiler is found, nor kernels that one has built before."""
        kept = {name: value for name, value in self.environment.items() if name != "CXX"}
        return kept | {"PATH": str(self.python.parent), "WHISPERGPT_CACHE": str(self.folder / "cache")}

    def run(self, *arguments: object) -> str:
        """Run ``whispergpt`` with these arguments and return what it printed."""
        return self.call(self.command, *arguments)

    def run_all(self, *commands: tuple[object, ...]) -> list[str]:
        """Run commands in one process, because importing torch takes seconds, and return what each printed."""
        given = json.dumps([list(map(str, arguments)) for arguments in commands])
        return list(json.loads(self.call(self.python, "-c", IN_ONE_PROCESS, given)))

    def call(self, *command: object) -> str:
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("wheel")
    clone, out, away = base / "clone", base / "out", base / "away"
    clone.mkdir()
    away.mkdir()
    copy_tracked(clone)
    if prebuilt.FOLDER.exists():  # kernels of the same sources are not compiled again
        shutil.copytree(prebuilt.FOLDER, clone / "engine/native/built")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-c", "core.excludesFile=", "-C", str(clone)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x", "--no-verify"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    wheels = [build(clone, out), build(clone / "clients/python", out)]
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    place = base / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    # Dependencies are seen where they are installed already. A .pth file adds that folder, and Python does not read the
    # folder's own .pth files, such as that of an editable installation of this repository.
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--ignore-installed", *wheels],
        check=True,
        capture_output=True,
        text=True,
    )
    with zipfile.ZipFile(wheels[0]) as archive:
        names = frozenset(archive.namelist())
    return Installed(python, away, clone, wheels[0], names, status)


@pytest.fixture(scope="module")
def url(installed: Installed) -> Iterator[str]:
    """A server of the installed package."""
    process = subprocess.Popen(
        [installed.command, "serve", "--port", "0", "--model", "speech"],
        cwd=installed.folder,
        env=installed.without_compiler,
        stdout=subprocess.PIPE,
        stderr=(installed.folder / "log").open("w"),
        text=True,
    )
    try:
        assert process.stdout is not None
        yield wait_until_ready(process.stdout, 180)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_the_wheel_adds_one_name(installed: Installed) -> None:
    tops = {name.partition("/")[0] for name in installed.names}
    (metadata,) = tops - {"whispergpt"}
    assert metadata.startswith("whispergpt-") and metadata.endswith(".dist-info")


def test_the_wheel_has_all_modules_and_data(installed: Installed) -> None:
    packages = ("engine", "server", "cli", "training", "benchmarks", "load", "deploy")
    wanted = {f"whispergpt/{name}" for name in tracked(*packages) if name.endswith(".py")}
    for package, folders in DATA.items():
        for folder in folders:
            wanted |= {f"whispergpt/{name}" for name in tracked(f"{package}/{folder}".rstrip("/"))}
    # These run in a clone or inside the image alone, from folders that are no packages.
    wanted -= {name for name in wanted if name.startswith("whispergpt/deploy/image/")}
    assert wanted <= installed.names, sorted(wanted - installed.names)
    named = ("engine/models/", "engine/native/src/", "server/static/", "examples/prompt.flac", "deploy/ray/serve.yaml")
    for name in named:
        assert any(each.startswith(f"whispergpt/{name}") for each in installed.names), name
    assert "whispergpt/py.typed" in installed.names and "whispergpt/__main__.py" in installed.names


needs_kernels = pytest.mark.skipif(not kernels_expected(), reason="no compiler here, or no kernels for this processor")


@needs_kernels
def test_the_wheel_has_kernels_for_each_processor(installed: Installed) -> None:
    names = {f"whispergpt/engine/native/built/{prebuilt.file_name(target)}" for target in prebuilt.targets_here()}
    assert names < installed.names
    assert re.search(r"-py3-none-manylinux_2_\d+_\w+\.whl$", installed.wheel.name)
    with zipfile.ZipFile(installed.wheel) as archive:
        assert sum(archive.getinfo(name).file_size for name in names) < 5_000_000


def test_without_a_compiler_the_wheel_is_pure(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = shutil.ignore_patterns("models", "built", "build", ".git", "*.egg-info")
    clone = shutil.copytree(installed.clone, tmp_path / "clone", symlinks=True, ignore=large)
    monkeypatch.setenv("CXX", "no-such-compiler")
    wheel = build(clone, tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "/built/" in name]


@needs_kernels
def test_a_server_without_a_compiler_has_them(installed: Installed, url: str) -> None:
    (ready,) = [line for line in (installed.folder / "log").read_text().splitlines() if "engine ready" in line]
    assert f"native-{processor_targets()[0].name}-" in ready and "(prebuilt)" in ready


@needs_kernels
def test_damaged_kernels_are_done_without(installed: Installed) -> None:
    """The next best ones run, and two sentences say why."""
    (folder,) = installed.python.parents[1].glob("lib/python*/site-packages/whispergpt/engine/native/built")
    targets = processor_targets()
    path = folder / prebuilt.file_name(targets[0])
    whole = path.read_bytes()
    path.unlink()  # the server of other tests has it mapped
    path.write_bytes(whole[:-4096])
    try:
        done = subprocess.run(
            [installed.command, "continue", ROOT / "examples/prompt.flac", "-o", "plain.wav", "--seconds", "1"],
            cwd=installed.folder,
            env=installed.without_compiler,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        path.write_bytes(whole)
    assert done.returncode == 0, done.stderr
    assert f"The prebuilt kernels for {targets[0].name} are not used: {path} is damaged" in done.stderr
    assert "there is no C++ compiler" in done.stderr
    if len(targets) > 1:
        assert f"The kernels for {targets[1].name} are used, since faster ones are not" in done.stderr


def test_building_leaves_nothing_untracked(installed: Installed) -> None:
    assert installed.status == ""


def test_what_is_imported_is_the_wheel(installed: Installed) -> None:
    said = installed.call(
        installed.python,
        "-c",
        "import whispergpt, whispergpt_client; from whispergpt import Engine; import sys, torch;"
        "print(whispergpt.__file__, whispergpt_client.__file__, sys.modules[Engine.__module__].__file__, sep='\\n')",
    )
    for line in said.splitlines():
        assert line.startswith(str(installed.python.parents[1])), line


def test_every_command_says_its_options(installed: Installed) -> None:
    said = installed.call(installed.python, "-m", "whispergpt", "--help")
    assert all(f"\n  {name}" in said for name in COMMANDS)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert installed.run("--version") == f"whispergpt {version}\n"
    helps = installed.run_all(*((name, "--help") for name in COMMANDS))
    assert all(f"Usage: whispergpt {name} " in said for name, said in zip(COMMANDS, helps, strict=True))


def test_the_commands_for_files(installed: Installed) -> None:
    (example,) = installed.python.parents[1].glob("lib/python*/site-packages/whispergpt/examples/prompt.flac")
    audio = installed.folder / "audio"
    audio.mkdir()
    shutil.copy(example, audio)
    assert installed.run("keys", "make", "me", "--file", "keys.toml").strip()
    names, models, _, _, _, scores, keys = installed.run_all(
        ("models",),
        ("models", "--json"),
        ("continue", example, "-o", "more.wav", "--seconds", 1, "--seed", 1),
        ("verify", "more.wav", "--prompt", example),
        ("codec", example, "-o", "back.wav"),
        ("eval", audio, "--model", "speech", "--json"),
        ("keys", "list", "--file", "keys.toml"),
    )
    assert "speech" in names and "piano" in models and "nll" in scores and "me" in keys
    assert soundfile.info(installed.folder / "more.wav").frames == 75 * HOP
    assert (installed.folder / "back.wav").stat().st_size > 44


def test_a_server_and_its_listeners(installed: Installed, url: str) -> None:
    report = installed.run("load", url, "--streams", 1, "--stay", "--duration", 1, "--seconds", 1, "--json")
    assert '"completed": 1' in report, report
    assert '"prompt": ["prompt.flac"]' in report


ELSEWHERE = re.compile(r"make |source |pip install |docker |whispergpt serve\b")
"""Lines of the README that other tests run: installations, images, and servers that would not end."""


def readme_lines() -> list[str]:
    """Return each command of the README's shell examples, made short."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    short = [re.sub(r"((?:seconds|duration)[= ])\d+", r"\g<1>1", line) for line in lines]
    short = [line.replace("--duration 1", "--duration 1 --stay") for line in short]  # listeners come at once
    return [line for line in short if line and not ELSEWHERE.match(line)]


def test_the_commands_of_the_readme(installed: Installed, url: str) -> None:
    """In a clone, they work one after the other, and leave nothing behind that git would call untracked."""
    environment = {**installed.environment, "SDL_AUDIODRIVER": "dummy"}
    lines = readme_lines()
    assert len(lines) > 5
    for line in lines:
        if shutil.which("ffplay") is None:
            line = line.partition("| ffplay")[0]
        command = ["bash", "-euo", "pipefail", "-c", line.replace("http://127.0.0.1:8000", url)]
        done = subprocess.run(
            command, cwd=installed.clone, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    git = ["git", "-c", "core.excludesFile=", "status", "--porcelain"]
    assert subprocess.run(git, cwd=installed.clone, capture_output=True, text=True, check=True).stdout == ""


def test_the_demonstration(installed: Installed) -> None:
    said = installed.run("demo", "--seconds", 1, "--picture", "shown.png")
    for words in ("sending prompt.flac over the WebSocket", "time to first audio", "real-time factor"):
        assert words in said
    info = soundfile.info(installed.folder / "demo.wav")
    assert (info.samplerate, info.channels, info.frames) == (SAMPLE_RATE, 1, (4 * 75 + 75) * HOP)
    installed.run("verify", "demo.wav", "--prompt", ROOT / "examples" / "prompt.flac")
    assert (installed.folder / "shown.png").read_bytes().startswith(b"\x89PNG")
