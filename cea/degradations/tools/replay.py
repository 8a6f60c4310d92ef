"""A degradation again from its record: what ``cea degrade --record`` and the page of ``cea app`` write as JSON.

The page wraps the record, ``{"format": "cea-page-1", "degradation": <record>, "fields": {<label>: <PNG>}, ...}``,
because a field drawn by hand is no number: its 8-bit grey PNG goes along, in Base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from cea.degradations.engine.records import Record
from cea.degradations.engine.render import Rendered, render
from cea.degradations.exact.planes import as_rgb8
from cea.degradations.tools.files import Degraded, as_degraded
from cea.errors import InputError, RecordError, foreign
from cea.io.images import encode_png, pixel_sha256, read_photo
from cea.levels import to_uint8, unit_float
from cea.types import ImageU8, Map

FORMAT = "cea-page-1"

_LARGEST_BYTES = 64 << 20
"""Of a file with a record; a field of 512 pixels takes well below one megabyte."""

_EXPECTED = "a record as cea degrade --record or the page of cea app write it"


@dataclass(frozen=True)
class Replay:
    """What one sample was made with.

    Attributes:
        record: every drawn number.
        fields: (h, w) float32 in [0, 1] by label, for nodes whose field was drawn by hand.
    """

    record: Record
    fields: Mapping[str, Map] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Its part of the page's JSON; fields are kept in 8 bits, which those that were drawn by hand have."""
        pictures = {label: encode_png(to_uint8(values)) for label, values in self.fields.items()}
        return {
            "degradation": self.record.model_dump(mode="json"),
            "fields": {label: base64.b64encode(data).decode() for label, data in pictures.items()},
        }


def read_replay(path: Path) -> Replay:
    """The record in a JSON file, bare or as the page writes it.

    Raises:
        RecordError: it cannot be read, or holds no record.
    """
    with foreign(path, expected=_EXPECTED, kind=RecordError):
        if path.stat().st_size > _LARGEST_BYTES:
            raise RecordError(
                f"{path}: larger than {_LARGEST_BYTES >> 20} MiB",
                expected=_EXPECTED,
                remedy="name the JSON of --record",
            )
        told = json.loads(path.read_text(encoding="utf-8"))
    page = told if isinstance(told, dict) and "format" in told else {"format": FORMAT, "degradation": told}
    if page["format"] != FORMAT or not isinstance(page.get("degradation"), dict):
        what = "restored a photograph, and degraded none" if page["format"] == FORMAT else "holds no record"
        raise RecordError(f"{path}: {what}", expected=_EXPECTED, remedy="pass the JSON of a degraded picture")
    try:
        record = Record.model_validate_json(json.dumps(page["degradation"]))
        pictures = dict(page.get("fields") or {})
        return Replay(record, {str(label): _field(data) for label, data in pictures.items()})
    except InputError:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RecordError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}",
            expected=_EXPECTED,
            remedy="pass the JSON as it was written",
        ) from None
    except (ValueError, TypeError, binascii.Error):
        raise RecordError(
            f"{path}: its fields are damaged", expected="grey PNG in Base64", remedy="pass the JSON as it was written"
        ) from None


def _field(data: str) -> Map:
    return unit_float(read_photo(base64.b64decode(data, validate=True), "a field").rgb[..., 0])


def replay(source: Path, told: Replay, *, inverse_depth: Map | None = None, light: Map | None = None) -> Degraded:
    """Render ``told`` again for the clean photograph in ``source``: the same pixels, bit for bit.

    Raises:
        RecordError: another photograph than it was drawn for, or an engine whose pixels were others.
        ImageError: a photograph that cannot be read.
    """
    photo = read_photo(source)
    rendered = rendered_again(as_rgb8(photo.over_white()), told, str(source), inverse_depth=inverse_depth, light=light)
    return as_degraded(photo, told.record, rendered)


def rendered_again(
    clean: ImageU8, told: Replay, label: str, *, inverse_depth: Map | None = None, light: Map | None = None
) -> Rendered:
    """The pixels of ``told`` with all maps, from the clean ones it was drawn for; ``label`` names these in an error.

    Raises:
        RecordError: as `replay`.
    """
    digest = pixel_sha256(clean)
    if digest != told.record.clean_sha256:
        raise RecordError(
            f"{label}: pixels {digest[:12]}...",
            expected=f"those that the record was drawn for, {told.record.clean_sha256[:12]}...",
            remedy="pass the clean photograph itself, not a copy saved anew",
        )
    fields = {label: np.asarray(values, np.float32) for label, values in told.fields.items()}
    return render(told.record, clean, inverse_depth=inverse_depth, light=light, labels=True, fields=fields)
