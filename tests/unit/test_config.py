"""Bad parameters are refused with the key, the value, what is allowed and the nearest valid key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from cea.config import Config, load, parse, read_params, section
from cea.errors import ConfigError


class Inner(Config):
    depth: int = Field(default=3, ge=1, le=9)


class Outer(Config):
    rank: int = Field(default=8, ge=1)
    rate: float = 1e-3
    name: str = "cea"
    inner: Inner = Inner()
    many: dict[str, Inner] = Field(default_factory=dict)


def test_defaults_and_values():
    assert parse(Outer, None, "model") == Outer()
    assert parse(Outer, {"rank": 16, "inner": {"depth": 2}}, "model").inner.depth == 2
    assert parse(Outer, {"rate": 1}, "model").rate == 1.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rnak": 16}, ["model", "'rnak'", "rank, rate", "did you mean 'rank'?"]),
        ({"inner": {"dpeth": 1}}, ["model.inner", "'dpeth'", "did you mean 'depth'?"]),
        ({"many": {"a": {"dep": 1}}}, ["model.many.a", "'dep'", "did you mean 'depth'?"]),
        ({"rank": "16"}, ["model.rank = '16'", "integer"]),
        ({"rank": None}, ["model.rank = None", "integer"]),
        ({"rank": True}, ["model.rank = True", "integer"]),
        ({"rank": 0}, ["model.rank = 0", "greater than or equal to 1"]),
        ({"inner": {"depth": 10}}, ["model.inner.depth = 10", "less than or equal to 9"]),
        ({"rate": "abc"}, ["model.rate = 'abc'", "number"]),
    ],
)
def test_what_is_wrong_is_said(values, words):
    with pytest.raises(ConfigError) as caught:
        parse(Outer, values, "model")
    for word in words:
        assert word in str(caught.value)


def test_numbers_are_read_as_dvc_writes_them(tmp_path: Path):
    (tmp_path / "params.yaml").write_text("seed: 3\ntrain: {lr: 1e-3}\n")
    params = read_params(tmp_path / "params.yaml")
    assert params["train"]["lr"] == 0.001
    assert load(Outer, {"model": {"rank": 4}}, "model").rank == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sede: 3\n", ["unknown key 'sede'", "did you mean 'seed'?"]),
        ("seed: [1\n", ["params.yaml", "valid YAML"]),
        ("just words\n", ["has no sections"]),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, words: list[str]):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_params(tmp_path / "params.yaml")
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_and_section_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file"):
        read_params(tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match=r"'train\.lrr'.*did you mean 'lr'"):
        section({"train": {"lr": 1}}, "train.lrr")
