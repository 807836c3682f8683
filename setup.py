"""The part of the build that pyproject.toml cannot say: kernels are compiled into wheels and editable installations.

With a C++ compiler the wheel has kernels for all processors of this machine's architecture, and a tag of the platform.
Without one it is pure Python: then the machine that serves compiles its kernels, or PyTorch computes instead.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar

from setuptools import Command, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # pip runs this file where only setuptools can be imported
from whispergpt.engine.native import prebuilt  # noqa: E402


class BuildKernels(Command):
    """Compile the kernels into the source folder, for editable installations, and copy them to the wheel."""

    description = "compile the kernels for the processors of this machine's architecture"
    user_options: ClassVar[list[tuple[str, str, str]]] = []
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.made: list[Path] = []

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        try:
            failures = prebuilt.build_missing()
        except OSError as error:
            failures = [f"{prebuilt.FOLDER} cannot be written ({error.strerror})"]
        for failure in failures:
            self.warn(f"some kernels are not prebuilt: {failure}")
        self.made = sorted(prebuilt.FOLDER.glob("*.so"))
        if self.build_lib is None or self.editable_mode:
            return
        place = Path(self.build_lib) / prebuilt.FOLDER.relative_to(ROOT)
        shutil.rmtree(place, ignore_errors=True)  # of an earlier build
        if self.made:
            place.mkdir(parents=True)
            for path in (*self.made, prebuilt.FOLDER / prebuilt.CHECKSUMS):
                shutil.copy(path, place)

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Wheel(bdist_wheel):
    """A wheel for any Python 3, and for one platform if it has kernels."""

    def run(self) -> None:
        self.run_command("build")
        self._kernels: list[Path] = self.get_finalized_command("build_kernels").made
        if self._kernels:
            self.root_is_pure = False
            self.distribution.has_ext_modules = lambda: True
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        if self.root_is_pure:
            return python, abi, platform
        return "py3", "none", prebuilt.platform_tag(self._kernels) or platform


class Build(build):
    sub_commands: ClassVar[list[tuple[str, Any]]] = [*build.sub_commands, ("build_kernels", None)]


setup(cmdclass={"build": Build, "build_kernels": BuildKernels, "bdist_wheel": Wheel})
