"""Scores of optional libraries: computed where they are there, said to be absent where not, never made up."""

from __future__ import annotations

import importlib.machinery
import sys
import threading
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cea.metrics import no_reference, perceptual
from cea.metrics.perceptual import LPIPS_SIDE, Absent, load_lpips

URL = "https://example.org/models/alexnet-0000.pth"


class Distance:
    """Stands for torchmetrics' LPIPS: mean |a - b|, summed up as a torchmetrics metric does."""

    def __init__(self, network: str, normalize: bool) -> None:
        assert (network, normalize) == ("alex", True)
        self.total, self.inside = 0.0, threading.Lock()

    def eval(self):
        return self

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        assert self.inside.acquire(blocking=False), "two threads at once"
        assert a.dtype == torch.float32
        assert a.shape[:2] == (1, 3)
        assert 0 <= float(a.min()) <= float(a.max()) <= 1
        self.total += float((a - b).abs().mean())
        self.inside.release()
        return torch.tensor(self.total)

    def reset(self) -> None:
        self.total = 0.0


def module(name: str, **contents: object) -> types.ModuleType:
    found = types.ModuleType(name)
    found.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(found).update(contents)
    return found


@pytest.fixture
def library(monkeypatch, tmp_path: Path):
    """torchvision and the metric are there; the weights only once ``tmp_path/checkpoints`` holds them."""
    weights = types.SimpleNamespace(DEFAULT=types.SimpleNamespace(url=URL))
    monkeypatch.setitem(sys.modules, "torchvision", module("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", module("torchvision.models", AlexNet_Weights=weights))
    lpip = module("torchmetrics.image.lpip", LearnedPerceptualImagePatchSimilarity=Distance)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", lpip)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def fetch(folder: Path, name: str = "alexnet-0000.pth") -> None:
    (folder / "checkpoints" / name).write_bytes(b"weights")


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    found = load_lpips()
    assert isinstance(found, Absent)
    assert "pip install '.[perceptual]'" in found.reason


def test_without_weights_it_is_said_where_they_belong_and_nothing_is_fetched(library: Path):
    found = load_lpips()
    assert isinstance(found, Absent)
    assert str(library / "checkpoints") in found.reason
    assert URL in found.reason


def test_a_library_that_does_not_load_is_absent_not_a_crash(library: Path, monkeypatch):
    fetch(library)
    del sys.modules["torchmetrics.image.lpip"].LearnedPerceptualImagePatchSimilarity
    found = load_lpips()
    assert isinstance(found, Absent)
    assert "AttributeError" in found.reason


def test_with_both_every_pair_gets_its_own_value_in_any_thread(library: Path):
    fetch(library)
    lpips = load_lpips()
    assert not isinstance(lpips, Absent)
    grey = np.full((LPIPS_SIDE, 80, 3), 100, np.uint8)
    found: dict[int, float | None] = {}

    def measure(step: int) -> None:
        found[step] = lpips(grey, grey + np.uint8(step))

    threads = [threading.Thread(target=measure, args=(step,)) for step in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {step: pytest.approx(step / 255, abs=1e-6) for step in range(12)}
    assert lpips(grey / 255 + 2.0, np.full_like(grey, 255)) == 0, "out of range is clipped, as the scores do"


def test_images_too_small_for_the_network_have_none(library: Path):
    fetch(library)
    small = np.zeros((LPIPS_SIDE - 1, 90, 3), np.uint8)
    assert load_lpips()(small, small) is None


def test_blur_raises_the_blur_effect_and_matches_scikit_image():
    from skimage.measure import blur_effect

    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    image = cv2.resize(image, (128, 96), interpolation=cv2.INTER_CUBIC)
    values = [no_reference.blur_effect(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (0.3, 1.0, 3.0)]
    assert values == sorted(values)
    assert 0 < values[0] < values[2] < 1
    assert no_reference.blur_effect(image) == pytest.approx(blur_effect(image / 255, channel_axis=-1))


def test_what_is_not_there_is_named_and_the_rest_is_computed(monkeypatch):
    monkeypatch.setattr(no_reference, "find_spec", lambda name: None)
    scores, missing = no_reference.load_scores()
    assert list(scores) == ["blur_effect"]
    assert "torchvision is not installed" in missing["arniqa"]


def test_arniqa_is_used_where_it_and_its_weights_are(library: Path, monkeypatch):
    class Mean(Distance):
        def __init__(self, regressor: str, normalize: bool) -> None:
            super().__init__("alex", normalize)

        def __call__(self, image: torch.Tensor) -> torch.Tensor:
            return super().__call__(image, torch.zeros_like(image))

    monkeypatch.setitem(sys.modules, "torchmetrics.image.arniqa", module("torchmetrics.image.arniqa", ARNIQA=Mean))
    assert "ARNIQA.pth" in no_reference.load_scores()[1]["arniqa"]
    fetch(library, "ARNIQA.pth")
    fetch(library, "regressor_koniq10k.pth")
    scores, missing = no_reference.load_scores()
    assert missing == {}
    for _ in range(2):
        assert scores["arniqa"](np.full((8, 8, 3), 51, np.uint8)) == pytest.approx(0.2)
