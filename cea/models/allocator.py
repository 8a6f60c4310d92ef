"""Memory that a CPU program keeps instead of giving it back: feature maps of the next layer need it at once.

glibc returns large blocks to the system as soon as they are free and faults them in again, page by page, for the next
layer: a sixth to a fifth of the time of a forward pass at 512 x 512 px, and more for one network than for another by
the luck of their block sizes. A GPU's allocator caches in the same way.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for reuse; for a program's start, not for a library to call.

    Returns:
        Whether the C library could be told; only glibc can.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
