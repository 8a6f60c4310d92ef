"""The restoration network: image in, image out, any size.

Two optional heads on the last features say what the network makes of its input. They are two questions:

* ``severity``: how strong is each component here, as the synthesis recorded it, whatever that does to the pixels? Dense
  haze over a white wall is severe and changes little.
* ``error_gate``: how far are the pixels from the clean ones, whatever the cause? This number alone scales the
  correction.

Neither needs the other. With ``severity_gate`` the gate also sees the severities: a weight for each component (zero at
first) is added to its logarithm. No gradient flows back into the severities, so they remain what the labels taught.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cea.levels import LEVEL
from cea.models.backbone import Backbone
from cea.models.blocks.nafnet import gate
from cea.models.config import ModelConfig
from cea.rng import stream


class Judged(NamedTuple):
    """A restoration and what the network makes of its input.

    Attributes:
        restored: (B, 3, H, W), not clipped.
        log_error: (B, 1, h, w), the size inside the network over ``stem``: logarithm of the input's expected local
            error in ``ERROR_UNIT``; None without ``error_gate``.
        severity_logits: (B, K, h, w), a channel for each component of ``severity``, in that order; their sigmoid is the
            local severity in [0, 1]. None without ``severity``.
    """

    restored: Tensor
    log_error: Tensor | None
    severity_logits: Tensor | None


ERROR_UNIT = LEVEL
"""The mean absolute error of an input (full scale 1) at which half of the correction passes the gate."""


_TYPICAL_ERROR = 0.05
"""What an untrained gate expects everywhere: nearly open."""

_TYPICAL_SEVERITY = 0.1
"""What an untrained head expects everywhere of each component: most samples lack most components."""


class RestorationNetwork(nn.Module):
    """``image + backbone(image)``, padded to the backbone's size multiple by edge replication and cropped back.

    Args:
        config: the model's configuration, kept as ``self.config``.

    Attributes:
        size_multiple: sizes that are a multiple of this are not padded inside.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.size_multiple = config.size_multiple
        self.backbone = Backbone(config)
        self.refine = Refine(config.refine) if config.refine else None
        count = len(config.severity)
        seen = count if config.severity_gate else 0
        self.log_error = ErrorHead(config.width, seen) if config.error_gate else None
        self.severity = nn.Conv2d(config.width, count, 3, padding=1) if count else None

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] to the same shape, for any H, W >= 1."""
        return self.judged(image).restored

    def judged(self, image: Tensor) -> Judged:
        """The restoration, the expected error of the input, which is the correction's gate, e / (e + unit), and the
        local severity of each component.
        """
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, self.size_multiple).contiguous(memory_format=torch.channels_last)
        features = self.backbone.features(padded)
        residual = self.backbone.residual(features)
        if self.refine is not None:
            residual = residual + self.refine(torch.cat([padded, padded + residual], dim=1))
        severity = self.severity(features) if self.severity is not None else None
        log_error = self.log_error(features, severity) if self.log_error is not None else None
        if log_error is not None:
            gates = F.interpolate(log_error, scale_factor=self.config.stem, mode="bilinear").sigmoid()
            residual = residual * gates
        return Judged((padded + residual)[..., :height, :width], log_error, severity)


class ErrorHead(nn.Conv2d):
    """The last features to the logarithm of the input's expected local error, (B, 1, h, w), in ``ERROR_UNIT``.

    Args:
        width: channels of the features.
        components: K of the severities that it also sees; 0 for none.
    """

    def __init__(self, width: int, components: int) -> None:
        super().__init__(width, 1, 3, padding=1)
        self.by_severity = nn.Conv2d(components, 1, 1, bias=False) if components else None

    def forward(self, features: Tensor, severity_logits: Tensor | None = None) -> Tensor:
        """(B, width, h, w), and (B, K, h, w) where it sees severities, which get no gradient from here."""
        log_error = super().forward(features)
        if self.by_severity is None:
            return log_error
        assert severity_logits is not None
        seen: Tensor = self.by_severity(severity_logits.detach().sigmoid())
        return log_error + seen


class Refine(nn.Module):
    """A gated convolution at full resolution: (B, 6, H, W), input and first result, to a correction (B, 3, H, W).

    Args:
        channels: between its two 3 x 3 convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(6, 2 * channels, 3, padding=1)
        self.narrow = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The correction, unbounded."""
        corrected: Tensor = self.narrow(gate(self.widen(x)))
        return corrected


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of ``multiple``."""
    bottom, right = (-size % multiple for size in image.shape[-2:])
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def build(config: ModelConfig, seed: int = 0) -> RestorationNetwork:
    """The network with initial weights that depend on ``config`` and ``seed`` alone.

    Each module draws from a stream named after its place, so two networks that differ in their adapters start from
    the same backbone. The caller's random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        network = RestorationNetwork(config)
        for name, module in reversed(list(network.named_modules())):  # children first: a parent has the last word
            _reset(module, stream(seed, name))
    last_layers = [network.backbone.head, network.refine.narrow if network.refine else None]
    heads = [network.log_error, network.severity, network.log_error.by_severity if network.log_error else None]
    for last in filter(None, last_layers + heads):
        nn.init.zeros_(last.weight)  # the untrained network returns its input
        if last.bias is not None:
            nn.init.zeros_(last.bias)
    if network.log_error is not None and network.log_error.bias is not None:
        nn.init.constant_(network.log_error.bias, log(_TYPICAL_ERROR / ERROR_UNIT))
    if network.severity is not None and network.severity.bias is not None:
        nn.init.constant_(network.severity.bias, log(_TYPICAL_SEVERITY / (1 - _TYPICAL_SEVERITY)))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _reset(module: nn.Module, seed: int) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        torch.manual_seed(seed)
        reset()
