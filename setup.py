"""The engine's pixel loops as a plain library that ctypes loads; all else is in pyproject.toml.

Optional: without a C compiler the package installs all the same, and NumPy and OpenCV give the same bits.
"""

from hashlib import sha256
from pathlib import Path

from setuptools import Extension, setup

SOURCE = "cea/degradations/exact/kernels.c"
# No flag may change what a float operation gives.
FLAGS = ["-O3", "-g0", "-std=c11", "-ffp-contract=off", "-fno-fast-math", "-fno-math-errno", "-fno-trapping-math"]

built_from = sha256((Path(__file__).parent / SOURCE).read_bytes()).hexdigest()
loops = Extension(
    "cea.degradations.exact.kernels",
    [SOURCE],
    define_macros=[("SOURCE_SHA256", f'"{built_from}"')],
    extra_compile_args=FLAGS,
    optional=True,
)
setup(ext_modules=[loops])
