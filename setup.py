"""The engine's pixel loops and the training's block as plain libraries that ctypes loads; the rest: pyproject.toml.

Optional: without a C compiler the package installs all the same. NumPy and OpenCV give the pixel loops' bits, and
PyTorch the block's results but for the last bits.
"""

from hashlib import sha256
from pathlib import Path

from setuptools import Extension, setup

FLAGS = ["-O3", "-g0", "-std=c11", "-fno-math-errno", "-fno-trapping-math"]
# No flag may change what a float operation gives.
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
        extra_compile_args=[*FLAGS, *flags],
        optional=True,
    )


loops = library("cea/degradations/exact/kernels.c", EXACT)
block = library("cea/models/fused/kernels.c", FUSED, "block.h")
setup(ext_modules=[loops, block])
