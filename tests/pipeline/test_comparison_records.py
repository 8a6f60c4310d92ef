"""Records of finished runs: what makes one count, what it holds, what curves say."""

from __future__ import annotations

import io
import json
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cea.config import read_params
from cea.errors import DataError
from cea.evaluation.comparison import compare
from cea.models.config import ModelConfig
from cea.training.config import TrainConfig
from pipeline.comparison import compare as comparison
from pipeline.comparison import curves, experiments, rates, records
from pipeline.preflight.estimate import step_seconds

ROOT = Path(__file__).resolve().parents[2]
FACTS: dict[str, Any] = {"variant": "film", "seed": 2, "training": {"steps": 10}, "lineage": {}}
KEY = {"train": {"lr": 0.001}, "seed": 2, "code": "c", "data": "d"}
CURVE = pl.DataFrame({"step": [5, 10], "gain_psnr": [1.00004, 2.0]})


@pytest.fixture
def params(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(ROOT)
    return read_params()


def table(scenes: int = 3) -> pl.DataFrame:
    rows = [
        {
            "sample_id": f"{scene}-noise",
            "clean_id": str(scene),
            "recipe": "noise",
            "n_components": 1,
            "uniform": bool(scene % 2),
            "seen": True,
            "input_psnr": 20.0,
            "output_psnr": 21.00049 + scene,
            "output_ssim": 0.5,
            "severity": 0.3,
        }
        for scene in reversed(range(scenes))
    ]
    return pl.DataFrame(rows)


class TestRecord:
    def test_what_is_compared_comes_back(self, tmp_path: Path) -> None:
        records.write(tmp_path, "cmp-film-s2", records.record_of(FACTS, KEY, CURVE), table())
        record = records.current(tmp_path, "cmp-film-s2", KEY)
        assert record is not None
        assert record["val_gain_psnr"] == [[5, 1.0], [10, 2.0]]
        images = records.images_of(tmp_path, record)
        assert images["gain_psnr"].to_list() == pytest.approx([1, 2, 3], abs=1e-3)
        assert images["clean_id"].to_list() == ["0", "1", "2"]
        assert compare(images, "film")["seeds"][0] == 1

    def test_runs_share_one_table_of_samples(self, tmp_path: Path) -> None:
        for seed in (1, 2):
            records.write(tmp_path, f"s{seed}", records.record_of(FACTS | {"seed": seed}, KEY, CURVE), table())
        assert len(list(tmp_path.glob("samples-*.csv"))) == 1

    def test_a_thousand_images_stay_small(self, tmp_path: Path) -> None:
        file = records.write(tmp_path, "x", records.record_of(FACTS, KEY, CURVE), table(1035))
        assert file.stat().st_size < 100_000

    def test_a_run_of_anything_else_is_refused(self, tmp_path: Path) -> None:
        assert records.current(tmp_path, "x", KEY) is None
        records.write(tmp_path, "x", records.record_of(FACTS, KEY, CURVE))
        for other in ({"code": "e"}, {"train": {"lr": 0.002}}, {"model": {"rank": 4}}):
            with pytest.raises(DataError, match="was made with another"):
                records.current(tmp_path, "x", KEY | other)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1}'])
    def test_a_damaged_one_is_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match=r"x\.json.*restore it from git"):
            records.read(tmp_path, "x")

    def test_a_missing_table_of_samples_is_named(self, tmp_path: Path) -> None:
        records.write(tmp_path, "x", records.record_of(FACTS, KEY, CURVE), table())
        next(tmp_path.glob("samples-*")).unlink()
        with pytest.raises(DataError, match="samples-"):
            records.images_of(tmp_path, json.loads((tmp_path / "x.json").read_text()))


class TestKey:
    @pytest.mark.slow
    def test_what_decides_the_weights_and_nothing_else(self, params: dict[str, Any]) -> None:
        key = records.key_of(params, "data")
        for section, name, value in (("train", "workers", 0), ("train", "log_interval", 5), ("evaluate", "workers", 1)):
            other = deepcopy(params)
            other[section][name] = value
            assert records.key_of(other, "data") == key, name
        for section, name, value in (("train", "lr", 0.5), ("train", "seed", 3), ("model", "rank", 4)):
            other = deepcopy(params)
            other[section][name] = value
            assert records.key_of(other, "data") != key, name
        assert records.key_of(params, "other data") != key


class TestCurves:
    RUNS: tuple[dict[str, Any], ...] = (
        {"variant": "cea", "val_gain_psnr": [[1000, 1.0], [2000, 4.0]]},
        {"variant": "cea", "val_gain_psnr": [[1000, 2.0], [2000, 5.0]]},
        {"variant": "film", "val_gain_psnr": [[1000, 3.0], [2000, 4.0]]},
        {"variant": "moe", "val_gain_psnr": [[1000, 0.0], [2000, 1.0]]},
    )

    def test_mean_and_range_over_seeds(self) -> None:
        assert curves.by_variant(self.RUNS)["cea"] == {1000: (1.5, 1.0, 2.0), 2000: (4.5, 4.0, 5.0)}

    def test_whether_the_early_order_holds(self) -> None:
        text = curves.verdict(curves.by_variant(self.RUNS))
        assert "order at 1000 steps hold at 2000? 2 of 3 pairs" in text
        assert "film > cea > moe became cea > film > moe" in text
        assert "cannot be held" in curves.verdict(curves.by_variant(self.RUNS[:2]))

    def test_the_figure_names_each_variant_and_does_not_change(self) -> None:
        figures = [curves.svg(curves.by_variant(self.RUNS), "title") for _ in range(2)]
        assert figures[0] == figures[1]
        assert all(f">{name}<".encode() in figures[0] for name in ("cea", "film", "moe"))


def test_rates_are_multiplied_together(params: dict[str, Any]) -> None:
    own = rates.params_of(params, {"train.patch": 64}, {"adapter": "film"}, 2.0)
    assert (own["train"]["lr"], own["train"]["muon_lr"], own["train"]["patch"]) == (0.002, 0.004, 64)
    assert own["model"]["adapter"] == "film"
    assert params["train"]["lr"] == 0.001, "the base is left alone"


def test_a_search_is_shared_by_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with rates.claimed("x") as first, rates.claimed("x") as second, rates.claimed("y") as third:
        assert (first, second, third) == (True, False, True)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_is_timed(threads: int) -> None:
    model = ModelConfig(width=8, adapter="none")
    assert 0 < step_seconds(model, TrainConfig(batch=2, patch=32, threads=threads), steps=1) < 60


def test_a_grid_goes_on_from_its_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    """One of two runs fails: the page says that it is partial. Elsewhere, without DVC's experiments, one is missing."""
    ran: list[list[str]] = []
    files: dict[str, bytes] = {
        "metrics/training.json": json.dumps({"steps": 10, "seconds": 60}).encode(),
        "metrics/lineage.json": json.dumps({"git": {"commit": "0" * 40}, "hardware": {}, "versions": {}}).encode(),
        "metrics/val_gain_psnr.csv": CURVE.write_csv().encode(),
    }
    buffer = io.BytesIO()
    table().write_parquet(buffer)
    files["metrics/images.parquet"] = buffer.getvalue()
    there: dict[str, str] = {}

    def run_all(
        wanted: list[experiments.Experiment], jobs: int, environment: object, done: Any, kept: Path
    ) -> list[str]:
        ran.append([one.name for one in wanted])
        first, *failed = (one.name for one in wanted)
        there[first] = "c" * 40
        done(first)
        return failed

    monkeypatch.setattr(experiments, "require_clean", lambda *_: None)
    monkeypatch.setattr(experiments, "untracked", lambda _: ())
    monkeypatch.setattr(
        experiments, "finished", lambda wanted, _: {o.name: there[o.name] for o in wanted if o.name in there}
    )
    monkeypatch.setattr(experiments, "read", lambda _, path: files[path])
    monkeypatch.setattr(experiments, "read_output", lambda _, path: files[path])
    monkeypatch.setattr(experiments, "run_all", run_all)
    monkeypatch.setattr(comparison, "make_data", lambda: None)
    monkeypatch.setattr(comparison, "step_seconds", lambda *_: 0.1)
    monkeypatch.setattr(records, "data_digest", lambda: "data")
    words = ["--adapters", "film", "--seeds", "1", "--steps", "10", "--records", str(tmp_path / "kept")]
    options = comparison.parser().parse_args([*words, "--output", str(tmp_path / "page")])
    assert comparison.main(options) == 1
    text = (tmp_path / "page/comparison.md").read_text()
    assert "**Partial: 1 of 2 runs.** Missing: cmp-film-s1." in text
    assert (tmp_path / "page/curves.svg").is_file()
    there.clear()
    assert comparison.main(options) == 0
    assert ran == [["cmp-cea-s1", "cmp-film-s1"], ["cmp-film-s1"]]
    assert "Partial" not in (tmp_path / "page/comparison.md").read_text()
    with pytest.raises(DataError, match=r"was made with another train\.max_steps"):
        comparison.main(comparison.parser().parse_args([*words, "--steps", "11"]))


def test_what_an_experiment_committed_is_read_in_a_folder_of_a_larger_repository(tmp_path: Path, monkeypatch) -> None:
    project = tmp_path / "models/cea"
    project.mkdir(parents=True)
    (project / "params.yaml").write_text("seed: 1\n")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(project)
    assert experiments.read("HEAD", "params.yaml") == b"seed: 1\n"
