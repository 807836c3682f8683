"""Kernels that an installation brings along: which are used, which are not trusted, and where they run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.kernels import kernels_expected
from whispergpt.engine.native import prebuilt
from whispergpt.engine.native.builds import NativeError, file_name
from whispergpt.engine.native.library import processor_targets
from whispergpt.engine.native.prebuilt import CHECKSUMS, build_missing, platform_tag, prebuilt_library
from whispergpt.engine.native.targets import Target

needs_kernels = pytest.mark.skipif(not kernels_expected(), reason="no compiler here, or no kernels for this processor")


@pytest.fixture(scope="module")
def target() -> Target:
    return processor_targets()[-1]


@pytest.fixture
def folder(target: Target, tmp_path: Path, shared: Path) -> Path:
    """A folder with the kernels for one target."""
    return shutil.copytree(shared, tmp_path / "built")


@pytest.fixture(scope="module")
def shared(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of this installation, or compiled now."""
    place = tmp_path_factory.mktemp("shared") / "built"
    if prebuilt.FOLDER.exists():
        shutil.copytree(prebuilt.FOLDER, place)
    assert build_missing(place, [target]) == []
    return place


@needs_kernels
def test_the_checksums_are_those_of_the_kernels_alone(folder: Path, target: Target) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([file_name(target), CHECKSUMS])
    subprocess.run(["sha256sum", "--check", "--quiet", CHECKSUMS], cwd=folder, check=True)
    assert prebuilt_library(target, folder) == folder / file_name(target)
    made = (folder / file_name(target)).stat().st_mtime_ns
    assert build_missing(folder, [target]) == []
    assert (folder / file_name(target)).stat().st_mtime_ns == made, "compiled again"


@needs_kernels
def test_a_damaged_library_is_neither_loaded_nor_kept(
    folder: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / file_name(target)
    path.write_bytes(path.read_bytes()[:-4096])  # loading it would kill the process
    with pytest.raises(NativeError, match=f"{re.escape(str(path))} is damaged"):
        prebuilt_library(target, folder)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build_missing(folder, [target]) == ["there is no C++ compiler (no-such-compiler)"]
    assert prebuilt_library(target, folder) is None


@needs_kernels
def test_kernels_without_a_checksum_are_not_trusted(folder: Path, target: Target) -> None:
    (folder / CHECKSUMS).unlink()
    with pytest.raises(NativeError, match=rf"{CHECKSUMS} cannot be read \(No such file"):
        prebuilt_library(target, folder)


@needs_kernels
def test_kernels_of_other_sources_are_not_used(folder: Path, target: Target) -> None:
    outdated = folder / file_name(target).replace("-", "-other-", 1)
    shutil.copy(folder / file_name(target), outdated)
    assert build_missing(folder, [target]) == []
    assert not outdated.exists() and outdated.name not in (folder / CHECKSUMS).read_text()


@needs_kernels
def test_the_platform_is_that_of_the_symbols(folder: Path, target: Target) -> None:
    """Kernels load on every system that PyTorch's wheels are for."""
    assert re.fullmatch(r"manylinux_2_(1[7-9]|2[0-8])_\w+", platform_tag([folder / file_name(target)]) or "")
    listed = subprocess.run(["ldd", folder / file_name(target)], capture_output=True, text=True, check=True).stdout
    newer = re.search(r"libstdc\+\+\.so\.6 => (\S+)", listed)
    assert newer is not None and platform_tag([Path(newer[1])]) is None


def names(capability: str, *features: str) -> list[str]:
    return [target.name for target in processor_targets(capability, frozenset(features))]


def test_a_processor_takes_what_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert names("AVX512", "avx512_bf16") == ["x86-64-v4-bf16", "x86-64-v4", "x86-64-v3"]
    assert names("AVX512") == ["x86-64-v4", "x86-64-v3"]
    assert names("AVX2", "avx512_bf16") == ["x86-64-v3"], "torch was told to do without AVX-512"
    with pytest.raises(NativeError, match=r"no kernels for this processor \(x86_64, DEFAULT\)"):
        names("DEFAULT")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert names("DEFAULT", "bf16") == ["aarch64-bf16", "aarch64"]
    assert names("SVE256") == ["aarch64"]
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(NativeError, match="riscv64"):
        names("DEFAULT")
