"""Memory that a CPU program keeps instead of giving it back: feature maps of the next layer need it at once.

glibc returns free memory at the end of its heap to the system and faults it in again, page by page, for the next layer:
up to a quarter of the time of a forward pass at 512 x 512 px, and, depending on their block sizes, more for one network
than for another. A GPU's allocator caches in the same way.
"""

from __future__ import annotations

import ctypes

CHANGES_NO_RESULT = True

_M_TRIM_THRESHOLD, _KEPT = -1, 512 * 2**20
_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP = -3, 32 * 2**20
"""glibc takes no larger threshold; blocks beyond it are mapped by themselves and given back, so nothing piles up."""


def keep_freed_memory() -> bool:
    """Let this process keep up to 512 MB of freed memory for reuse; for a program's start, not for a library to call.

    Returns:
        Whether the C library could be told; only glibc can.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP) and mallopt(_M_TRIM_THRESHOLD, _KEPT))
