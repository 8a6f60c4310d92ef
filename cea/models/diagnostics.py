"""Looking into the adapters: have the experts collapsed, do they depend on the image, where does each one act?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cea.models.adapters.cea import ContinuousExpertAssembly, Experts, as_tokens
from cea.models.network import RestorationNetwork
from cea.models.tensors import image_tensor
from cea.types import Image


def effective_rank(matrix: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of (..., r, C) (Roy & Vetterli, 2007), in [1, r].

    r for orthogonal rows of equal length, 1 where all rows are alike; 0 for a zero matrix.
    """
    values = torch.linalg.svdvals(matrix.double())
    total = values.sum(-1, keepdim=True)
    shares = values / total.clamp_min(torch.finfo(torch.float64).tiny)
    rank = torch.exp(-torch.special.xlogy(shares, shares).sum(-1))
    return torch.where(total[..., 0] > 0, rank, 0.0)


def varying_share(maps: Tensor) -> Tensor:
    """The share of the energy of (B, r, C) that is not in its mean over the batch: 0 = the same for every image."""
    varying = (maps - maps.mean(0)).double().square().sum()
    return varying / maps.double().square().sum().clamp_min(torch.finfo(torch.float64).tiny)


def adapter_statistics(model: RestorationNetwork, images: Iterable[Image]) -> dict[str, dict[str, float]]:
    """How the experts of each adapter stand, over some images.

    Args:
        model: a network; without CEA adapters the result is empty.
        images: (H, W, 3) each, uint8, uint16 or float in [0, 1]; sizes may differ.

    Returns:
        For each site, ``effective_rank_a`` and ``effective_rank_d`` (means over images), ``rank``, and
        ``varying_share_a``, the share of A's energy that varies across the images.
    """
    seen: dict[str, list[Experts]] = {}
    with _watching(model, lambda site, x, experts: seen.setdefault(site, []).append(experts)):
        _run(model, images)
    return {site: _statistics(experts) for site, experts in seen.items()}


def affinity_maps(model: RestorationNetwork, image: Image) -> dict[str, NDArray[np.float32]]:
    """Where each expert acts: the signed coefficients <x_n, a_k> (+ c_k) of every token, as maps.

    Args:
        model: a network.
        image: (H, W, 3), uint8, uint16 or float in [0, 1].

    Returns:
        For each site an array (r, h, w) at that site's own resolution, padding included: the image's height and
        width are rounded up to the network's size multiple, then divided by the site's stride.
    """
    maps: dict[str, NDArray[np.float32]] = {}
    adapters = model.backbone.adapters()

    def keep(site: str, x: Tensor, experts: Experts) -> None:
        adapter = adapters[site]
        assert isinstance(adapter, ContinuousExpertAssembly)
        coefficients = adapter.coefficients(as_tokens(x), experts)[0]
        maps[site] = coefficients.T.reshape(-1, *x.shape[-2:]).float().cpu().numpy()

    with _watching(model, keep):
        _run(model, [image])
    return maps


def _statistics(experts: list[Experts]) -> dict[str, float]:
    routing = torch.cat([expert.routing for expert in experts]).float()
    directions = torch.cat([expert.directions for expert in experts]).float()
    return {
        "effective_rank_a": float(effective_rank(routing).mean()),
        "effective_rank_d": float(effective_rank(directions).mean()),
        "rank": float(routing.shape[1]),
        "varying_share_a": float(varying_share(routing)),
    }


@contextmanager
def _watching(model: RestorationNetwork, see: Callable[[str, Tensor, Experts], None]) -> Iterator[None]:
    """Call ``see(site, feature map, experts)`` at each CEA adapter of every forward pass inside the block."""
    handles = [
        adapter.hyper.register_forward_hook(lambda _, inputs, experts, site=site: see(site, inputs[0], experts))
        for site, adapter in model.backbone.adapters().items()
        if isinstance(adapter, ContinuousExpertAssembly)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _run(model: RestorationNetwork, images: Iterable[Image]) -> None:
    parameter = next(model.parameters())
    with torch.no_grad():
        for image in images:
            model(image_tensor(image).to(parameter.device, parameter.dtype))
