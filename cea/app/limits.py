"""What the page takes: how large a file, how many pixels."""

from __future__ import annotations

from dataclasses import dataclass

from cea.errors import ImageError
from cea.io.images import read_photo
from cea.io.limits import LIMIT
from cea.io.photo import Photo

LARGEST_MEGABYTES = 50
LARGEST_MEGAPIXELS = 24


@dataclass(frozen=True)
class Limits:
    """The largest photograph.

    Attributes:
        megabytes: of the file, 10^6 bytes.
        megapixels: of the picture, 10^6.
    """

    megabytes: int = LARGEST_MEGABYTES
    megapixels: int = LARGEST_MEGAPIXELS

    @property
    def size(self) -> int:
        """The most bytes of a file."""
        return self.megabytes * 10**6

    def check_size(self, size: int, name: str) -> None:
        """Refuse a file of more bytes.

        Raises:
            ImageError: naming it.
        """
        if size > self.size:
            raise ImageError(
                f"{name}: {size / 1e6:.1f} megabytes",
                expected=f"at most {self.megabytes}",
                remedy="restore it on the command line: cea restore",
            )

    def read(self, data: bytes, name: str) -> Photo:
        """The photograph in the bytes of a file.

        Raises:
            ImageError: it cannot be read, or is too large.
        """
        self.check_size(len(data), name)
        try:
            photo = read_photo(data, name)
        except ImageError as error:
            if LIMIT not in error.remedy:  # the reader's own limit, which `cea app` lowers to this one
                raise
            raise self._too_large(error.what.partition(" by its header")[0]) from error
        height, width = photo.rgb.shape[:2]
        if width * height > self.megapixels * 10**6:
            raise self._too_large(f"{name}: {width}x{height} pixels")
        return photo

    def _too_large(self, what: str) -> ImageError:
        return ImageError(
            what,
            expected=f"at most {self.megapixels} megapixels on this page",
            remedy="restore it on the command line: cea restore",
        )
