"""A sample rendered from its record and clean tile while it is read (``shard.store: records``).

What comes out has the digests that were taken when the shard was made, or it is an error: a change in the engine or in
this file gives no other pixels, so neither is in the listings of the stages that read shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cea.data.clean import as_depth
from cea.data.records import to_record
from cea.data.shards import corrupt, read_image, read_part
from cea.data.summary import LOCAL, Place
from cea.degradations.engine.render import Tile, render_tile
from cea.errors import DataError, RecordError
from cea.io.images import pixel_sha256
from cea.levels import to_codes
from cea.types import ImageU8

CHANGES_NO_RESULT = True


def render_sample(
    folder: Path, row: Mapping[str, Any], place: Place = LOCAL
) -> tuple[ImageU8, ImageU8, NDArray[np.uint8]]:
    """Clean, degraded and severity maps of the sample that ``row`` of an index of records describes.

    Returns:
        (H, W, 3) uint8 twice, and (K, H, W) uint8.

    Raises:
        DataError: a tar is missing or damaged, or the engine makes other pixels than when the shard was made.
    """
    data = read_part(folder, row, "record", place)
    if hashlib.sha256(data).hexdigest() != row["record_sha256"]:
        raise corrupt(folder, row, "record")
    record = to_record(json.loads(data))
    clean = read_image(folder, row, "clean", place)
    depth = as_depth(read_image(folder, row, "depth", place)) if row["depth_size"] else None
    top, left = record.crop[:2] if record.crop else (0, 0)
    tile = Tile(clean, top, left, row["frame_height"], row["frame_width"], depth)
    try:
        made = render_tile(record, tile)
    except RecordError as error:
        raise DataError(f"{folder / row['tar']}: {error.what}", expected=error.expected, remedy=error.remedy) from error
    bands = to_codes(made.severity)
    for what, pixels in (("degraded", made.degraded), ("severity", bands)):
        if pixel_sha256(pixels) != row[f"{what}_sha256"]:
            raise DataError(
                f"{folder / row['tar']}: the record of sample {row['sample_id']!r} renders another {what} image",
                expected="the pixels that it rendered when the shard was made",
                remedy="use the version of the program that made the shards, or make them again (dvc repro)",
            )
    return clean, made.degraded, bands
