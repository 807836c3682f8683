"""What the image is made of: files by their hashes, no compiler at the end, and a list of parts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from whispergpt.deploy.image.lock import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "image"
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def versions(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PINNED.findall(text)}


LOCKS = {path.stem: versions(path.read_text()) for path in FOLDER.glob("*.txt")}
LINUX = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "python_version": "3.11",
    "python_full_version": "3.11.0",
}
"""The base image, of any of its versions: some packages need others before 3.11.3."""


def needed_by(requirements: list[str]) -> set[str]:
    """Names of packages that these need, and those need in turn, by what is installed here."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(each), "") for each in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({**LINUX, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        for wanted in (*requirement.extras, ""):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                with suppress(PackageNotFoundError):  # it is only needed elsewhere
                    waiting += [(Requirement(each), wanted) for each in requires(name) or []]
    return found


@pytest.mark.parametrize("extras", [EXTRAS, (*EXTRAS, "ray")])
def test_the_image_has_all_that_the_package_needs(extras: tuple[str, ...]) -> None:
    """After a change of pyproject.toml or constraints.txt: ``make lock``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    installed = (
        LOCKS["requirements"] | LOCKS["requirements-cuda"] | (LOCKS["requirements-ray"] if "ray" in extras else {})
    )
    assert needed_by(direct) <= installed.keys()
    for each in map(Requirement, direct):
        name = canonicalize_name(each.name)
        if name in installed:
            assert each.specifier.contains(installed[name]), each


@pytest.mark.parametrize("name", LOCKS)
def test_each_file_has_its_hash_and_the_version_of_constraints(name: str) -> None:
    constraints = versions((ROOT / "constraints.txt").read_text())
    for requirement in re.split(r"\n(?=[^\s#])", (FOLDER / f"{name}.txt").read_text())[1:]:
        assert HASH.search(requirement), requirement
    for package, version in LOCKS[name].items():
        assert constraints.get(package, version) == version, f"{package}: make lock"
    if name != "requirements-cuda":  # CUDA's own packages come with torch, which names their versions
        assert LOCKS[name].keys() <= constraints.keys() | {"setuptools"}


def test_the_locks_have_nothing_twice() -> None:
    assert LOCKS.keys() == {"requirements", "requirements-cuda", "requirements-ray"}
    assert sum(map(len, LOCKS.values())) == len(set().union(*LOCKS.values()))


def stages() -> list[str]:
    return re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]


def test_the_last_stage_has_no_compiler_and_installs_nothing() -> None:
    """Except with CUDA, for Triton."""
    build, last = stages()
    last = re.sub(r'^RUN if \[ "\$ACCELERATOR" = cuda \]; then .*?\n    fi$', "", last, flags=re.MULTILINE | re.DOTALL)
    assert "g++" in build and "whispergpt.engine.native.prebuilt" in build
    for word in ("apt-get", "g++", "pip "):
        assert word not in last
    assert "COPY --from=build /opt/whispergpt /opt/whispergpt" in last and "USER whispergpt" in last


def test_installing_checks_hashes() -> None:
    build, _ = stages()
    installs = re.findall(r"pip install [^\\&;\n]+", build)
    assert len(installs) == 5
    by_hash = [each for each in installs if "--require-hashes --no-deps --only-binary :all:" in each]
    others = [each for each in installs if each not in by_hash]
    assert len(by_hash) == 2
    assert [each.split()[-1] for each in others] == ["torch.txt", ".", "torch"], (
        "torch for CPUs has an index of its own"
    )
    assert "--no-index" in others[1]


def test_the_base_can_be_named_by_its_digest() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE_IMAGE}", "${BASE_IMAGE}"]
    base = "python:3.11-slim-bookworm@sha256:" + "0" * 64
    command = ["make", "--dry-run", "image", f"BASE_IMAGE={base}", "BUILDER=builder"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"--build-arg BASE_IMAGE={base} " in done.stdout, done.stdout + done.stderr
    assert "deploy/image/sbom.py > build/sbom.json.partial" in done.stdout


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """What the program prints, as the image runs it: from standard input."""
    with (FOLDER / "sbom.py").open() as program:
        done = subprocess.run([sys.executable, "-"], stdin=program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_list_of_parts_has_python_and_debian_packages(parts: dict[str, Any]) -> None:
    assert (parts["bomFormat"], parts["specVersion"], parts["version"]) == ("CycloneDX", "1.6", 1)
    assert parts["metadata"]["component"]["type"] == "container"
    references = [part["bom-ref"] for part in parts["components"]]
    assert len(references) == len(set(references))
    named = {part["name"]: part for part in parts["components"]}
    for name in ("torch", "safetensors", "av", "uvicorn"):
        assert named[name]["purl"] == f"pkg:pypi/{name}@{named[name]['version'].replace('+', '%2B')}"
    assert named["CPython"]["version"] == ".".join(map(str, sys.version_info[:3]))
    if Path("/var/lib/dpkg/status").exists():
        assert named["libc6"]["purl"].startswith("pkg:deb/") and "/libc6@" in named["libc6"]["purl"]
    for part in parts["components"]:
        assert {"type", "bom-ref", "name", "version"} <= part.keys()
