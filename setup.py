"""The engine's pixel loops and the training's block as plain libraries that ctypes loads; the rest: pyproject.toml.

Optional: without a C compiler the package installs all the same. NumPy and OpenCV give the pixel loops' bits, and
PyTorch the block's results but for the last bits.

The libraries use nothing of Python's, so one wheel serves every Python 3 of a platform: py3-none-PLATFORM, or
py3-none-any where no compiler was at hand.
"""

from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-g0", "-std=c11", "-fno-math-errno", "-fno-trapping-math"]
# No flag may change what a float operation gives. They come first: "-fno-fast-math" takes back what follows in FLAGS.
EXACT = ["-ffp-contract=off", "-fno-fast-math"]
FUSED = ["-ffp-contract=fast", "-Wno-psabi"]


def library(source: str, flags: list[str], *includes: str) -> Extension:
    """One that knows what it was built from: the text of ``source`` and of the files beside it that it includes."""
    texts = [
        Path(__file__).parent / source,
        *(Path(__file__).parent / source.replace("kernels.c", it) for it in includes),
    ]
    built_from = sha256(b"".join(text.read_bytes() for text in texts)).hexdigest()
    return Extension(
        source.removesuffix(".c").replace("/", "."),
        [source],
        depends=[str(text) for text in texts],
        define_macros=[("SOURCE_SHA256", f'"{built_from}"')],
        extra_compile_args=[*flags, *FLAGS],
        optional=True,
    )


def built(folder: str) -> list[Path]:
    """The libraries below ``folder``, under whatever tag of Python's they were built."""
    found = Path(folder, "cea").rglob("kernels.*")
    return [path for path in found if path.name.endswith(tuple(EXTENSION_SUFFIXES))]


class PlainLibrary(build_ext):
    """``kernels.so``, without the tag of the Python that happened to build it."""

    def get_ext_filename(self, fullname: str) -> str:
        """The path of the library in the package."""
        return str(Path(*fullname.split("."))) + EXTENSION_SUFFIXES[-1]

    def run(self) -> None:
        """Build, with nothing left of an earlier build."""
        for left in built(self.build_lib):  # would enter the wheel
            left.unlink()
        super().run()


class AnyPython(bdist_wheel):
    """A wheel for every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Of Python, its binary interface, and the platform."""
        self.root_is_pure = not built(self.bdist_dir)
        return ("py3", "none", super().get_tag()[2])


loops = library("cea/degradations/exact/kernels.c", EXACT)
block = library("cea/models/fused/kernels.c", FUSED, "block.h")
setup(ext_modules=[loops, block], cmdclass={"build_ext": PlainLibrary, "bdist_wheel": AnyPython})
