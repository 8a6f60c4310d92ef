"""The compiled loops give the bits of the NumPy and OpenCV calls that stand in for them: pixels, severity, labels."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cea.config import parse
from cea.degradations.contract.base import Applied, Context
from cea.degradations.contract.registry import FAMILIES
from cea.degradations.engine import fused
from cea.degradations.engine.draw import draw
from cea.degradations.engine.recipes import RecipeConfig
from cea.degradations.engine.records import Record
from cea.degradations.engine.render import Tile, render, render_tile
from cea.degradations.exact import compiled
from cea.degradations.exact.maps import box_mean, stretched
from cea.degradations.exact.particles import specks
from cea.degradations.exact.planes import quantise
from cea.degradations.exact.portable import portable
from cea.degradations.families import lowlight
from cea.degradations.families.haze import Haze, HazeParams
from cea.errors import ConfigError, ImageError
from cea.io.images import pixel_sha256
from cea.rng import SampleKey, generator
from cea.types import ImageF, ImageU8, Map

pytestmark = [
    pytest.mark.skipif(compiled.LIBRARY is None, reason="the package was installed without a C compiler"),
    pytest.mark.filterwarnings("error::RuntimeWarning"),  # a pass that the engine does not trust proves nothing
]

RECIPES: dict[str, dict[str, Any]] = {name: {"nodes": {name: {}}} for name in FAMILIES if name != "albumentations"}
RECIPES["low_haze_rain"] = {"order": "cdd11", "nodes": {"low": {}, "rain": {}, "haze": {"unevenness": 0.5}}}
RECIPES["low_haze_snow"] = {"order": "physical", "nodes": {"low": {}, "snow": {}, "haze": {"airlight_jitter": 0.1}}}
RECIPES["dim_cast"] = {"nodes": {"low": {"exposure": [0.4, 0.9], "cast": [0.1, 0.4]}, "noise": {}}}
RECIPES["no_gamma"] = {"nodes": {"low": {"gamma": [1.0, 1.0], "exposure": [0.5, 0.9]}, "rain": {"veil": 0.2}}}
RECIPES["wide_rain"] = {"nodes": {"rain": {"angle_deg": [40.0, 60.0], "amount": [4.0, 4.0]}}}
SIZES = ((1, 1), (1, 7), (2, 2), (3, 1), (2, 65), (63, 64), (64, 64), (131, 97), (256, 256))


def clean(shape: tuple[int, int]) -> ImageU8:
    """Random darks, a bright flat patch, black, and white: sums of very different sizes."""
    pixels = (generator(3).random((*shape, 3)) ** 3 * 255).astype(np.uint8)
    pixels[shape[0] // 3 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = (200, 180, 90)
    pixels[: shape[0] // 4, shape[1] // 2 :] = 0
    pixels[-(shape[0] // 4) :, : shape[1] // 4] = 255
    return pixels


def drawn(name: str, image: ImageU8, variant: int, crop: tuple[int, int, int, int] | None = None) -> Record:
    recipe = parse(RecipeConfig, RECIPES[name], name)
    key = SampleKey(7, pixel_sha256(image), name, variant)
    return draw(name, recipe, key, clean_id="x", split="test", crop=crop, nonuniform=bool(variant % 2))


def bits(record: Record, image: ImageU8, **options: Any) -> dict[str, bytes]:
    rendered = render(record, image, **options)
    arrays = {"degraded": rendered.degraded, "severity": rendered.severity, **rendered.labels}
    return {name: np.ascontiguousarray(values).tobytes() for name, values in arrays.items()}


def assert_same(patch: pytest.MonkeyPatch, record: Record, image: ImageU8, **options: Any) -> None:
    fast = bits(record, image, **options)
    with patch.context() as without:
        without.setattr(compiled, "LIBRARY", None)
        plain = bits(record, image, **options)
    assert fast.keys() == plain.keys()
    assert {name for name in fast if fast[name] != plain[name]} == set()


@pytest.mark.parametrize("name", RECIPES)
def test_every_family_and_size(name: str, monkeypatch: pytest.MonkeyPatch):
    for shape in SIZES:
        image = clean(shape)
        for variant in range(4):
            assert_same(monkeypatch, drawn(name, image, variant), image, labels=variant > 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["low_haze_rain", "low_haze_snow", "dim_cast"])
@pytest.mark.parametrize("shape", [(720, 1080), (401, 3000), (1500, 90)])
def test_several_strips(name: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    """The guided filter begins anew with every strip of rows, and its sums go on within one."""
    image = clean(shape)
    for variant in range(2):
        assert_same(monkeypatch, drawn(name, image, variant), image, labels=True)


def test_crops_and_own_maps(monkeypatch: pytest.MonkeyPatch):
    image = clean((300, 401))
    record = drawn("low_haze_rain", image, 1, crop=(17, 101, 200, 203))
    assert_same(monkeypatch, record, image, labels=True)
    depth, light = (generator(seed).random((75, 100)).astype(np.float32) ** 8 for seed in (1, 2))
    light[:30] = 0
    for given in (
        {"inverse_depth": depth},
        {"light": light},
        {"inverse_depth": depth.T[::-1].T, "light": light * 1e-30},
    ):
        assert_same(monkeypatch, record, image, labels=True, **given)


def test_pixels_that_lie_apart():
    """A tile may be a part of a larger array."""
    image = clean((90, 120))
    record = drawn("low_haze_rain", image, 0)
    part = image[10:80, 20:100]
    apart, together = (
        render_tile(record, Tile(pixels, 10, 20, 90, 120)).degraded for pixels in (part, np.ascontiguousarray(part))
    )
    np.testing.assert_array_equal(apart, together)


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has drawn nothing yet."""
    monkeypatch.setattr(fused, "_KNOWN", {})


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.filterwarnings("default::RuntimeWarning")
@pytest.mark.parametrize("shape", [(23, 23), (40, 511), (64, 513), (30, 530), (25, 1030), (300, 24)])
def test_box_means_are_those_of_opencv(shape: tuple[int, int]):
    values = generator(5).random(shape, np.float32) ** 3
    values[values < 1e-3] = 0
    for side in range(1, 23):
        assert np.array_equal(compiled.box_mean(values, side), blurred(values, side)), side


@pytest.mark.parametrize("odd", [1e-7, 1.5, -0.5, np.inf, np.nan])
def test_box_means_whose_bits_depend_on_the_order_are_left_to_opencv(odd: float):
    values = generator(5).random((200, 600), np.float32)
    for place in [(0, 0), (199, 599), (100, 511), (100, 512)]:
        changed = values.copy()
        changed[place] = odd
        assert compiled.box_mean(changed, 22) is None
        assert np.array_equal(box_mean(changed, 22), blurred(changed, 22), equal_nan=True)
    assert compiled.box_mean(values, 23) is None
    assert compiled.box_mean(values[:22], 22) is None
    assert compiled.box_mean(values.astype(np.float64), 22) is None  # type: ignore[arg-type]
    assert compiled.box_mean(values[:, ::2], 22) is None


@pytest.mark.parametrize("seed", range(40))
def test_maps_are_enlarged_as_opencv_does_it(seed: int, monkeypatch: pytest.MonkeyPatch):
    rng = generator(seed)
    small = rng.random(rng.integers(1, 70, 2), np.float32)
    shape = tuple(small.shape + rng.integers(0, (200, 1200)) * (rng.random(2) > 0.2))  # or one side of it alone
    low, high = (0.0, 1.0) if seed % 2 else sorted(rng.random(2).tolist())
    by_loops = portable()(stretched)(small, shape, low, high)
    monkeypatch.setattr(compiled, "LIBRARY", None)
    np.testing.assert_array_equal(by_loops, portable()(stretched)(small, shape, low, high))


def test_maps_that_are_larger_or_of_another_type_are_left_to_opencv():
    values = generator(6).random((64, 64), np.float32)
    assert stretched(values, (32, 32)).shape == (32, 32)  # OpenCV takes means there
    assert np.array_equal(stretched(values, (32, 32)), cv2.resize(values, (32, 32)))
    assert stretched(values.astype(np.float64), (70, 70)).dtype == np.float64
    assert stretched(values[:, ::2], (64, 33)).shape == (64, 33)
    assert stretched(values, values.shape) is values


def blurred(values: Map, side: int) -> Map:
    return cv2.blur(np.ascontiguousarray(values), (side, side), borderType=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


@pytest.mark.parametrize("density", [0.0, 1e-5, 0.004, 0.06, 0.45, 0.999, 1.0])
@pytest.mark.parametrize("shape", [(1, 3), (7, 9), (33, 1000), (3, 2051)])
def test_specks(density: float, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    fast = specks(shape, 11, density)
    monkeypatch.setattr(compiled, "LIBRARY", None)
    assert np.array_equal(fast, specks(shape, 11, density))


def test_levels_of_anything(monkeypatch: pytest.MonkeyPatch):
    odd = [
        -np.inf,
        -1e30,
        -1,
        -0.0,
        0,
        1e-30,
        0.5 / 255,
        1.5 / 255,
        254.5 / 255,
        1,
        2,
        8.4e6,
        8.5e6,
        1e30,
        np.inf,
        np.nan,
    ]
    planes = compiled.planar((4, 5 * len(odd)))
    planes[:] = np.resize(np.array(odd, np.float32), planes.shape)
    fast = quantise(planes)
    monkeypatch.setattr(compiled, "LIBRARY", None)
    assert np.array_equal(fast, quantise(planes))


@pytest.mark.parametrize("what", ["image", "severity"])
def test_what_apply_gives_counts(what: str, monkeypatch: pytest.MonkeyPatch):
    """Somebody changes a family's formula, and not its steps."""
    before = Haze.apply

    def apply(self: Haze, image: ImageF, params: HazeParams, context: Context) -> Applied:
        done = before(self, image, params, context)
        return replace(done, **{what: getattr(done, what) * np.float32(0.5)})

    image = clean((63, 64))
    record = drawn("low_haze_rain", image, 0)
    unchanged = bits(record, image)
    monkeypatch.setattr(Haze, "apply", apply)
    fused._KNOWN.clear()
    with pytest.warns(RuntimeWarning, match="haze: its pixel_steps do not give what its apply gives"):
        assert_same(monkeypatch, record, image)
    assert bits(record, image) != unchanged


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_each_kind_of_steps_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    """In physical order the sensor's part of low light is noise alone; that says nothing of its other part."""
    before = lowlight.gain_of
    monkeypatch.setattr(lowlight, "gain_of", lambda light, gamma: before(light, gamma) * np.float32(0.5))
    image = clean((63, 64))
    for name in ("low_haze_snow", "low_haze_rain"):
        record = drawn(name, image, 0)
        with pytest.warns(RuntimeWarning, match="low: its pixel_steps"):
            assert_same(monkeypatch, record, image)


class Doubled(Haze):
    """Somebody's own: float64, as NumPy makes it."""

    name = "doubled"

    def apply(self, image: ImageF, params: HazeParams, context: Context) -> Applied:
        slope = np.linspace(0.5, 1, image.shape[1])[None, :, None]
        return replace(super().apply(image, params, context), image=image * slope)


class Cropped(Haze):
    name = "cropped"

    def apply(self, image: ImageF, params: HazeParams, context: Context) -> Applied:
        done = super().apply(image, params, context)
        return replace(done, image=done.image[1:])


@pytest.fixture
def own_families(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in (Doubled, Cropped):
        monkeypatch.setattr(family, "pixel_steps", lambda *_: None)
        monkeypatch.setitem(FAMILIES._loaded, family.name, family)
        monkeypatch.setitem(RECIPES, family.name, {"order": "listed", "nodes": {family.name: {}, "noise": {}}})


@pytest.mark.usefixtures("own_families")
def test_what_an_own_family_returns_reaches_the_pass_as_it_takes_it(monkeypatch: pytest.MonkeyPatch):
    image = clean((63, 64))
    assert_same(monkeypatch, drawn("doubled", image, 0), image)
    with pytest.raises(ConfigError, match="apply returned an image of shape"):
        bits(drawn("cropped", image, 0), image)


def test_a_tile_with_the_depth_of_another_is_refused():
    image = clean((64, 64))
    tile = Tile(image, 0, 0, 64, 64, inverse_depth=np.zeros((16, 16), np.float32))
    with pytest.raises(ImageError, match="depth map of shape"):
        render_tile(drawn("haze", image, 0), tile)


@pytest.mark.usefixtures("nothing_known")
def test_the_pass_is_trusted_for_what_it_was_written_for():
    image = clean((63, 64))
    for name in RECIPES:
        for variant in range(2):
            bits(drawn(name, image, variant), image)
    assert {family.name for family, *_ in fused._KNOWN} == {"low", "rain", "haze", "noise"}
    assert all(fused._KNOWN.values())


def any_recipe(rng: np.random.Generator) -> dict[str, Any]:
    """Some families in any order, with some of what decides how they are computed."""
    nodes = {
        "low": {"gamma": [[1.0, 1.0], [2.0, 3.0]][rng.integers(2)], "cast": [[0.0, 0.0], [0.1, 0.4]][rng.integers(2)]},
        "noise": {},
        "haze": {"unevenness": float(rng.integers(2)) / 2},
        "rain": {
            "angle_deg": [[-20.0, 20.0], [31.0, 60.0]][rng.integers(2)],
            "veil": [0.0, float(rng.integers(2)) / 4],
        },
        "snow": {},
        "vignetting": {},
    }
    chosen = rng.permutation(list(nodes))[: rng.integers(1, len(nodes) + 1)]
    order = ("listed", "physical")[rng.integers(2)]
    return {"order": order, "nodes": {str(name): nodes[str(name)] for name in chosen}}


@pytest.mark.parametrize("seed", range(20))
def test_any_recipe(seed: int, monkeypatch: pytest.MonkeyPatch):
    """What families do in one pass, in any order and mixture, between families that take no part in it."""
    rng = generator(seed)
    image = clean((int(rng.integers(1, 150)), int(rng.integers(1, 1100))))
    recipe = parse(RecipeConfig, any_recipe(rng), "any")
    key = SampleKey(seed, pixel_sha256(image), "any", 0)
    record = draw("any", recipe, key, clean_id="x", split="test", crop=None, nonuniform=bool(seed % 2))
    given = {name: rng.random(image.shape[:2], np.float32) for name in ("inverse_depth", "light")} if seed % 3 else {}
    assert_same(monkeypatch, record, image, **given)


def flags(root: Path) -> list[str]:
    """Those of setup.py."""
    assignments = [node for node in ast.parse((root / "setup.py").read_text()).body if isinstance(node, ast.Assign)]
    values = {node.targets[0].id: node.value for node in assignments}
    return [flag for name in ("EXACT", "FLAGS") for flag in ast.literal_eval(values[name])]


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["cc", "clang"])
@pytest.mark.parametrize("processor", ["x86-64", "x86-64-v3"])
def test_every_instruction_set(
    compiler: str, processor: str, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Built for an old processor alone, instead of for several: the plain path's bits again."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    source = Path(shutil.copy(compiled.SOURCE, tmp_path))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    built = tmp_path / f"kernels{EXTENSION_SUFFIXES[0]}"
    command = [compiler, "-shared", "-fPIC", "-Wall", *flags(root), f"-march={processor}", "-U__gnu_linux__"]
    command += [f'-DSOURCE_SHA256="{digest}"', str(source), "-o", str(built), "-lm"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert "pragma" not in run.stderr  # a promise that the compiler does not know is not kept
    if run.returncode:
        pytest.skip(f"the compiler knows no {processor}")
    if processor == "x86-64-v3" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor cannot run it")
    monkeypatch.setattr(compiled, "LIBRARY", compiled.library(source))
    assert compiled.LIBRARY is not None
    image = clean((131, 97))
    for name in RECIPES:
        assert_same(monkeypatch, drawn(name, image, 1), image, labels=True)


def test_a_library_of_another_source_is_not_used(tmp_path: Path):
    for file in compiled.SOURCE.parent.glob("kernels.*"):
        shutil.copy(file, tmp_path)
    assert compiled.library(tmp_path / "kernels.c") is not None
    with (tmp_path / "kernels.c").open("a") as source:
        source.write("/* changed */")
    assert compiled.library(tmp_path / "kernels.c") is None


def test_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CEA_COMPILED", "0")
    assert compiled.library(compiled.SOURCE) is None


@pytest.mark.slow
@pytest.mark.parametrize("edited", [False, True])
def test_a_copy_of_the_project_without_what_git_ignores_uses_them(tmp_path: Path, edited: bool):
    """As experiments with ``--temp`` or ``--queue`` do; with other sources they would be other loops."""
    package = Path(compiled.__file__).parents[2]
    shutil.copytree(package, tmp_path / "cea", ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.safetensors"))
    source = tmp_path / "cea/degradations/exact/kernels.c"
    source.write_text(source.read_text() + "\n" * edited)
    program = "from cea.degradations.exact import compiled; print(compiled.__file__, compiled.LIBRARY is not None)"
    said = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(tmp_path / "cea/degradations/exact/compiled.py"), str(not edited)]
