"""Keeps OpenCV to code whose results do not depend on the CPU.

Intel's IPP, which OpenCV's wheels hand some calls to, picks code by the processor it finds, and its bilinear resize of
floats then differs in the last bit. OpenCV's own code does not, in what this package calls (tests/golden checks it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def portable() -> Iterator[None]:
    """Switch IPP off in this thread, and back to what it was; also a decorator: ``@portable()``."""
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
