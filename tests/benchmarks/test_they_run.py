"""The benchmarks run and judge; their figures belong to no test, machines are shared and noisy."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import cost, loader, tiling
from cea.io.images import write_image
from cea.levels import to_uint8
from cea.models.global_context import GlobalMeans
from cea.models.measure.overhead import Figure

pytestmark = pytest.mark.slow


def test_cost_measures_and_judges_every_target(capsys):
    cost.main("tiny", "nafnet", "1", "1")
    out = capsys.readouterr().out
    for line in (
        "counted parameters",
        "counted GMACs@224",
        "forward 256x256 ms",
        "forward 512x512 ms",
        "step 2x128x128 ms",
    ):
        assert out.count(f": {line}") == 1
    assert "MISSED: counted GMACs@224 1.07" in out  # tiny is below the sizes that the targets are for


def test_a_figure_at_its_target_holds_and_one_above_does_not():
    figures = [Figure("step 2x128x128", "ms", "cea", 1.0, ratio) for ratio in (1.08, 1.081)]
    figures += [Figure("step 2x128x128", "ms", "none again", 1.0, 2.0)]
    assert [line.split(":")[0] for line in cost.verdicts(figures)] == ["holds", "MISSED"]


def test_the_middle_process_counts():
    runs = [[[Figure("forward", "ms", "cea", value, value / 2)]] for value in (1.0, 9.0, 2.0)]
    assert cost.together(runs) == [[Figure("forward", "ms", "cea", 2.0, 1.0)]]


def test_memory_is_measured_in_a_process_of_its_own():
    before, peak, seconds = map(float, tiling.memory(0.1, 128, "tiny", "nafnet").split())
    assert 0 < before <= peak
    assert seconds > 0


class LessItsMean(GlobalMeans):
    """A network of nothing but a global statistic."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def measure(self, *maps):
        return maps[0].mean(dim=(2, 3), keepdim=True)

    def forward(self, image):
        return image - self.context(image) + 0.5


def test_agreement_tells_statistics_of_the_image_from_those_of_tiles(tmp_path, monkeypatch, capsys):
    ramp = np.linspace(0, 1, 256)[:, None, None] * np.ones((256, 256, 3))
    write_image(tmp_path / "ramp.png", to_uint8(ramp))
    monkeypatch.setattr(tiling, "load_weights", lambda path, **_: (LessItsMean(), {}))
    tiling.agreement(tmp_path, [tmp_path / "ramp.png"], 128)
    name, _, tiles, alone = capsys.readouterr().out.splitlines()[-1].split()
    assert name == "ramp"
    assert float(tiles) > 40
    assert float(alone) < 20


def test_loader_compares_three_ways_on_the_same_photographs(monkeypatch, capsys):
    monkeypatch.setattr(loader, "SIZES", {"small": (288, 320)})
    monkeypatch.setattr(sys, "argv", ["loader", "--patches", "2", "--steps", "1"])
    loader.main()
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[0] == "small"
    assert all(float(number) > 0 for number in row[1:6])
