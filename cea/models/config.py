"""The network's numbers: which adapter, how many ranks, how deep and how wide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, field_validator, model_validator

from cea.config import Config
from cea.models.sizes import Size, preset

Affinity = Literal["dot", "layernorm", "cosine"]
Side = Literal["encoder", "middle", "decoder"]
_SITE = re.compile(r"middle|(?:encoder|decoder)(?:_(?P<level>\d))?")
_COMPONENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""What can be part of a file's name."""


class ModelConfig(Config):
    """Everything that is needed to build the network, and nothing else.

    A config holds every number resolved: keys that are not given come from ``size``, the others from their defaults.
    """

    size: Size = "tiny"
    """Block counts, ``width``, ``stem`` and ``expansion`` that are not given themselves; see ``cea.models.sizes``."""

    adapter: str = "cea"
    """Name in ``cea.models.adapters.registry``: ``cea``, ``none``, ``lora``, ``film`` ..., or ``module:Name``."""
    sites: Annotated[tuple[str, ...], Strict(False)] = ("encoder", "middle")
    """Where adapters sit, after a stage's blocks: ``encoder``, ``middle``, ``decoder``, or one level: ``encoder_0``."""
    rank: int = Field(8, ge=1, le=256)
    """r, the experts of each adapter: rank queries of ``cea``, prompts of ``prompt``, static experts of ``moe``."""
    hyper_width: int = Field(16, ge=4, le=1024)
    """d, the channels in which the rank queries attend to the feature map."""
    affinity: Affinity = "dot"
    """How a token is compared with a routing base: ``dot`` (the paper), ``layernorm`` (of the token), ``cosine``."""
    key_cell: int = Field(1, ge=1, le=1024)
    """Keys and values of ``cea`` are means over cells of this many rows and columns of tokens; 1 keeps every token."""
    key_grid: int = Field(0, ge=0, le=256)
    """At most this many rows and columns of cells, which then grow with the image; 0 for no limit."""
    constant: bool = False
    """Give each affinity a constant that the image defines: <x_n, a_k> + c_k."""
    gain: bool = False
    """Experts also scale the token's channels: dX = X * (S G) + S D, S the affinities."""
    residual_scale: float = Field(0.1, gt=0, le=100)
    """Constant factor of the assembled residual; 1 is the bare formula, whose residual grows with C and r and learns
    too fast beside the blocks. Not 0, or the head of D (zero at the start) would never move."""
    adapter_width: int = Field(16, ge=1, le=65536)
    """h, the inner width of a rival: rank of ``lora``, hidden channels of ``film``, ``film-local``, ``prompt`` and of
    each expert of ``moe``; ``cea.models.measure.matching`` solves for it."""
    local_cell: int = Field(4, ge=1, le=1024)
    """Descriptors of ``film-local`` are means over cells of this many rows and columns of tokens."""
    adapter_options: dict[str, Any] = Field(default_factory=dict)
    """Keys of an adapter's own, which its class ``Options`` describes and validates; those above are everybody's."""
    top_k: int = Field(2, ge=1, le=256)
    """Experts that ``moe`` gives each token."""
    prompt_grid: int = Field(4, ge=1, le=64)
    """Rows and columns of each learned prompt of ``prompt``."""

    block: str = "nafnet"
    """Name in ``cea.models.blocks.registry``: ``nafnet``, ``restormer``, or ``module:Name``."""
    stem: Literal[1, 2, 4] = 2
    """Pixel-unshuffle factor in front of the first level; 1 works at full resolution."""
    width: int = Field(24, ge=4, le=512)
    """Channels of the first level; each further level has twice as many."""
    encoder_blocks: Annotated[tuple[int, ...], Strict(False)] = (1, 1)
    """Blocks of each level above the middle, from the first (widest) level down."""
    middle_blocks: int = Field(2, ge=1, le=64)
    """Blocks of the innermost level."""
    decoder_blocks: Annotated[tuple[int, ...], Strict(False)] = (1, 1)
    """Blocks of each level on the way up, listed from the first level down like ``encoder_blocks``."""
    expansion: float = Field(2.0, ge=1, le=16)
    """Channel expansion inside a block."""
    refine: int = Field(0, ge=0, le=256)
    """Channels of a gated convolution at full resolution behind the backbone, which sees input and output: it removes
    the pattern that a stem of 2 or 4 leaves in flat areas; 0 for none."""

    error_gate: bool = False
    """Predict the local error of the input and scale the correction by it, so that what is sound stays untouched."""
    severity: Annotated[tuple[str, ...], Strict(False)] = Field((), exclude_if=lambda names: not names)
    """Components whose local severity a head predicts, by their names in the recipes; none: no head."""
    severity_gate: bool = Field(False, exclude_if=lambda gated: not gated)
    """Let the gate of ``error_gate`` see the predicted severities, beside the features."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_of_the_size(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        default = cls.model_fields
        size, block = (values.get(key, default[key].default) for key in ("size", "block"))
        return {**preset(size, block), **values}

    @field_validator("sites")
    @classmethod
    def _known_sites(cls, sites: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_SITE.fullmatch(site) for site in sites):
            raise ValueError("encoder, middle or decoder, or one level of them such as encoder_0")
        return sites

    @field_validator("severity")
    @classmethod
    def _component_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(_COMPONENT.fullmatch(name) for name in names):
            raise ValueError("names of components, each once: a letter, then letters, digits, - and _")
        return names

    @field_validator("encoder_blocks", "decoder_blocks")
    @classmethod
    def _counts(cls, blocks: tuple[int, ...]) -> tuple[int, ...]:
        if len(blocks) > 5 or any(not 0 <= count <= 64 for count in blocks):
            raise ValueError("at most 5 levels of 0 to 64 blocks")
        return blocks

    @model_validator(mode="after")
    def _same_levels(self) -> ModelConfig:
        levels = len(self.encoder_blocks)
        if levels != len(self.decoder_blocks):
            raise ValueError("encoder_blocks and decoder_blocks with one entry per level each")
        for site in self.sites:
            match = _SITE.fullmatch(site)
            if match and match["level"] and int(match["level"]) >= levels:
                raise ValueError(f"sites on the {levels} levels there are, counted from 0, not {site!r}")
        return self

    @model_validator(mode="after")
    def _gate_of_what_there_is(self) -> ModelConfig:
        if self.severity_gate and not (self.error_gate and self.severity):
            raise ValueError("severity_gate only where error_gate is true and severity names components")
        return self

    def adapted(self, side: Side, level: int) -> bool:
        """Whether an adapter sits after the blocks of this stage."""
        return side in self.sites or f"{side}_{level}" in self.sites

    @property
    def size_multiple(self) -> int:
        """Height and width inside the network are multiples of this; the network pads to it and crops back."""
        return int(self.stem * 2 ** len(self.encoder_blocks))


class ModelSection(ModelConfig):
    """Section ``model`` of params.yaml: a ``ModelConfig``, or one to be matched to another adapter first."""

    equal_to: str | None = None
    """Solve the width of ``adapter`` so that the network has as many parameters as with this one; null to leave it."""
