"""The network's numbers: which adapter, how many ranks, how deep and how wide."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator, model_validator

from cea.config import Config

Affinity = Literal["dot", "layernorm", "cosine"]
Site = Literal["encoder", "middle", "decoder"]


class ModelConfig(Config):
    """Section ``model`` of params.yaml. Everything that is needed to build the network, and nothing else."""

    adapter: str = "cea"
    """Name in ``cea.models.adapters.registry``: ``cea``, ``none``, or ``module:Name``."""
    sites: Annotated[tuple[Site, ...], Strict(False)] = ("encoder", "middle", "decoder")
    """Where adapters sit: after the blocks of each encoder level, of the middle, of each decoder level."""
    rank: int = Field(8, ge=1, le=256)
    """r, the number of rank queries and so of experts per adapter."""
    hyper_width: int = Field(16, ge=4, le=1024)
    """d, the channels in which the rank queries attend to the feature map."""
    affinity: Affinity = "dot"
    """How a token is compared with a routing base: ``dot`` (the paper), ``layernorm`` (of the token), ``cosine``."""
    key_grid: int = Field(16, ge=0, le=256)
    """Keys and values are pooled to at most this many rows and columns; 0 attends to every token."""
    residual_scale: float = Field(1.0, gt=0, le=100)
    """Constant factor of the assembled residual; not 0, or the head of D (zero at the start) would never move."""

    block: str = "nafnet"
    """Name in ``cea.models.blocks.registry``, or ``module:Name``."""
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
    expansion: int = Field(2, ge=1, le=4)
    """Channel expansion inside a block."""

    @field_validator("encoder_blocks", "decoder_blocks")
    @classmethod
    def _counts(cls, blocks: tuple[int, ...]) -> tuple[int, ...]:
        if len(blocks) > 5 or any(not 0 <= count <= 64 for count in blocks):
            raise ValueError("at most 5 levels of 0 to 64 blocks")
        return blocks

    @model_validator(mode="after")
    def _same_levels(self) -> ModelConfig:
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise ValueError("encoder_blocks and decoder_blocks with one entry per level each")
        return self

    @property
    def size_multiple(self) -> int:
        """Height and width inside the network are multiples of this; ``Restorer`` pads to it and crops back."""
        return int(self.stem * 2 ** len(self.encoder_blocks))
