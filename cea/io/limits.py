"""What no reader takes: pictures too large to be true, and those that nothing says how to read."""

from __future__ import annotations

import os

_LARGEST_MEGAPIXELS = 250
"""Above this a header is taken for damaged or hostile, and nothing is allocated; `LIMIT` allows more."""

LIMIT = "CEA_LARGEST_MEGAPIXELS"
"""The variable of the environment that allows larger pictures: real panoramas."""


class RefusedError(Exception):
    """What cannot be read rightly, with what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def largest_pixels() -> int:
    """The most pixels that a picture may have to be read."""
    text = os.environ.get(LIMIT, "")
    return (int(text) if text.isdecimal() else _LARGEST_MEGAPIXELS) * 10**6


def check_size(width: int, height: int) -> None:
    """Refuse a picture whose header claims more pixels than are read.

    Raises:
        RefusedError: saying how to allow it.
    """
    most = largest_pixels()
    if width * height > most:
        raise RefusedError(
            f"{width}x{height} pixels by its header, and at most {most // 10**6} megapixels are read",
            f"set {LIMIT}={-(-width * height // 10**6)} if they are real",
        )
