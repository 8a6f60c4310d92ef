"""Batches are a pure function of (seed, k, rank): whatever the workers, wherever a run starts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cea.data.loaders import (
    PatchDataset,
    PatchSequence,
    PatchSpec,
    PatchStage,
    ShardPairs,
    StepSampler,
    centre_crop,
    greyed,
    toned,
)
from cea.errors import DataError
from tests.toy_shards import toy_pair, write_toy_shards

SEQUENCE = PatchSequence(sizes=(5, 2, 3), batch=4, seed=11)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("shards")
    return [write_toy_shards(root / name, samples=count, size=24) for name, count in (("a", 5), ("b", 2), ("c", 3))]


class TestSequence:
    def test_pure(self) -> None:
        again = PatchSequence(sizes=(5, 2, 3), batch=4, seed=11)
        assert [again.orders(step) for step in (9, 2, 9)] == [SEQUENCE.orders(step) for step in (9, 2, 9)]

    def test_seed_decides(self) -> None:
        assert PatchSequence(sizes=(5, 2, 3), batch=4, seed=12).orders(0) != SEQUENCE.orders(0)

    def test_start_anywhere(self) -> None:
        whole = list(StepSampler(SEQUENCE, range(20)))
        assert list(StepSampler(SEQUENCE, range(7, 20))) == whole[7:]
        assert len(StepSampler(SEQUENCE, range(7, 20))) == 13

    def test_parts_are_the_batch(self) -> None:
        halves = StepSampler(SEQUENCE, range(4, 6), parts=SEQUENCE.batch)
        assert len(list(halves)) == len(halves) == 2 * SEQUENCE.batch
        assert [order for part in halves for order in part] == [*SEQUENCE.orders(4), *SEQUENCE.orders(5)]

    def test_batches_that_change_take_up_where_the_last_one_ended(self) -> None:
        """Every position comes once, in order, whatever the ranks; sizes are those of the stage."""
        sizes, stages = (5, 2, 3), ((0, 6, 8), (3, 2, 16), (4, 1, 24))
        growing = [
            PatchSequence(sizes, 4, 11, rank, 2, stages=tuple(PatchStage(*stage) for stage in stages))
            for rank in (0, 1)
        ]
        dealt = [[sequence.orders(step) for sequence in growing] for step in range(7)]
        assert [[len(orders) for orders in both] for both in dealt] == 3 * [[6, 6]] + [[2, 2]] + 3 * [[1, 1]]
        flat = [order for both in dealt for orders in both for order in orders]
        assert [order.side for order in flat] == 36 * [8] + 4 * [16] + 6 * [24]
        assert [replace(order, side=None) for order in flat] == [SEQUENCE.order(position) for position in range(46)]

    def test_parts_of_batches_that_change(self) -> None:
        growing = replace(SEQUENCE, stages=(PatchStage(0, 4, 8), PatchStage(2, 2, 12)))
        parts = list(StepSampler(growing, range(1, 4), parts=2))
        assert [len(part) for part in parts] == [2, 2, 1, 1, 1, 1]
        assert len(StepSampler(growing, range(1, 4), parts=2)) == 6

    def test_ranks_share_the_sequence_of_one_process(self) -> None:
        single = [SEQUENCE.order(position) for position in range(8 * 2 * 4)]
        shared = []
        for step in range(8):
            for rank in range(2):
                shared += PatchSequence(sizes=(5, 2, 3), batch=4, seed=11, rank=rank, world=2).orders(step)
        assert shared == single

    def test_every_round_holds_each_recipe_once(self) -> None:
        groups = [SEQUENCE.order(position).group for position in range(60)]
        assert all(sorted(groups[start : start + 3]) == [0, 1, 2] for start in range(0, 60, 3))
        assert len({tuple(groups[start : start + 3]) for start in range(0, 60, 3)}) > 1

    def test_samples_are_seen_equally_often(self) -> None:
        orders = [SEQUENCE.order(position) for position in range(3 * 30)]
        seen = Counter((order.group, order.row) for order in orders)
        assert {seen[0, row] for row in range(5)} == {6}
        assert {seen[1, row] for row in range(2)} == {15}
        assert {seen[2, row] for row in range(3)} == {10}

    def test_crops_and_flips_spread(self) -> None:
        orders = [PatchSequence((1,), 1, seed=0, transpose=True).order(position) for position in range(400)]
        places = np.array([(order.top, order.left) for order in orders])
        assert np.allclose(places.mean(0), 0.5, atol=0.06)
        assert places.min() >= 0
        assert places.max() < 1
        assert Counter(order.flips for order in orders).most_common()[-1][1] > 25  # each of the eight, about 50 times

    def test_transpose_is_off_by_default(self) -> None:
        assert not any(SEQUENCE.order(position).flips[2] for position in range(50))


class TestPatches:
    @pytest.mark.parametrize("workers", [0, 1, 2])
    def test_workers_do_not_matter(self, workers: int, folders: list[Path]) -> None:
        dataset = PatchDataset(ShardPairs(folders), patch=8)
        expected = [[dataset[order] for order in SEQUENCE.orders(step)] for step in range(3, 8)]
        loader = DataLoader(dataset, batch_sampler=StepSampler(SEQUENCE, range(3, 8)), num_workers=workers)
        for (degraded, clean), samples in zip(loader, expected, strict=True):
            assert torch.equal(degraded, torch.stack([sample[0] for sample in samples]))
            assert torch.equal(clean, torch.stack([sample[1] for sample in samples]))

    def test_patch_is_the_ordered_crop(self, folders: list[Path]) -> None:
        dataset = PatchDataset(ShardPairs(folders), patch=8)
        clean, degraded = toy_pair("b", 1, 24, seed=0)
        top, left = 16, 0  # of 17 places each: the last and the first
        got = dataset[PatchSpec(1, 1, top=0.9999, left=0.0, flips=(False, False, False))]
        for tensor, image in zip(got, (degraded, clean), strict=True):
            assert tensor.dtype == torch.uint8
            assert np.array_equal(tensor.permute(1, 2, 0), image[top : top + 8, left : left + 8])

    def test_an_order_may_say_its_size(self, folders: list[Path]) -> None:
        dataset, order = PatchDataset(ShardPairs(folders), patch=8), PatchSpec(0, 1, 0.3, 0.6, (True, False, False))
        sized = dataset[replace(order, side=20)]
        assert [patch.shape for patch in sized] == 2 * [(3, 20, 20)]
        for patch, same in zip(sized, PatchDataset(ShardPairs(folders), patch=20)[order], strict=True):
            assert torch.equal(patch, same)

    def test_pairs_stay_aligned_under_flips(self, folders: list[Path]) -> None:
        dataset = PatchDataset(ShardPairs(folders), patch=24)
        clean, degraded = toy_pair("a", 0, 24, seed=0)
        got = dataset[PatchSpec(0, 0, 0, 0, flips=(True, False, True))]
        for tensor, image in zip(got, (degraded, clean), strict=True):
            assert np.array_equal(tensor.permute(1, 2, 0), image[::-1].transpose(1, 0, 2))
        got = dataset[PatchSpec(0, 0, 0, 0, flips=(False, True, False))]
        assert np.array_equal(got[1].permute(1, 2, 0), clean[:, ::-1])

    def test_small_images_are_repeated_at_the_edge(self, folders: list[Path]) -> None:
        patch = PatchDataset(ShardPairs(folders), patch=30)[PatchSpec(0, 0, 0.7, 0.7, (False, False, False))][1]
        clean, _ = toy_pair("a", 0, 24, seed=0)
        assert patch.shape == (3, 30, 30)
        assert np.array_equal(patch[:, :24, :24].permute(1, 2, 0), clean)
        assert torch.equal(patch[:, 23], patch[:, 29])

    def test_patch_does_not_keep_its_tile_alive(self, folders: list[Path]) -> None:
        patch = PatchDataset(ShardPairs(folders), patch=8)[PatchSpec(0, 0, 0, 0, (False, False, False))][0]
        assert patch.untyped_storage().nbytes() == 8 * 8 * 3


class TestPairs:
    def test_cache_reads_once_and_keeps_to_its_budget(
        self, folders: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads: list[tuple[str, str]] = []
        from cea.data import loaders

        read = loaders.read_pair
        monkeypatch.setattr(
            loaders,
            "read_pair",
            lambda folder, row, place: reads.append((folder.name, row["sample_id"])) or read(folder, row, place),
        )
        one_pair = 2 * 24 * 24 * 3
        pairs = ShardPairs(folders, cache_bytes=2 * one_pair + 1)
        for _ in range(2):
            for row in range(3):
                clean, degraded = pairs.pair(0, row)
                assert np.array_equal(clean, toy_pair("a", row, 24, seed=0)[0])
                assert np.array_equal(degraded, toy_pair("a", row, 24, seed=0)[1])
        assert len(reads) == 4  # three, and the third once more: there was room for two

    def test_no_folders(self) -> None:
        with pytest.raises(DataError, match="no shard folders"):
            ShardPairs([])

    def test_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no samples"):
            ShardPairs([write_toy_shards(tmp_path / "none", samples=0)])

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file"):
            ShardPairs([tmp_path / "nowhere"])


def test_centre_crop() -> None:
    image = np.arange(5 * 8 * 3, dtype=np.uint8).reshape(5, 8, 3)
    assert np.array_equal(centre_crop(image, 4), image[0:4, 2:6])
    assert np.array_equal(centre_crop(image, 99), image)


class TestGreyness:
    def test_off_by_default_and_shared_out_as_asked(self) -> None:
        """Half of the share grey, half paler; nothing else about the orders changes."""
        plain = [PatchSequence((9,), 1, seed=3).order(position) for position in range(2000)]
        mixed = [PatchSequence((9,), 1, seed=3, grey_share=0.4).order(position) for position in range(2000)]
        assert not any(order.greyness for order in plain)
        assert [replace(order, greyness=0.0) for order in mixed] == plain
        amounts = np.array([order.greyness for order in mixed])
        assert (amounts == 1).mean() == pytest.approx(0.2, abs=0.03)
        paler = amounts[(amounts > 0) & (amounts < 1)]
        assert len(paler) / 2000 == pytest.approx(0.2, abs=0.03)
        assert paler.mean() == pytest.approx(0.5, abs=0.05)

    def test_all_the_way_is_the_luma(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        grey = greyed(image, 1)
        assert (grey == grey[..., :1]).all()
        assert np.abs(grey[..., 0] - image @ [0.299, 0.587, 0.114]).max() <= 1
        assert np.abs(greyed(image, 0.5) - (image / 2 + grey / 2)).max() <= 1
        assert (greyed(grey, 0.7) == grey).all()

    def test_both_images_of_a_pair_lose_colour(self, folders: list[Path]) -> None:
        pair = PatchDataset(ShardPairs(folders), patch=12)[
            PatchSpec(0, 2, 0.5, 0.5, (False, True, False), greyness=1.0)
        ]
        for image in pair:
            assert (image == image[:1]).all()


class TestTone:
    def test_off_by_default_and_shared_out_as_asked(self) -> None:
        """Half of the levels are black, contrasts spread evenly in their logarithm; nothing else changes."""
        plain = [PatchSequence((9,), 1, seed=3, grey_share=0.3).order(position) for position in range(2000)]
        mixed = [PatchSequence((9,), 1, 3, grey_share=0.3, tone_share=0.4).order(p) for p in range(2000)]
        assert not any(order.tone for order in plain)
        assert [replace(order, tone=None) for order in mixed] == plain
        tones = np.array([order.tone for order in mixed if order.tone])
        assert len(tones) / 2000 == pytest.approx(0.4, abs=0.03)
        contrast, level = tones.T
        assert 0.05 <= contrast.min() < contrast.max() <= 1
        assert np.log(contrast).mean() == pytest.approx(np.log(0.05) / 2, abs=0.1)
        assert (level == 0).mean() == pytest.approx(0.5, abs=0.05)

    def test_nearly_clean_pairs_get_dark_or_dull_and_keep_what_was_wrong(self) -> None:
        rng = np.random.default_rng(0)
        clean = rng.integers(20, 236, (32, 32, 3), dtype=np.uint8)
        wrong = rng.integers(-3, 4, clean.shape)
        degraded = (clean + wrong).astype(np.uint8)
        dark, dark_degraded = toned(clean, degraded, 0.1, 0.0)
        assert np.abs(dark - clean / 10).max() <= 0.5
        assert (dark_degraded.astype(int) == np.maximum(dark + wrong, 0)).all()
        dull, _ = toned(clean, degraded, 0.2, 0.8)
        assert np.abs(dull - (204 + 0.2 * (clean - 204.0))).max() <= 0.51

    def test_degraded_pairs_are_left_alone(self) -> None:
        clean = np.full((16, 16, 3), 100, np.uint8)
        far = np.full((16, 16, 3), 105, np.uint8)
        same_clean, same_far = toned(clean, far, 0.1, 0.0)
        assert same_clean is clean
        assert same_far is far

    def test_patches_are_toned_in_the_dataset(self, tmp_path: Path) -> None:
        """A clean sample comes out darker, its degraded half as well."""
        pairs = ShardPairs([write_toy_shards(tmp_path / "haze", samples=1, size=24)], cache_bytes=1 << 20)
        clean, _ = pairs.pair(0, 0)
        pairs._kept[0, 0] = clean, clean
        order = PatchSpec(0, 0, 0.0, 0.0, (False, False, False), tone=(0.1, 0.0))
        degraded, dark = PatchDataset(pairs, 24)[order]
        assert torch.equal(degraded, dark)
        assert np.abs(dark.numpy() - clean.transpose(2, 0, 1) / 10).max() <= 0.5
