"""One parameter of a family driven over the image, whatever the family: a few levels of it, interpolated.

Between two levels the image is a linear mixture of what both give; noise, streaks and flakes are the same in all
levels, because they come from the node's stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from cea.degradations.contract.base import Applied, Context, Degradation, Params
from cea.degradations.contract.strength import between
from cea.errors import RecordError
from cea.types import ImageF

_LEVELS = 5


def apply_driven(
    family: Degradation[Any, Any], image: ImageF, params: Params, context: Context, parameter: str
) -> Applied:
    """``family.apply`` with ``parameter`` times ``context.strength`` in each pixel instead of the whole strength.

    Args:
        family: any family.
        image: (H, W, 3) float32.
        params: its drawn numbers.
        context: its strength map is the factor on the parameter.
        parameter: a number or list of numbers in ``params``.

    Raises:
        RecordError: ``params`` has no such number.
    """
    assert context.strength is not None
    least, most = float(context.strength.min()), float(context.strength.max())
    whole = replace(context, strength=None)
    if most - least < 1e-6:
        return family.apply(image, scaled(params, parameter, least), whole)
    factors = [least + (most - least) * level / (_LEVELS - 1) for level in range(_LEVELS)]
    position = (context.strength - np.float32(least)) * np.float32((_LEVELS - 1) / (most - least))
    levels = [family.apply(image, scaled(params, parameter, factor), whole) for factor in factors]
    common = set.intersection(*(set(applied.labels) for applied in levels))

    def mixed(values: Callable[[Applied], NDArray[Any]]) -> Any:
        return between([partial(values, applied) for applied in levels], position)

    return Applied(
        mixed(lambda applied: applied.image),
        mixed(lambda applied: applied.severity),
        {name: mixed(partial(_label, name)) for name in sorted(common)},
    )


def _label(name: str, applied: Applied) -> NDArray[Any]:
    return applied.labels[name]


def scaled(params: Params, parameter: str, factor: float) -> Params:
    """``params`` with ``parameter`` times ``factor``."""
    value = getattr(params, parameter, None)
    if isinstance(value, float):
        return params.model_copy(update={parameter: value * factor})
    if isinstance(value, list) and all(isinstance(each, float) for each in value):
        return params.model_copy(update={parameter: [each * factor for each in value]})
    raise RecordError(
        f"a field drives {parameter!r}",
        expected=f"one of {', '.join(drivable(type(params)))}",
        remedy="draw the records again with one of them, or without `parameter`",
    )


def drivable(kind: type[Params]) -> list[str]:
    """Names of the numbers of a family that a field may drive."""
    return [name for name, field in kind.model_fields.items() if _plain(field.annotation) in (float, list[float])]


def _plain(annotation: Any) -> Any:
    """A type without its bounds."""
    if get_origin(annotation) is list:
        return list[_plain(get_args(annotation)[0])]  # type: ignore[misc]
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
