"""The compiled block against PyTorch's operators: the same map, the same gradients, but for the last bits."""

from __future__ import annotations

import ast
import copy
import hashlib
import shutil
import subprocess
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cea.models.blocks.nafnet import NafnetBlock, fuse
from cea.models.config import ModelConfig
from cea.models.fused import compiled
from cea.models.network import build

pytestmark = pytest.mark.skipif(compiled.LIBRARY is None, reason="the package was installed without a C compiler")

SIZES = ((8, 2.0, 1, 1, 1), (24, 2.0, 2, 9, 13), (40, 1.6, 1, 70, 3), (48, 2.0, 2, 24, 24), (96, 2.0, 1, 6, 12))
"""Channels, expansion, batch, height, width: products of all widths, rows in fours and single ones, tiny maps."""


def block(channels: int, expansion: float) -> NafnetBlock:
    """One whose parameters all matter."""
    torch.manual_seed(channels)
    made = NafnetBlock(channels, expansion)
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def results(module: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """What it gives, and the gradients of the map and of all parameters."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = module(x)
    return [out.detach(), *torch.autograd.grad(out, [x, *module.parameters()], gradient)]


def assert_as_exact(module: NafnetBlock, size: tuple[int, ...]) -> None:
    """Nowhere further from double precision than single precision is."""
    x, gradient = (1 + 2 * torch.randn(size).contiguous(memory_format=torch.channels_last) for _ in range(2))
    exact = results(copy.deepcopy(module).double(), x.double(), gradient.double())
    for own, true in zip(results(module, x, gradient), exact, strict=True):
        assert own.dtype == torch.float32
        assert float((own - true).norm()) <= 3e-6 * float(true.norm()) + 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_the_same_block(size: tuple[int, float, int, int, int]) -> None:
    channels, expansion, batch, height, width = size
    module = block(channels, expansion)
    assert fuse(module) == 1
    assert_as_exact(module, (batch, channels, height, width))


def test_it_is_for_training_in_single_precision_alone() -> None:
    module = block(24, 2.0)
    x = torch.randn(1, 24, 5, 5)
    plain = module(x)
    fuse(module)
    assert module(x).grad_fn.name() == "_FusedBackward"
    assert torch.equal(module.eval()(x), plain)
    assert torch.equal(module.train().double()(x.double()), block(24, 2.0).double()(x.double()))
    with torch.autocast("cpu", torch.bfloat16):
        assert module.float()(x).grad_fn.name() != "_FusedBackward"


def test_blocks_that_it_does_not_take_are_left() -> None:
    assert fuse(build(ModelConfig(width=12, expansion=1.0))) == 2  # the middle's, of 48 channels
    assert fuse(build(ModelConfig(block="restormer"))) == 0


def test_a_network_with_it_is_the_same_network() -> None:
    """Loss and gradients of one step of the default network, in channels that lie apart in memory, too."""
    torch.manual_seed(1)
    plain = build(ModelConfig(), seed=1)
    other = copy.deepcopy(plain)
    assert fuse(other) == 6
    for head in (plain.backbone.head, other.backbone.head):
        nn.init.constant_(head.weight, 0.01)
    x, clean = torch.rand(2, 2, 3, 36, 52)
    losses = [(network(x) - clean).abs().mean() for network in (plain, other)]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-5)
    gradients = [
        torch.autograd.grad(loss, list(net.parameters())) for loss, net in zip(losses, (plain, other), strict=True)
    ]
    for one, two in zip(*gradients, strict=True):
        assert float((one - two).norm()) <= 1e-4 * float(one.norm()) + 1e-9


def flags(root: Path) -> list[str]:
    """Those of setup.py."""
    assignments = [node for node in ast.parse((root / "setup.py").read_text()).body if isinstance(node, ast.Assign)]
    values = {node.targets[0].id: node.value for node in assignments}
    return [flag for name in ("FLAGS", "FUSED") for flag in ast.literal_eval(values[name])]


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["cc", "clang"])
@pytest.mark.parametrize("processor", ["several", "x86-64", "x86-64-v3"])
def test_every_compiler_and_instruction_set(
    compiler: str, processor: str, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Built for several processors, of which this one chooses, and for an old one alone."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    folder = root / "cea/models/fused"
    texts = [Path(shutil.copy(folder / name, tmp_path)) for name in ("kernels.c", "block.h")]
    digest = hashlib.sha256(b"".join(text.read_bytes() for text in texts)).hexdigest()
    built = tmp_path / f"kernels{EXTENSION_SUFFIXES[0]}"
    alone = [] if processor == "several" else [f"-march={processor}", "-DONE_VERSION"]
    command = [compiler, "-shared", "-fPIC", *flags(root), *alone]
    command += [f'-DSOURCE_SHA256="{digest}"', str(texts[0]), "-o", str(built), "-lm"]
    if subprocess.run(command, capture_output=True).returncode:
        assert alone  # other errors would leave users without it
        pytest.skip(f"the compiler knows no {processor}")
    if processor == "x86-64-v3" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor cannot run it")
    monkeypatch.setattr(compiled, "LIBRARY", compiled.library(texts[0]))
    assert compiled.LIBRARY is not None
    for channels in (24, 48):
        module = block(channels, 2.0)
        fuse(module)
        assert_as_exact(module, (1, channels, 9, 13))
