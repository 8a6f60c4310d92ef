"""The comparison's grid: what each run changes, which runs are there, how they are run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from cea.config import read_params
from cea.errors import ConfigError, DataError, InputError
from cea.evaluation.comparison import compare
from pipeline.comparison import compare as comparison
from pipeline.comparison.experiments import Experiment, finished, only_one, require_clean, run_all, untracked
from pipeline.comparison.scoreboard import Contest, page

ROOT = Path(__file__).resolve().parents[2]
PARAMS = read_params(ROOT / "params.yaml")


def options(*words: str) -> argparse.Namespace:
    return comparison.parser().parse_args(list(words))


def cells(*words: str) -> list[comparison.Cell]:
    asked = options(*words)
    return comparison.grid(comparison.chosen(asked.adapters, asked.variant), asked)


class TestGrid:
    def test_every_adapter_with_every_seed(self) -> None:
        found = cells("--seeds", "1", "2", "3")
        assert len(found) == 8 * 3
        assert len({cell.experiment.name for cell in found}) == 24
        assert {cell.seed for cell in found[:8]} == {1}, "a grid that is cut short holds whole rounds"
        assert found[0].experiment.name == "cmp-cea-s1"

    @pytest.mark.slow
    def test_rivals_have_as_many_parameters(self) -> None:
        """At the default size; test_sizes holds the others to it."""
        costs = comparison.costs_of(cells("--seeds", "1"), PARAMS)
        assert costs["none"]["parameters"] < costs["cea"]["parameters"]
        for name in set(costs) - {"none"}:
            assert costs[name]["parameters"] == pytest.approx(costs["cea"]["parameters"], rel=0.01), name

    def test_a_run_changes_the_training_alone(self) -> None:
        """Data are made from ``seed``, ``synthesize``, ``recipes`` and ``shard``."""
        for cell in cells("--steps", "10"):
            params = cell.experiment.params(PARAMS)
            assert params["train"] == {**PARAMS["train"], "max_steps": 10, "seed": cell.seed}
            assert {key: params[key] for key in params if key not in ("train", "model")} == {
                key: PARAMS[key] for key in PARAMS if key not in ("train", "model")
            }
        assert PARAMS["train"]["seed"] is None, "the base is left alone"

    def test_variants_spelled_out(self) -> None:
        found = cells("--adapters", "film", "--variant", "cea-cos", "affinity=cosine", "sites=[middle]", "--seeds", "1")
        assert [cell.variant for cell in found] == ["cea", "film", "cea-cos"]
        assert found[2].experiment.changes["model.sites"] == ["middle"]
        assert "++model.sites=[middle]" in found[2].experiment.command()

    def test_settings_of_all_runs(self) -> None:
        words = ("--set", "train.lr=2e-3", "evaluate.check=false", "--set", "train.threads=1")
        for cell in cells("--adapters", "film", "--seeds", "1", "1", *words):
            params = cell.experiment.params(PARAMS)
            assert (params["train"]["lr"], params["evaluate"]["check"], params["train"]["threads"]) == (0.002, False, 1)
        assert len(cells("--adapters", "film", "--seeds", "1", "1")) == 2

    def test_settings_of_one_variant(self) -> None:
        found = cells(
            "--adapters", "film", "--seeds", "1", "--set", "train.lr=0.003", "--own", "film", "train.lr=0.002"
        )
        assert [cell.experiment.params(PARAMS)["train"]["lr"] for cell in found] == [0.003, 0.002]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--adapters", "fillm"], "--adapters fillm"),
            (["--variant", "cea", "rank=4"], "a new name"),
            (["--variant", "x", "rank"], "key=value"),
            (["--variant", "x", "rnak=4"], "did you mean 'rank'"),
            (["--set", "train.lrr=1"], "did you mean 'lr'"),
            (["--set", "seed=1"], "other sections change the data"),
            (["--set", "train.seed=5"], "use --seeds"),
            (["--set", "model.adapter=film"], "use --adapters or --variant"),
            (["--set", "recipes.noise=1"], "other sections change the data"),
            (["--own", "fillm", "train.lr=0.002"], "--own fillm"),
            (["--own", "film", "train.seed=5"], "use --seeds"),
            (["--steps", "0"], r"train\.max_steps = 0"),
            (["--seeds", "-1"], r"train\.seed = -1"),
        ],
    )
    def test_mistakes_are_found_before_anything_runs(self, words: list[str], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            comparison.costs_of(cells(*words), PARAMS)


def test_the_page_names_every_option_and_variant() -> None:
    text = (ROOT / "docs/comparison.md").read_text()
    flags = [
        flag
        for action in comparison.parser()._actions
        for flag in action.option_strings
        if flag not in ("-h", "--help")
    ]
    assert flags
    for word in [*flags, *comparison.VARIANTS]:
        assert f"`{word}" in text, word


class TestExperiment:
    def test_values_in_the_grammar_of_dvc(self) -> None:
        values = {"a.none": None, "a.flag": True, "a.word": "film-local", "a.list": ["x", 2]}
        words = [word for word in Experiment("n", values).command() if word.startswith("++")]
        assert words == ["++a.none=null", "++a.flag=true", "++a.word=film-local", "++a.list=[x,2]"]

    def test_what_git_lacks_is_carried(self, repository: Path) -> None:
        (repository / ".gitignore").write_text("/data/raw/*\n!/data/raw/README.md\n")
        for name in (
            "data/raw/README.md",
            "data/raw/one/a.png",
            "data/raw/b.png",
            "sets/lol/high/c.png",
            "other/d.png",
        ):
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).touch()
        in_git(repository, "add", ".gitignore", "data/raw/README.md")
        carried = untracked(["data/raw", "sets/lol", "/somewhere/else"])
        assert sorted(carried) == ["data/raw/b.png", "data/raw/one", "sets/lol"]
        words = Experiment("n", {}, carried).command()
        assert [words[at + 1] for at, word in enumerate(words) if word == "--copy-paths"] == list(carried)
        assert untracked(["/somewhere/else"]) == ()
        with pytest.raises(DataError, match=r"\.\./lol lies outside the project.*absolute path in params.yaml"):
            untracked(["../lol"])


def in_git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [key for key in os.environ if key.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "params.yaml").write_text("train: {lr: 0.1}\n")
    in_git(tmp_path, "init", "-q")
    in_git(tmp_path, "add", "-A")
    in_git(tmp_path, "commit", "-qm", "base")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finish(repository: Path, one: Experiment, base: dict[str, Any]) -> str:
    """As DVC does: a commit of its own on a ref below that of the baseline."""
    head = in_git(repository, "rev-parse", "HEAD")
    with (repository / "params.yaml").open("w") as file:
        YAML().dump(one.params(base), file)
    in_git(repository, "commit", "-qam", "experiment")
    commit = in_git(repository, "rev-parse", "HEAD")
    in_git(repository, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{one.name}", commit)
    in_git(repository, "reset", "-q", "--hard", head)
    return commit


class TestWhatIsThere:
    BASE: dict[str, Any] = {"train": {"lr": 0.1}}  # noqa: RUF012

    def test_finished_runs_of_this_commit_are_found(self, repository: Path) -> None:
        wanted = [Experiment(f"cmp-cea-s{seed}", {"train.seed": seed}) for seed in (1, 2)]
        assert finished(wanted, self.BASE) == {}
        commit = finish(repository, wanted[0], self.BASE)
        assert finished(wanted, self.BASE) == {"cmp-cea-s1": commit}
        in_git(repository, "commit", "-q", "--allow-empty", "-m", "other code")
        assert finished(wanted, self.BASE) == {}, "results of other code are no results"

    def test_a_name_means_one_setting(self, repository: Path) -> None:
        finish(repository, Experiment("cmp-cea-s1", {"train.seed": 1, "train.max_steps": 10}), self.BASE)
        with pytest.raises(DataError, match="cmp-cea-s1 exists with other parameters"):
            finished([Experiment("cmp-cea-s1", {"train.seed": 1, "train.max_steps": 20})], self.BASE)

    def test_uncommitted_changes_are_refused(self, repository: Path) -> None:
        (repository / "comparison").mkdir()
        (repository / "comparison/comparison.md").write_text("")
        require_clean(Path("comparison"))
        (repository / "params.yaml").write_text("train: {lr: 0.2}\n")
        with pytest.raises(DataError, match=r"uncommitted changes: params\.yaml"):
            require_clean(Path("comparison"))


@dataclass(frozen=True)
class Script(Experiment):
    """Runs Python instead of DVC."""

    code: str = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


class TestRunning:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_a_failure_stops_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        good = [Script(name, {}, code="import os; print(os.environ['MARK'])") for name in "ac"]
        caplog.set_level("INFO")
        done: list[str] = []
        failed = run_all(
            [good[0], Script("b", {}, code="raise SystemExit('the reason')"), good[1]],
            1,
            {"MARK": "x"},
            done.append,
            Path("states"),
        )
        assert (failed, sorted(done)) == (["b"], ["a", "c"])
        assert "the reason" in caplog.text
        assert Path(".dvc/tmp/compare/a.log").read_text() == "x\n"

    def test_a_run_that_finds_dvc_busy_tries_again(self) -> None:
        code = (
            "import pathlib\nseen = pathlib.Path('seen')\nif not seen.exists():\n    seen.touch()\n"
            "    raise SystemExit('ERROR: Unable to acquire lock. Most likely another DVC process is running')\n"
        )
        assert run_all([Script("a", {}, code=code)], 1, {}, lambda _: None, Path("states")) == []
        assert Path("seen").exists()

    def test_several_at_a_time(self) -> None:
        meet = (
            "import pathlib, time\npathlib.Path('{0}').touch()\nwhile not pathlib.Path('{1}').exists(): time.sleep(.01)"
        )
        pair = [Script("a", {}, code=meet.format("a", "b")), Script("b", {}, code=meet.format("b", "a"))]
        assert run_all(pair, 2, {}, lambda _: None, Path("states")) == []

    def test_an_interrupt_ends_what_runs_and_what_waits(self) -> None:
        def interrupt(name: str) -> None:
            raise KeyboardInterrupt

        child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(120)'])"
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_all(
                [Script("a", {}, code=""), *(Script(name, {}, code=child) for name in "bcd")],
                2,
                {},
                interrupt,
                Path("states"),
            )
        assert time.monotonic() - start < 60, "b and c, and d after them, sleep for two minutes"
        with only_one():
            """The lock is free: nobody who inherited it is alive."""

    def test_each_training_has_a_state_that_survives_it(self) -> None:
        code = "import os, pathlib; os.chdir('/'); pathlib.Path(os.environ['CEA_TRAIN_STATE']).mkdir(parents=True)"
        assert run_all([Script("a", {}, code=code), Script("b", {}, code=code)], 1, {}, lambda _: None, Path("s")) == []
        assert sorted(folder.name for folder in Path("s").iterdir()) == ["a", "b"]

    def test_one_comparison_at_a_time(self) -> None:
        with only_one(), pytest.raises(InputError, match="still at work"), only_one():
            pass


def test_page() -> None:
    """A rival that is ahead in all, one that is not told apart; a group that one of them lacks."""
    rows = []
    for seed in (1, 2, 3):
        for number, scene in enumerate("abc"):
            common = {
                "seed": seed,
                "clean_id": scene,
                "recipe": "noise",
                "n_components": 1,
                "uniform": True,
                "seen": True,
            }
            for variant, gain in (
                ("cea", 1.0),
                ("film", 1.5 + 0.01 * number + 0.01 * seed),
                ("none", 1.0 + number - 1),
            ):
                scores = {"gain_psnr": gain, "output_psnr": 20 + gain, "output_ssim": 0.5}
                rows.append(common | {"variant": variant, "sample_id": f"{scene}-noise"} | scores)
    lineage = {"git": {"commit": "0123456789"}, "hardware": {"cpu": "a processor"}, "versions": {"torch": "2.13"}}
    runs = [
        {
            "variant": "cea",
            "seed": seed,
            "training": {"steps": 10, "seconds": 90},
            "lineage": lineage,
            "key": {"train": {"batch": 4, "patch": 32}},
            "val_gain_psnr": [[5, 0.5], [10, 0.5 + seed]],
        }
        for seed in (1, 2, 3)
    ]
    costs = {name: {"parameters": 250e3, "gmacs_224": 0.4} for name in ("cea", "film", "none")}
    text = page(
        Contest(
            compare(pl.DataFrame(rows), "cea"),
            {"seed": 7, "train": {"batch": 4, "patch": 32}, "model": {"rank": 4, "key_grid": 9, "adapter": "cea"}},
            costs,
            runs,
            "cea",
            ("cmp-none-s3",),
        )
    )
    assert "**Partial: 3 of 4 runs.** Missing: cmp-none-s3." in text
    assert "| 10 | +2.50 (+1.50 to +3.50) |" in text
    assert "seeds 1, 2, 3, 10 steps of 4 patches of 32 px by muon (rates 0.002, 0.001); network tiny, nafnet" in text
    assert (
        "CEA: rank 4, affinity dot, residual_scale 0.1, key_cell 1, key_grid 9, sites encoder+middle; data of seed 7; "
        "commit 01234567; a processor" in text
    )
    assert "| film | 0.25 M | 0.4 | 3 | +1.53 | 0.01 | 0.5000 | 0% | +0.53 | +0.51 to +0.55 | +0.52 to +0.54 |" in text
    assert "| all | all | 3 | +1.00 | +0.53 * | +0.00 |" in text
    assert "None" not in text
    assert "nan" not in text
