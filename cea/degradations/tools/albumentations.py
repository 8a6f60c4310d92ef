"""Our degradations inside an albumentations pipeline.

::

    from cea.degradations.tools.albumentations import Degrade

    pipeline = A.Compose([A.RandomCrop(128, 128), Degrade({"haze": {}, "noise": {"sigma_255": [5, 25]}}, p=0.8)])
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from cea.config import parse
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import NodeOrder, RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import render
from cea.degradations.engine.shipped import find
from cea.degradations.families.albumentations import library
from cea.extras import require
from cea.levels import from_codes
from cea.rng import SampleKey
from cea.types import Image

require("albumentations", "cea.degradations.Degrade")
_A = library()


class Degrade(_A.ImageOnlyTransform):  # type: ignore[name-defined,misc]
    """A recipe as one transform.

    Args:
        nodes: label -> settings, as under ``nodes`` of a recipe in params.yaml; or the name of a shipped one, such as
            ``cdd11/low_haze_rain``, which brings its order and bounds.
        order: ``physical``, ``cdd11`` or ``listed``; of a shipped recipe its own.
        nonuniform: whether smooth fields drive the strengths.
        input_psnr: bounds in dB on the degraded image against the clean one, or None; draws outside are drawn again.
        p: probability of being applied.

    Takes (H, W, 3) RGB, uint8 or float32 in [0, 1]; depth and light are procedural. Its draws come from the seed that
    albumentations hands out, mixed with the recipe, so that two of them in one seeded ``Compose`` differ. The record of
    the last call is in ``params["record"]`` as JSON.
    """

    class InitSchema(_A.core.transforms_interface.BaseTransformInitSchema):  # type: ignore[name-defined,misc]
        """What albumentations validates."""

        nodes: dict[str, Any] | str
        order: str
        nonuniform: bool
        input_psnr: tuple[float, float] | None

    def __init__(
        self,
        nodes: Mapping[str, Any] | str,
        order: NodeOrder = "physical",
        nonuniform: bool = False,
        input_psnr: tuple[float, float] | None = None,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.nodes = nodes if isinstance(nodes, str) else dict(nodes)
        self.order, self.nonuniform, self.input_psnr = order, nonuniform, input_psnr
        if isinstance(nodes, str):
            _, self._recipe = find(nodes)
            if input_psnr is not None:
                settings = {**self._recipe.model_dump(), "input_psnr": input_psnr}
                self._recipe = parse(RecipeConfig, settings, "Degrade")
        else:
            settings = {"nodes": self.nodes, "order": order, "input_psnr": input_psnr}
            self._recipe = parse(RecipeConfig, settings, "Degrade")

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw a record; the image itself is looked at only where ``input_psnr`` bounds the draws."""
        spelled = json.dumps([self.nodes, self.order], sort_keys=True)
        key = SampleKey(int(self.random_generator.integers(1 << 63)), spelled, "degrade", 0)
        record = draw(
            "degrade",
            self._recipe,
            key,
            clean_id="image",
            split="train",
            crop=None,
            nonuniform=self.nonuniform,
            clean=lambda: data["image"],
        )
        return {"record": record.model_dump_json()}

    def apply(self, img: Image, record: str, **_: Any) -> Image:
        """Render the record."""
        degraded = render(Record.model_validate_json(record), img).degraded
        return degraded if img.dtype == np.uint8 else from_codes(degraded)
