"""Where clean images come from: packages without importing them, folders, registered sources."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cea.data.sources import bundled, packages
from cea.data.sources.bundled import CATALOGUE, Bundled, BundledConfig, read_disparity
from cea.data.sources.folder import Folder, FolderConfig
from cea.data.sources.packages import Packages, PackagesConfig
from cea.data.sources.registry import SOURCES
from cea.errors import ConfigError, DataError, ImageError
from cea.io.images import pixel_sha256, write_image


def test_every_bundled_photograph_is_there_with_its_licence():
    items = Bundled(BundledConfig()).items()
    assert [item.name for item in items] == list(CATALOGUE)
    for item in items:
        rgb = item.load().rgb
        assert rgb.dtype == np.uint8
        assert min(rgb.shape[:2]) >= 300
        assert item.licence
        assert item.source.startswith(("scikit-image/", "scikit-learn/"))


def test_packages_are_located_without_importing_them():
    program = (
        "import sys; from cea.data.sources.bundled import *; Bundled(BundledConfig()).items();"
        "assert not {'skimage', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_motorcycle_has_the_depth_of_its_disparity():
    loaded = bundled._photograph("motorcycle").load()
    assert loaded.inverse_depth is not None
    assert loaded.inverse_depth.shape == loaded.rgb.shape[:2]
    assert (loaded.inverse_depth.min(), loaded.inverse_depth.max()) == (0, 65535)
    # The tank in the middle is nearer than the shelves at the top.
    assert loaded.inverse_depth[230:260, 330:360].mean() > 1.5 * loaded.inverse_depth[:60, 300:500].mean()


def test_unknown_disparity_takes_the_farther_neighbour(tmp_path):
    gap = np.array([[5, np.nan, np.nan, 3, 1], [np.nan, 1, 2, np.inf, np.nan], [np.nan] * 5])
    np.savez(tmp_path / "d.npz", arr_0=gap.astype(np.float32))
    expected = np.array([[5, 3, 3, 3, 1], [1, 1, 2, 2, 2], [1] * 5])
    assert np.array_equal(read_disparity(tmp_path / "d.npz"), np.rint((expected - 1) / 4 * 65535))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"scikit-image is not installed.*pip install scikit-image"):
        Bundled(BundledConfig(names=["coffee"])).items()


def test_a_missing_file_of_a_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "_folder", lambda distribution: tmp_path)
    with pytest.raises(DataError, match=r"'coffee': .*coffee\.png is missing; .*reinstall scikit-image"):
        Bundled(BundledConfig(names=["coffee"])).items()


def test_a_photograph_out_of_no_catalogue_is_named():
    with pytest.raises(ConfigError, match="'cofee'; expected names out of astronaut"):
        Bundled(BundledConfig(names=["cofee"])).items()


def test_a_folder_is_searched_in_depth_in_a_fixed_order(tmp_path):
    for name in ("b/x.PNG", "a/deep/y.jpeg", "a/x.png", "notes.txt", ".hidden/z.png", "a/._x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [item.name for item in Folder(FolderConfig(path=str(tmp_path))).items()] == [
        "a/deep/y.jpeg",
        "a/x.png",
        "b/x.PNG",
    ]


def test_what_the_walk_leaves_out_is_named_with_its_reason(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.heic").write_bytes(b"")
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere")
    items = list(Folder(FolderConfig(path=str(tmp_path))).items())
    assert [item.name for item in items] == ["a.png", "b.heic", "c.png"]
    for item, says in zip(items[1:], ("HEIC is not read here", "a link that leads nowhere"), strict=True):
        with pytest.raises(ImageError, match=f"{item.name}: {says}; expected"):
            item.load()


def test_a_link_to_a_folder_which_dvc_does_not_watch_is_refused_by_name(tmp_path):
    write_image(tmp_path / "photographs/deep/a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "photographs/b.png").symlink_to(tmp_path / "photographs/deep/a.png")
    (tmp_path / "root").symlink_to(tmp_path / "photographs")
    source = Folder(FolderConfig(path="root"))
    source.check(tmp_path)
    (tmp_path / "photographs/deep/linked").symlink_to(tmp_path)
    with pytest.raises(
        DataError, match=r"root/deep/linked: a link to a folder, whose files DVC does not see; expected"
    ):
        source.check(tmp_path)
    with pytest.raises(DataError, match=r"deep/linked: a link to a folder"):
        Folder(FolderConfig(path=str(tmp_path / "photographs"))).items()


def test_a_missing_or_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; .*ingest\.sources\.folder\.path"):
        Folder(FolderConfig(path=str(tmp_path / "nowhere"))).items()
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"no image files; expected files ending in .*\.jpg"):
        Folder(FolderConfig(path=str(tmp_path))).items()


def test_sources_are_found_by_name_and_a_wrong_name_gets_a_suggestion():
    assert SOURCES["folder"] is Folder
    with pytest.raises(ConfigError, match="did you mean 'bundled'"):
        SOURCES["bundeld"]


def wallpapers(folder):
    for entry in packages.CATALOGUE.values():
        write_image(folder / Path(entry.file).with_suffix(".png").name, np.zeros((64, 64, 3), np.uint8))
        (folder / entry.file).write_bytes((folder / Path(entry.file).with_suffix(".png").name).read_bytes())


def test_photographs_of_packages_train_and_name_their_authors(tmp_path):
    wallpapers(tmp_path)
    items = Packages(PackagesConfig(bundled=["coffee"], folder=str(tmp_path))).items()
    assert [item.name for item in items] == ["coffee", *packages.CATALOGUE]
    assert items[0].split is None  # dealt by its content, as ever
    for item, entry in zip(items[1:], packages.CATALOGUE.values(), strict=True):
        assert item.split == "train"
        assert item.licence == f"{entry.licence}, {entry.author}"
        assert item.source.startswith(f"{packages.PACKAGE}/")
        assert item.load().rgb.shape == (64, 64, 3)


def test_views_of_a_wallpaper_are_images_of_their_own(tmp_path):
    wallpapers(tmp_path)
    rng = np.random.default_rng(0)
    write_image(tmp_path / "fig.png", rng.integers(0, 256, (700, 900, 3), dtype=np.uint8))
    (tmp_path / packages.CATALOGUE["fig"].file).write_bytes((tmp_path / "fig.png").read_bytes())
    config = PackagesConfig(bundled=[], names=["fig"], folder=str(tmp_path), distant_side=300, close_ups=3)
    whole, distant, *close = Packages(config).items()
    assert [item.name for item in close] == ["fig-close-up-0", "fig-close-up-1", "fig-close-up-2"]
    assert {item.split for item in close} == {distant.split} == {"train"}
    assert len({item.source for item in [whole, distant, *close]}) == 1
    assert distant.load().rgb.shape == (233, 300, 3)
    cuts = [item.load().rgb for item in close]
    assert len({cut.tobytes() for cut in cuts}) == 3
    for cut, again in zip(cuts, Packages(config).items()[2:], strict=True):
        assert cut.shape == (640, 640, 3)
        assert np.array_equal(cut, again.load().rgb)
        corner = np.argwhere((whole.load().rgb[:61, :261] == cut[0, 0]).all(axis=2))
        assert any(np.array_equal(whole.load().rgb[y : y + 640, x : x + 640], cut) for y, x in corner)


def test_each_view_can_come_in_other_tones_too(tmp_path):
    wallpapers(tmp_path)
    ramp = np.repeat(np.linspace(0, 255, 900).astype(np.uint8)[None, :, None], 3, 2)
    photograph = np.tile(ramp, (700, 1, 1)) * np.array([1, 1, 0], np.uint8)
    write_image(tmp_path / "fig.png", photograph)
    (tmp_path / packages.CATALOGUE["fig"].file).write_bytes((tmp_path / "fig.png").read_bytes())
    config = PackagesConfig(bundled=[], names=["fig"], folder=str(tmp_path), distant_side=300, close_ups=1, tones=30)
    items = {item.name: item for item in Packages(config).items()}
    assert len(items) == 3 * 31
    assert {item.split for item in items.values()} == {"train"}
    assert len({(item.source, item.licence) for item in items.values()}) == 1
    toned = [items[f"fig-tone-{number}"].load().rgb for number in range(30)]
    assert all(image.shape == photograph.shape for image in toned)
    assert len({image.tobytes() for image in toned}) == 30
    assert np.array_equal(toned[7], items["fig-tone-7"].load().rgb)
    means = [image.mean() for image in toned]
    assert max(means) - min(means) > 60  # lighter and darker
    spreads = [image.std() / photograph.std() for image in toned]
    assert 0.3 < min(spreads) < 0.75 < max(spreads) < 1.3  # flatter, hardly ever harsher
    chroma = [
        np.ptp(image.astype(float), axis=2).mean() / np.ptp(photograph.astype(float), axis=2).mean() for image in toned
    ]
    assert min(chroma) < 0.6 < max(chroma)  # paler
    for image in toned:  # what was lighter stays so
        assert (np.diff(image[0].mean(axis=1)) > -1).all()


def test_a_close_up_of_a_small_photograph_is_all_of_it(tmp_path):
    wallpapers(tmp_path)
    config = PackagesConfig(bundled=[], names=["fig"], folder=str(tmp_path), close_ups=1)
    assert Packages(config).items()[1].load().rgb.shape == (64, 64, 3)


def test_only_licences_that_ask_for_attribution_at_most():
    assert {entry.licence for entry in packages.CATALOGUE.values()} == {"CC-BY-4.0", "CC0-1.0"}


def test_a_missing_wallpaper_says_what_to_install(tmp_path):
    with pytest.raises(DataError, match=f"'aitzgorri'.*is missing.*apt-get install {packages.PACKAGE}"):
        Packages(PackagesConfig(folder=str(tmp_path))).items()


def test_an_unknown_wallpaper_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ingest\.sources\.packages\.names: 'moon'"):
        Packages(PackagesConfig(names=["moon"], folder=str(tmp_path))).items()


def test_the_pixels_of_the_bundled_photographs_are_those_of_dvc_lock() -> None:
    """Every hash of the default data follows from these."""
    digests = {item.name: pixel_sha256(item.load().rgb)[:10] for item in Bundled(BundledConfig()).items()}
    assert digests == {
        "astronaut": "a41469c08e",
        "chelsea": "c425392596",
        "china": "5549830b9b",
        "coffee": "efa95ee3c1",
        "flower": "75b4e128b7",
        "hubble": "b90c153abb",
        "motorcycle": "40f5d27d5b",
        "rocket": "9564e3cae6",
    }
