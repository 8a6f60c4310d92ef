"""A U-shaped backbone of levels and widths with a place for an adapter after the blocks of each stage."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from cea.models.adapters.registry import ADAPTERS
from cea.models.blocks.registry import BLOCKS
from cea.models.config import ModelConfig, Side
from cea.models.layers import Pointwise


class Stage(nn.Module):
    """Blocks of one level, then the adapter of this site."""

    def __init__(self, config: ModelConfig, *, side: Side, level: int, blocks: int) -> None:
        super().__init__()
        channels = config.width * 2**level
        block = BLOCKS[config.block]
        self.blocks = nn.Sequential(*(block(channels, config.expansion) for _ in range(blocks)))
        adapter = ADAPTERS[config.adapter if config.adapted(side, level) else "none"]
        self.adapter = adapter(channels, config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        adapted: Tensor = self.adapter(self.blocks(x))
        return adapted


class Backbone(nn.Module):
    """Maps (B, 3, H, W) to a residual of the same shape; H and W are multiples of ``config.size_multiple``.

    The stem folds each ``stem x stem`` patch into channels (nothing is lost), so most of the work is done at a
    fraction of the pixels. Encoder features are added to the decoder's at the same level.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = [config.width * 2**level for level in range(len(config.encoder_blocks) + 1)]
        folded = 3 * config.stem**2
        self.fold = config.stem
        self.stem = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            Stage(config, side="encoder", level=level, blocks=blocks)
            for level, blocks in enumerate(config.encoder_blocks)
        )
        self.down = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, stride=2) for width in widths[:-1])
        self.middle = Stage(config, side="middle", level=len(widths) - 1, blocks=config.middle_blocks)
        self.up = nn.ModuleList(Pointwise(2 * width, 4 * width, bias=False) for width in widths[:-1])
        self.decoder = nn.ModuleList(
            Stage(config, side="decoder", level=level, blocks=blocks)
            for level, blocks in enumerate(config.decoder_blocks)
        )
        self.head = nn.Conv2d(widths[0], folded, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the residual, same shape, unbounded."""
        return self.residual(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the last features, (B, width, H / stem, W / stem)."""
        x = self.stem(F.pixel_unshuffle(image, self.fold) - 0.5)
        skips: list[Tensor] = []
        for stage, down in zip(self.encoder, self.down, strict=True):
            skips.append(stage(x))
            x = down(skips[-1])
        x = self.middle(x)
        for stage, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = stage(F.pixel_shuffle(up(x), 2) + skips.pop())
        return x

    def residual(self, features: Tensor) -> Tensor:
        """The last features to the residual at full resolution, (B, 3, H, W)."""
        return F.pixel_shuffle(self.head(features), self.fold)

    def adapters(self) -> dict[str, nn.Module]:
        """The adapter of each site by name, in the order of the forward pass."""
        named = {f"encoder_{level}": stage for level, stage in enumerate(self.encoder)}
        named["middle"] = self.middle
        named |= {f"decoder_{level}": self.decoder[level] for level in reversed(range(len(self.decoder)))}
        return {name: stage.adapter for name, stage in named.items()}  # type: ignore[misc]
