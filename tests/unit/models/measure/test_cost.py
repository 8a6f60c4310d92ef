"""Counting is exact, measuring is fair, and `cea cost` shows both."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from cea.cli.main import app
from cea.models.adapters.registry import ADAPTERS
from cea.models.config import ModelConfig
from cea.models.measure import overhead
from cea.models.measure.cost import cost, figures
from cea.models.measure.matching import parameters
from cea.models.measure.overhead import Figure, Plan, against_none, count, lines, measure, passes
from cea.models.measure.stopwatch import forward_job, in_turns, peak_bytes, ratio, step_job, threads
from cea.models.network import build

CPU = torch.device("cpu")
SMALL = ModelConfig(width=8, rank=4, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)


class TestCounting:
    def test_plain_network_by_hand(self) -> None:
        """No levels, one block of the middle: stem, block and head written out."""
        config = ModelConfig(adapter="none", stem=1, width=8, encoder_blocks=(), decoder_blocks=(), middle_blocks=1)
        pixels, c, wide = 16 * 24, 8, 16
        stem = head = 3 * c * 9 * pixels
        block = (c * wide + 9 * wide + c * c + c * wide + c * c) * pixels + c * c  # the last: channel attention
        assert cost(config, 16, 24).macs == stem + block + head

    def test_adapter_by_hand(self) -> None:
        """r x C products per token for S and for S D; keys and values of the pooled tokens; two heads."""
        values = {"stem": 1, "width": 8, "encoder_blocks": [], "decoder_blocks": [], "rank": 4, "hyper_width": 16}
        own, plain = (
            cost(ModelConfig.model_validate({**values, "key_cell": 4, "adapter": name}), 16, 24).macs
            for name in ("cea", "none")
        )
        pixels, keys, c, r, d = 16 * 24, 4 * 6, 8, 4, 16
        assert own - plain == 2 * pixels * r * c + keys * c * 2 * d + 2 * r * d * keys + 2 * r * d * c

    @pytest.mark.parametrize("adapter", list(ADAPTERS))
    def test_parameters_are_those_of_the_network(self, adapter: str) -> None:
        config = SMALL.model_copy(update={"adapter": adapter})
        built = sum(parameter.numel() for parameter in build(config).parameters())
        assert cost(config).parameters == parameters(config) == built

    def test_padding_counts(self) -> None:
        assert cost(SMALL, 61, 62) == cost(SMALL, 64, 64)

    def test_figures_to_log(self) -> None:
        found = figures(SMALL)
        assert found["parameters"] == parameters(SMALL)
        assert found["gmacs_224"] == cost(SMALL).macs / 1e9
        assert found["adapter_parameters_ratio"] > 1 < found["adapter_macs_ratio"]
        assert all(type(value) is float for value in found.values())

    def test_adapter_is_cheap_at_small_and_base(self) -> None:
        """The share of time is measured in benchmarks/cost.py; this share is exact."""
        for size in ("small", "base"):
            for block in ("nafnet", "restormer"):
                found = figures(ModelConfig.model_validate({"size": size, "block": block}))
                assert found["adapter_parameters_ratio"] <= 1.05
                assert found["adapter_macs_ratio"] <= 1.02


class TestMeasuring:
    def test_peak_memory_of_a_known_job(self) -> None:
        def job() -> None:
            a = torch.ones(1000, 1000)  # 4 MB
            b = a + 1  # 8 MB
            del a
            _ = b + 1  # still 8 MB

        assert peak_bytes(job, CPU) == pytest.approx(8e6, rel=0.01)

    def test_memory_held_before_does_not_count(self) -> None:
        layer, x = nn.Linear(1000, 1000), torch.ones(1000, 1000)
        assert peak_bytes(forward_job(layer, x), CPU) == pytest.approx(4e6, rel=0.01)

    def test_jobs_take_turns(self) -> None:
        calls: list[str] = []
        jobs = {name: lambda name=name: calls.append(name) for name in "abc"}
        seconds = in_turns(jobs, rounds=4, device=CPU)
        assert "".join(calls) == "abc" + "abc" + "cba" + "bca" + "acb"
        assert {name: len(values) for name, values in seconds.items()} == {"a": 4, "b": 4, "c": 4}

    def test_ratio_is_taken_within_rounds(self) -> None:
        """A machine that slows down tenfold in one round slows both down."""
        seconds = {"slow": [2.0, 20.0, 2.0], "fast": [1.0, 10.0, 1.0]}
        assert ratio(seconds, "slow", "fast") == 2

    def test_step_trains(self) -> None:
        network = build(SMALL)
        before = [parameter.clone() for parameter in network.parameters()]
        step_job(network, torch.rand(2, 3, 16, 16))()
        assert any(not torch.equal(one, two) for one, two in zip(before, network.parameters(), strict=True))
        assert all(parameter.grad is None for parameter in network.parameters())

    def test_threads_are_given_back(self) -> None:
        before = torch.get_num_threads()
        with threads(before + 1):
            assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before


FAULTS = """
import resource
import torch
from cea.models.measure.allocator import keep_freed_memory

kept = keep_freed_memory()
for number in range(8):
    blocks = [torch.ones(4_000_000) for _ in range(6)]  # 16 MB each
    del blocks
    if number == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept() -> None:
    """96 MB are freed and taken again five times, as feature maps are: 24 thousand pages each, but for one round."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    kept, faults = done.stdout.split()
    assert kept == b"True"
    assert int(faults) < 24_000


class TestTable:
    def test_networks_stand_against_the_first(self) -> None:
        configs = against_none(SMALL, ["cea", "film", "none"], matched=True)
        assert list(configs) == ["none", "cea", "film, matched", "none, matched"]
        plan = Plan(((16, 24),), (2, 16), 1)
        tasks = [count(configs), *measure(configs, plan)]
        assert [figures[0].task for figures in tasks] == ["counted", "forward 16x24", "step 2x16x16"]
        for found in tasks:
            assert all(figure.value > 0 for figure in found)
            assert all(figure.ratio == 1 for figure in found if figure.network == "none")
        matched = [figure.value for figure in tasks[0] if figure.quantity == "parameters"][1:]
        assert max(matched) / min(matched) < 1.02

    def test_text(self) -> None:
        head, *rows = lines(count(against_none(SMALL, ["cea"], matched=False)))
        assert head.split() == ["counted", "parameters", "ratio", "GMACs@224", "ratio"]
        assert [row.split()[0] for row in rows] == ["none", "cea"]
        assert len({len(line) for line in [head, *rows]}) == 1


class TestCommand:
    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(app, ["cost", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    def test_counted(self) -> None:
        output = self.run("film", "none", "--matched", "--count-only")
        assert "film, matched" in output
        assert "ms" not in output

    def test_timed(self) -> None:
        output = self.run("--size", "tiny", "--image", "24x16", "--no-step", "--rounds", "1")
        assert "forward 16x24" in output
        assert "median of 1" in output

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["flm"], "did you mean 'film'"),
            (["--size", "large"], "'tiny', 'small' or 'base'"),
            (["--image", "0"], "1920x1080"),
            (["--image", "12xx"], "1920x1080"),
            (["--rank", "0"], "rank"),
        ],
    )
    def test_mistakes_are_named(self, arguments: list[str], message: str) -> None:
        result = CliRunner().invoke(app, ["cost", "--count-only", *arguments])
        assert result.exit_code == 2
        assert message in result.output

    @pytest.mark.slow
    def test_output_is_the_table_alone(self) -> None:
        """PyTorch's profiler talks; nothing of it may reach the terminal."""
        command = [sys.executable, "-m", "cea.cli", "cost", "--size", "tiny", "--image", "16", "--rounds", "1"]
        done = subprocess.run([*command, "--no-step"], capture_output=True, text=True, check=True)
        assert done.stderr == ""


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: 9 bytes")])
def test_passes_that_do_not_fit_are_left_out(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = overhead.measure

    def measure(configs: Mapping[str, ModelConfig], plan: Plan) -> Iterator[list[Figure]]:
        if plan.images == ((64, 96),):
            raise error
        return whole(configs, plan)

    monkeypatch.setattr(overhead, "measure", measure)
    config = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
    assert {name.split("_")[1] for name in passes(config, [(64, 96), (32, 32)])} == {"32"}
    assert "forward_64x96: not measured" in caplog.text


def test_other_errors_of_passes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "measure", lambda configs, plan: (_ for _ in ()).throw(RuntimeError("shape")))
    with pytest.raises(RuntimeError, match="shape"):
        passes(ModelConfig(), [(32, 32)])


def test_passes_to_log_stand_against_the_plain_network() -> None:
    config = ModelConfig(width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
    found = passes(config, [(32, 32), (64, 96)])
    assert set(found) == {f"forward_{size}_{what}" for size in ("32", "64x96") for what in ("ms", "ratio", "mb")}
    assert found["forward_32_ms"] > 0
    assert 0.7 < found["forward_32_ratio"] < 30  # tiny maps: mostly the adapter's small operators
    assert found["forward_64x96_mb"] == pytest.approx(6 * found["forward_32_mb"], rel=0.2)
