"""Ingest: every usable image once, every unusable one by name, the same bytes each time, all or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import polars as pl
import pytest
from PIL import Image

from cea.config import parse
from cea.data import clean as clean_module
from cea.data import duplicates, workers
from cea.data import ingest as module
from cea.data.clean import load_clean, read_clean
from cea.data.dead_leaves.images import LeavesConfig, generate
from cea.data.ingest import IngestConfig, ingest
from cea.data.sources.base import Item, Loaded, Source
from cea.data.sources.registry import SOURCES
from cea.data.splits import SplitConfig, assign
from cea.data.taken import Taken
from cea.errors import ConfigError, DataError
from cea.io import sequences, tables
from cea.io.images import pixel_sha256, read_rgb, write_image
from cea.levels import to_uint8
from pipeline.ingest import held_out_lines


def _picture(index: int, size: int = 96) -> np.ndarray:
    return generate(LeavesConfig(size=size, seed=99), index).rgb


def _config(folder: Path, **changes: Any) -> IngestConfig:
    values = {
        "source": "folder",
        "sources": {"folder": {"path": str(folder)}},
        "leaves": {"count": 3, "val_count": 1, "size": 64},
        **changes,
    }
    return parse(IngestConfig, values, "ingest")


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    for index in range(5):
        write_image(folder / f"p{index}.png", _picture(index))
    return folder


def _ingested(folder: Path, config: IngestConfig) -> pl.DataFrame:
    ingest(folder, config)
    return read_clean(folder)


def _bytes_below(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_table_speaks_of_the_files(photographs, tmp_path):
    report = ingest(tmp_path / "clean", _config(photographs))
    table = read_clean(tmp_path / "clean")
    assert report.images == {(*key,): count for *key, count in table.group_by("split", "kind").len().rows()}
    assert len(table) == 8
    assert not report.refused
    for row in table.iter_rows(named=True):
        image = load_clean(tmp_path / "clean", row["file"], row["depth_file"], row["sha256"])
        assert image.rgb.shape == (row["height"], row["width"], 3)
        assert (image.inverse_depth is None) == (row["kind"] == "photograph")
        assert row["id"].rsplit("-", 1)[1] == row["sha256"][:10]
    leaf = table.filter(table["kind"] == "leaves").row(0, named=True)
    depth = load_clean(tmp_path / "clean", leaf["file"], leaf["depth_file"], leaf["sha256"]).inverse_depth
    assert depth.dtype == np.float32
    assert depth.shape == (64, 64)
    assert 0.5 < depth.max() <= 1


def test_leaves_train_and_validate_only_and_no_split_is_empty(photographs, tmp_path):
    table = _ingested(tmp_path / "clean", _config(photographs))
    assert set(table["split"]) == {"train", "val", "test"}
    assert set(table.filter(table["kind"] == "leaves")["split"]) == {"train", "val"}
    assert set(table.filter(table["split"] == "test")["kind"]) == {"photograph"}


def test_same_bytes_again_with_two_workers_and_in_another_order_of_files(photographs, tmp_path):
    ingest(tmp_path / "one", _config(photographs))
    ingest(tmp_path / "two", _config(photographs), workers=2)
    assert _bytes_below(tmp_path / "one") == _bytes_below(tmp_path / "two")


def test_a_run_replaces_the_former_one_and_the_leftovers_of_a_killed_one(photographs, tmp_path):
    ingest(tmp_path / "clean", _config(photographs))
    once = _bytes_below(tmp_path / "clean")
    (tmp_path / "clean" / "images" / "stale.png").write_bytes(b"x")
    (tmp_path / ".clean.partial" / "images").mkdir(parents=True)
    (tmp_path / ".clean.partial" / "images" / "half.png").write_bytes(b"x")
    ingest(tmp_path / "clean", _config(photographs))
    assert _bytes_below(tmp_path / "clean") == once
    assert not (tmp_path / ".clean.partial").exists()


def test_split_follows_the_content_not_the_name(photographs, tmp_path):
    before = _ingested(tmp_path / "clean", _config(photographs))
    for path in sorted(photographs.iterdir()):
        path.rename(path.with_name(f"renamed {path.stem[::-1]}.png"))
    after = _ingested(tmp_path / "clean", _config(photographs))
    assert dict(before.select("sha256", "split").rows()) == dict(after.select("sha256", "split").rows())


def test_exact_duplicates_are_left_out_by_name(photographs, tmp_path):
    write_image(photographs / "a" / "copy.png", _picture(2))
    write_image(photographs / "z" / "p2.png", _picture(2))
    report = ingest(tmp_path / "clean", _config(photographs))
    assert report.refused == [
        ("p2.png", "the same pixels as a/copy.png"),
        ("z/p2.png", "the same pixels as a/copy.png"),
    ]
    table = read_clean(tmp_path / "clean")
    assert len(table) == 8
    assert {path.stem for path in (tmp_path / "clean" / "images").iterdir()} == set(table["id"])


def test_near_duplicates_share_a_split(photographs, tmp_path):
    for index in range(5):
        Image.fromarray(_picture(index)[:, ::-1]).resize((80, 80)).save(photographs / f"mirrored{index}.jpg")
    report = ingest(tmp_path / "clean", _config(photographs, split={"test": 0.4, "val": 0.3, "salt": 5}))
    assert sorted(map(sorted, report.grouped)) == [[f"mirrored{i}.jpg", f"p{i}.png"] for i in range(5)]
    splits = read_clean(tmp_path / "clean").group_by("group").agg(pl.col("split").n_unique())
    assert set(splits["split"]) == {1}
    assert json.loads((tmp_path / "clean" / "ingest.json").read_text())["near_duplicates"] == report.grouped


def test_equal_names_and_strange_names_get_distinct_safe_ids(tmp_path):
    folder = tmp_path / "photographs"
    names = ("a/x.png", "b/x.png", "c/Ünïcode & spaces.v2.png", "d/日本.png", "e/" + "long" * 30 + ".png")
    for index, name in enumerate(names):
        write_image(folder / name, _picture(index))
    ids = _ingested(tmp_path / "clean", _config(folder, leaves={"count": 0}))["id"].to_list()
    assert len(set(ids)) == 5
    assert all(module.re.fullmatch(r"[a-z0-9_-]{1,43}", each) for each in ids)
    assert sum(each.startswith("x-") for each in ids) == 2
    assert any(each.startswith("unicode-spaces-v2-") for each in ids)


def _truncated(path: Path) -> None:
    Image.fromarray(_picture(0)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:900])


def _floats(path: Path) -> None:
    Image.fromarray(_picture(0)[..., 0].astype(np.float32)).save(path)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated.jpg": (_truncated, "truncated"),
    "text.png": (lambda path: path.write_text("not an image"), "not an image in a known format"),
    "empty.png": (lambda path: path.write_bytes(b""), "not an image in a known format"),
    "float.tif": (_floats, "and nothing says which is white"),
    "tiny.png": (lambda path: write_image(path, _picture(0, 32)[:8, :8]), "8x8 pixels; expected at least 64"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_unusable_images_are_skipped_by_name(photographs, tmp_path, name):
    BROKEN[name][0](photographs / name)
    report = ingest(tmp_path / "clean", _config(photographs))
    assert sum(report.images.values()) == 8
    ((refused, reason),) = report.refused
    assert refused == name
    assert BROKEN[name][1] in reason
    assert json.loads((tmp_path / "clean" / "ingest.json").read_text())["refused"] == {name: reason}


def test_unusable_images_are_refused_all_at_once_by_the_flag(photographs, tmp_path):
    for name, (spoil, _) in BROKEN.items():
        spoil(photographs / name)
    with pytest.raises(DataError) as caught:
        ingest(tmp_path / "clean", _config(photographs, unusable="refuse"))
    message = str(caught.value)
    assert "5 of 10 images unusable" in message
    assert all(name in message and reason in message for name, (_, reason) in BROKEN.items())
    assert "set ingest.unusable to skip" in message
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]


def test_a_folder_with_nothing_usable_is_one_error(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    _truncated(folder / "a.jpg")
    with pytest.raises(DataError, match=r"1 of 1 images unusable: a\.jpg \(.*truncated.*at least one usable image"):
        ingest(tmp_path / "clean", _config(folder))


def test_too_few_photographs_say_how_many_are_needed(tmp_path):
    folder = tmp_path / "photographs"
    write_image(folder / "only.png", _picture(0))
    with pytest.raises(DataError, match="1 different photographs for the splits test, val, train"):
        ingest(tmp_path / "clean", _config(folder, leaves={"count": 0}))
    assert len(_ingested(tmp_path / "clean", _config(folder))) == 4


def _grey16(path: Path) -> np.ndarray:
    deep = _picture(0)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(path)
    return np.repeat(_picture(0)[..., :1], 3, axis=2)


def _rgb16(path: Path) -> np.ndarray:
    write_image(path, _picture(0).astype(np.uint16) * 257)
    return _picture(0)


def _rgba16(path: Path) -> np.ndarray:
    alpha = np.full((96, 96, 1), 65535, np.uint16)
    alpha[:, :48] = 0
    assert cv2.imwrite(str(path), np.concatenate([_picture(0)[..., ::-1].astype(np.uint16) * 257, alpha], axis=2))
    return np.where(alpha > 0, _picture(0), np.uint8(255))


def _rgb16_tiff(path: Path) -> np.ndarray:
    assert cv2.imwrite(str(path), _picture(0)[..., ::-1].astype(np.uint16) * 257)
    return _picture(0)


def _rgba(path: Path) -> np.ndarray:
    alpha = np.full((96, 96, 1), 255, np.uint8)
    alpha[:, :48] = 0
    Image.fromarray(np.concatenate([_picture(0), alpha], axis=2)).save(path)
    return np.where(alpha > 0, _picture(0), np.uint8(255))


def _grey(path: Path) -> np.ndarray:
    Image.fromarray(_picture(0)[..., 1]).save(path)
    return np.repeat(_picture(0)[..., 1:2], 3, axis=2)


def _sideways(path: Path) -> np.ndarray:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise to see it upright
    Image.fromarray(_picture(0)[:70]).save(path, exif=exif)
    return np.rot90(_picture(0)[:70], -1)


def _palette(path: Path) -> np.ndarray:
    image = Image.fromarray(_picture(0)).quantize(64)
    image.save(path)
    return np.asarray(image.convert("RGB"))


KINDS = {
    "grey16.png": _grey16,
    "grey16.tif": _grey16,
    "rgb16.png": _rgb16,
    "rgb16.tiff": _rgb16_tiff,
    "rgba16.png": _rgba16,
    "rgba.png": _rgba,
    "grey.png": _grey,
    "sideways.png": _sideways,
    "palette.gif": _palette,
    "plain.bmp": lambda path: Image.fromarray(_picture(0)).save(path) or _picture(0),
    "plain.tiff": lambda path: Image.fromarray(_picture(0)).save(path) or _picture(0),
    "lossless.webp": lambda path: Image.fromarray(_picture(0)).save(path, lossless=True) or _picture(0),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_becomes_eight_bit_upright_rgb(tmp_path, name):
    folder = tmp_path / "photographs"
    folder.mkdir()
    expected = KINDS[name](folder / name)
    table = _ingested(tmp_path / "clean", _config(folder))
    row = table.filter(table["kind"] == "photograph").row(0, named=True)
    pixels = load_clean(tmp_path / "clean", row["file"], None, row["sha256"]).rgb
    assert np.array_equal(pixels, expected)


def test_large_images_are_reduced_with_their_depth(tmp_path):
    loaded = Loaded(np.zeros((300, 200, 3), np.uint8), np.zeros((300, 200), np.uint16))
    fitted = module._fitted(loaded, IngestConfig(max_side=150))
    assert fitted.rgb.shape == (150, 100, 3)
    assert fitted.inverse_depth.shape == (150, 100)
    small = module._fitted(loaded, IngestConfig(max_side=300))
    assert small.rgb is loaded.rgb
    assert small.inverse_depth is loaded.inverse_depth


def test_a_full_disk_is_one_message_and_leaves_nothing(photographs, tmp_path, monkeypatch):
    def no_room(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(DataError, match=r"No space left on device; expected .*room.*; free some space"):
        ingest(tmp_path / "clean", _config(photographs))
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]


def test_a_changed_or_missing_image_is_noticed_when_read(photographs, tmp_path):
    ingest(tmp_path / "clean", _config(photographs))
    row = read_clean(tmp_path / "clean").row(0, named=True)
    path = tmp_path / "clean" / row["file"]
    write_image(path, 255 - read_rgb(path))
    with pytest.raises(DataError, match="its pixels changed since ingest"):
        load_clean(tmp_path / "clean", row["file"], None, row["sha256"])
    path.unlink()
    with pytest.raises(DataError, match=r"no such file.*run ingest again"):
        load_clean(tmp_path / "clean", row["file"], None, row["sha256"])


def test_a_table_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"clean\.parquet: no such file; .*run the ingest stage"):
        read_clean(tmp_path)
    (tmp_path / "clean.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="expected a complete Parquet table"):
        read_clean(tmp_path)
    clean_module.pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "clean.parquet")
    with pytest.raises(DataError, match=r"columns sha256, file, .*missing or of another type"):
        read_clean(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "foldr"}, "unknown source 'foldr'.*did you mean 'folder'"),
        ({"sources": {"folder": {"pth": "x"}}, "source": "folder"}, "unknown key 'pth'.*did you mean 'path'"),
        ({"sources": {"foldre": {}}}, "unknown source 'foldre'"),
    ],
)
def test_wrong_settings_are_named(tmp_path, values, message):
    with pytest.raises(ConfigError, match=message):
        ingest(tmp_path / "clean", parse(IngestConfig, values, "ingest"))


class _Noise(Item):
    def load(self) -> Loaded:
        return Loaded(np.random.default_rng(int(self.name)).random((80, 90, 3)))


class _NoiseSource(Source[SplitConfig]):
    Config = SplitConfig

    def items(self) -> list[Item]:
        return [_Noise(str(index), "noise", "none") for index in range(3)]


def test_another_source_can_be_registered(tmp_path):
    SOURCES.register("noise-for-this-test")(_NoiseSource)
    config = parse(IngestConfig, {"source": "noise-for-this-test", "leaves": {"count": 0}}, "ingest")
    table = _ingested(tmp_path / "clean", config)
    made = {pixel_sha256(to_uint8(_Noise(str(index), "", "").load().rgb)) for index in range(3)}
    assert set(table["sha256"]) == made


def _sided(folder: Path, names: dict[str, int]) -> Path:
    for name, index in names.items():
        write_image(folder / name, _picture(index))
    return folder


def _splits_of(folder: Path) -> dict[str, str]:
    table = read_clean(folder).filter(pl.col("kind") == "photograph")
    return {identity.rpartition("-")[0]: split for identity, split in table.select("id", "split").iter_rows()}


def test_folders_train_val_and_test_decide(tmp_path):
    sides = ("train", "val", "test")
    names = {
        f"{side}/deeper/{side}{index}.png": 3 * index + place for index in range(3) for place, side in enumerate(sides)
    }
    ingest(tmp_path / "clean", _config(_sided(tmp_path / "in", names)))
    assert _splits_of(tmp_path / "clean") == {f"{side}{index}": side for side in sides for index in range(3)}


def test_nothing_joins_what_was_held_out_on_purpose(tmp_path):
    names = {"test/held.png": 0} | {f"loose{index}.png": index for index in range(1, 12)}
    split = {"test": 0.8, "val": 0.1}
    ingest(tmp_path / "clean", _config(_sided(tmp_path / "in", names), split=split))
    found = _splits_of(tmp_path / "clean")
    assert [name for name, side in found.items() if side == "test"] == ["held"]
    assert {found[f"loose{index}"] for index in range(1, 12)} <= {"train", "val"}


def test_a_double_of_a_held_out_photograph_is_left_out_of_the_training(tmp_path):
    folder = _sided(tmp_path / "in", {"train/a.png": 0, "val/z.png": 0, "train/b.png": 1, "test/y.png": 1, "c.png": 2})
    near = np.clip(_picture(2).astype(np.int16) + 2, 0, 255).astype(np.uint8)
    write_image(folder / "test/x.png", near)
    report = ingest(tmp_path / "clean", _config(_sided(folder, {"train/d.png": 3})))
    assert _splits_of(tmp_path / "clean") == {"z": "val", "y": "test", "x": "test", "d": "train"}
    assert dict(report.refused) == {
        "train/a.png": "the same pixels as val/z.png",
        "train/b.png": "the same pixels as test/y.png",
        "c.png": "nearly the same as test/x.png, which is held out",
    }
    assert len(list((tmp_path / "clean/images").glob("*.png"))) == 4 + 3  # and the leaves


def test_few_held_out_photographs_are_named_with_a_warning(tmp_path):
    names = {
        f"{side}/{side}{index}.png": index + 6 * (side == "test") for side in ("val", "test") for index in range(6)
    }
    del names["val/val5.png"], names["val/val4.png"]
    report = ingest(tmp_path / "clean", _config(_sided(tmp_path / "in", names | {"train/t.png": 20})))
    first, warning, second = held_out_lines(report, tmp_path / "clean")
    assert first.startswith("val: val0-")
    assert warning.startswith(
        "warning: 4 photographs in val, and the best step is chosen on them; expected 5 or more; "
    )
    assert second.startswith("test: test0-")


def test_how_much_is_in_memory_at_a_time_changes_no_byte(photographs, tmp_path, monkeypatch):
    _crowd(photographs)
    ingest(tmp_path / "one", _config(photographs))
    for place, name, least in ((sequences, "_RUN", 2), (workers, "_AHEAD", 1), (duplicates, "_BLOCK", 2)):
        monkeypatch.setattr(place, name, least)
    ingest(tmp_path / "two", _config(photographs), workers=2)
    assert _bytes_below(tmp_path / "one") == _bytes_below(tmp_path / "two")
    monkeypatch.setattr(tables, "_GROUP", 3)
    ingest(tmp_path / "three", _config(photographs))
    assert read_clean(tmp_path / "three").equals(read_clean(tmp_path / "one"))
    assert (tmp_path / "three/ingest.json").read_bytes() == (tmp_path / "one/ingest.json").read_bytes()


def _crowd(folder: Path) -> None:
    """Twins, near duplicates, what is held out and its doubles, and what cannot be read."""
    _sided(folder, {"test/t0.png": 0, "val/v1.png": 1, "z/p2.png": 2, "train/n9.png": 9})
    for index in (1, 3, 4):
        Image.fromarray(_picture(index)[:, ::-1]).resize((80, 80)).save(folder / f"mirrored{index}.jpg")
    (folder / "a.png").write_text("none")


class _Counted(Source[SplitConfig]):
    """Pictures that say how many of them there are at a time."""

    Config = SplitConfig
    alive: ClassVar[set[weakref.ref[Item]]] = set()
    most: ClassVar[int] = 0

    def items(self) -> Iterator[Item]:
        for index in range(200):
            item = _Noise(str(index), "noise", "none")
            _Counted.alive.add(weakref.ref(item, _Counted.alive.discard))
            _Counted.most = max(_Counted.most, len(_Counted.alive))
            yield item


@pytest.mark.parametrize("count", [1, 2])
def test_a_source_is_asked_for_no_more_than_is_on_its_way(tmp_path, monkeypatch, count):
    monkeypatch.setattr(workers, "_AHEAD", 4)
    monkeypatch.setattr(_Counted, "most", 0)
    SOURCES.register(f"counted-{count}")(_Counted)
    config = parse(IngestConfig, {"source": f"counted-{count}", "leaves": {"count": 0}}, "ingest")
    ingest(tmp_path / "clean", config, workers=count)
    assert len(read_clean(tmp_path / "clean")) == 200
    assert 1 <= _Counted.most <= 2 * 4 * count + 2


def _usable(number: int, rng: np.random.Generator) -> module._Usable:
    """One of few pictures, sometimes with another grey value, in a place of its own."""
    look = int(rng.integers(12))
    small = duplicates.thumbnail(_picture(look, 64))
    digest = hashlib.sha256(f"{look} {rng.integers(4)}".encode()).hexdigest()
    kind = "leaves" if rng.random() < 0.2 else "photograph"
    name = f"{'abc'[rng.integers(3)]}-{digest[:10]}"
    row = {"id": name, "sha256": digest, "file": f"images/{name}.png", "depth_file": None, "height": 64, "width": 64}
    row |= {"kind": kind, "source": "s", "licence": "l", "phash": "0" * 16, "name": f"{number}.png"}
    asked = (None, None, None, "train", "val", "test")[rng.integers(6)]
    return module._Usable(row, small, None if kind == "leaves" and asked == "test" else asked)


def _by_definition(images: list[module._Usable], config: IngestConfig) -> tuple[list[dict], list[tuple], list[list]]:
    """Rows, what is left out and groups, with everything in memory."""
    order = {"test": 0, "val": 1, "train": 2, None: 3}
    numbers = sorted(range(len(images)), key=lambda number: order[images[number].split])
    looks = dict(enumerate(duplicates.groups([each.small for each in images]).tolist()))
    refused, kept = [], {}
    for number in numbers:
        first = kept.setdefault(images[number].row["sha256"], number)
        if first != number:
            refused.append((images[number].row["name"], f"the same pixels as {images[first].row['name']}"))
    left = list(kept.values())
    if any(images[number].split in ("val", "test") and images[number].row["kind"] == "photograph" for number in left):
        best: dict[int, int] = {}
        for number in left:
            best.setdefault(looks[number], number)
        goes = []
        for number in left:
            held = images[best[looks[number]]]
            if held.split in ("val", "test") and images[number].split != held.split:
                goes.append(number)
                reason = f"nearly the same as {held.row['name']}, which is held out"
                refused.append((images[number].row["name"], reason))
        left = [number for number in left if number not in goes]
        looks = dict(zip(left, duplicates.groups([images[number].small for number in left]).tolist(), strict=True))
    left.sort(key=lambda number: images[number].row["id"])
    members: dict[int, list[int]] = {}
    for number in left:
        members.setdefault(looks[number], []).append(number)
    wishes = {look: next((images[n].split for n in some if images[n].split), None) for look, some in members.items()}
    held = {images[number].split for number in left if images[number].row["kind"] == "photograph"}
    shares = config.split.model_copy(update={split: 0.0 for split in ("val", "test") if split in held})
    free = [look for look, wish in wishes.items() if wish is None]
    least = [min(images[number].row["sha256"] for number in members[look]) for look in free]
    filled = {wish for wish in wishes.values() if wish}
    splits = wishes | dict(zip(free, assign(least, shares, filled=filled), strict=True))
    rows = [
        {**images[number].row, "split": splits[looks[number]], "group": images[members[looks[number]][0]].row["id"]}
        for number in left
    ]
    named = [[images[number].row["name"] for number in some] for some in members.values() if len(some) > 1]
    return [{name: row[name] for name in clean_module.SCHEMA} for row in rows], refused, named


@pytest.mark.parametrize("seed", range(40))
def test_what_stays_and_where_it_goes_is_as_by_definition(tmp_path, seed):
    rng = np.random.default_rng(seed)
    images = [_usable(number, rng) for number in range(int(rng.integers(6, 60)))]
    config = IngestConfig(split=SplitConfig(test=0.3, val=0.0, salt=seed))
    outcomes = [(number, each) for number, each in enumerate(images)]
    with Taken(tmp_path) as taken:
        for number in rng.permutation(len(outcomes)):  # as on a cluster
            taken.add(int(number), images[number].row, images[number].small, images[number].split)
        report = module.write_chosen(tmp_path, config, taken)
    rows, refused, grouped = _by_definition(images, config)
    assert read_clean(tmp_path).to_dicts() == rows
    assert report.refused == refused
    assert report.grouped == grouped
    assert sum(report.images.values()) == len(rows)


def _most_bytes(folder: Path, count: int) -> int:
    """Of what Python and NumPy hold while so many different images are kept, sorted and written."""
    small = np.zeros((32, 32), np.uint8)
    tracemalloc.start()
    with Taken(folder) as taken:
        for number in range(count):
            digest = hashlib.sha256(str(number).encode()).hexdigest()
            row = {"id": f"image-{digest[:10]}", "sha256": digest, "file": f"images/{digest}.png", "kind": "photograph"}
            taken.add(number, row | {"height": 64, "width": 64, "name": f"{number}.png"}, small, None)
        facts = taken.facts()
        facts = facts[taken.by_id(facts)]
        module._write(folder, IngestConfig(), facts, np.arange(count), taken, [])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_of_each_image_some_hundred_bytes_are_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sequences, "_RUN", 200)
    monkeypatch.setattr(tables, "_GROUP", 100)
    few, many = (_most_bytes(tmp_path, count) for count in (3000, 9000))
    assert (many - few) / 6000 < 200


def test_a_disk_that_is_full_of_rows_is_one_message_and_leaves_nothing(photographs, tmp_path, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Taken, "add", no_room)
    with pytest.raises(DataError, match=r"No space left on device; expected .*room.*; free some space"):
        ingest(tmp_path / "clean", _config(photographs))
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]
