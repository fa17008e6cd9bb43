"""Batches: a pure function of seed and step, every image in its turn, lr and hr in step."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from toys import coded_pairs, photograph, toy_cells, toy_pairs

from tlw.config.recipe import Recipe
from tlw.data.pairs import Pairs
from tlw.data.protocols import PROTOCOLS
from tlw.imaging.ranges import to_unit
from tlw.training.sampling import Batches, noise_seed

SIZES = [(20, 24), (17, 31), (40, 16)]  # lr
WHOLE = Recipe(sampling="whole", epochs=3)
TILES = Recipe(sampling="tiles", size=16, batch=4, epochs=3, augment=True)
CROPS = Recipe(sampling="crops", size=16, batch=3, epochs=4, steps_per_epoch=25, augment=True)


@pytest.fixture(scope="module")
def coded(tmp_path_factory) -> Pairs:
    return Pairs(coded_pairs(tmp_path_factory.mktemp("coded"), SIZES))


def origin(lr: torch.Tensor) -> tuple[int, int, int]:
    """Image, top and left of a crop of `coded_pairs`, however it is turned."""
    return tuple(int(channel.min()) for channel in lr)


def equal(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@given(
    recipe=st.sampled_from([WHOLE, TILES, CROPS]),
    seed=st.integers(0, 2**40),
    steps=st.lists(st.integers(0, 8), min_size=2, max_size=4),
)
def test_a_batch_depends_on_seed_and_step_alone(coded, recipe, seed, steps):
    batches = Batches([coded], recipe, seed)
    in_any_order = {step: batches[step] for step in steps}
    for step in sorted(steps):
        assert equal(Batches([coded], recipe, seed)[step], in_any_order[step])


@pytest.mark.parametrize("recipe", [WHOLE, TILES, CROPS])
def test_another_seed_gives_another_order(coded, recipe):
    orders = []
    for seed in range(3):
        batches = Batches([coded], recipe, seed)
        orders.append(tuple(origin(lr[0]) for lr, _ in (batches[i] for i in range(9))))
    assert len(set(orders)) == 3


def test_all_losses_of_a_group_see_the_same_batches(coded):
    cells = toy_cells(["l1", "mse", "l1-tlw", "mse-tlw", "l1-udl"], train=["coded"])
    seen = [Batches([coded], cell.recipe, cell.seed) for cell in cells]
    for batches in seen[1:]:
        assert len(batches) == len(seen[0])
        assert all(equal(batches[step], seen[0][step]) for step in range(len(batches)))


def test_whole_images_come_one_by_one_each_once_in_an_epoch_in_a_new_order(coded):
    orders = []
    for seed in range(4):
        batches = Batches([coded, coded], WHOLE, seed)
        assert batches.steps_per_epoch == 6 and len(batches) == 18
        for epoch in range(3):
            images = [batches[6 * epoch + step] for step in range(6)]
            assert all(len(lr) == len(hr) == 1 for lr, hr in images)
            orders.append([origin(lr[0])[0] for lr, _ in images])
            assert sorted(orders[-1]) == [0, 0, 1, 1, 2, 2]
            for index, (lr, hr) in zip(orders[-1], images, strict=True):
                assert equal((lr[0], hr[0]), coded.stored(index))
    assert len(set(map(tuple, orders))) > 6


@given(seed=st.integers(0, 2**32), size=st.sampled_from([10, 16, 32]), batch=st.integers(1, 7))
def test_every_tile_comes_once_in_an_epoch(coded, seed, size, batch):
    recipe = TILES.model_copy(update={"size": size, "batch": batch})
    batches = Batches([coded], recipe, seed)
    side = size // 2
    grid = {
        (i, y, x)
        for i, (height, width) in enumerate(SIZES)
        for y in range(0, height - side + 1, side)
        for x in range(0, width - side + 1, side)
    }
    for epoch in range(2):
        first = epoch * batches.steps_per_epoch
        epoch_of = [batches[first + step] for step in range(batches.steps_per_epoch)]
        assert all(len(lr) == batch for lr, _ in epoch_of[:-1])
        assert Counter(origin(tile) for lr, _ in epoch_of for tile in lr) == Counter(grid)


@pytest.mark.parametrize("recipe", [WHOLE, TILES, CROPS])
def test_images_are_counted_as_they_come(coded, recipe):
    batches = Batches([coded], recipe, 0)
    seen = 0
    for step in range(len(batches)):
        assert batches.images_in(step) == seen
        seen += len(batches[step][0])
    assert batches.images_in(len(batches)) == seen


@given(
    recipe=st.sampled_from([WHOLE.model_copy(update={"augment": True}), TILES, CROPS]),
    seed=st.integers(0, 10**9),
    step=st.integers(0, 8),
)
def test_lr_and_hr_of_a_batch_stay_aligned_however_they_are_turned(coded, recipe, seed, step):
    lr, hr = map(to_unit, Batches([coded], recipe, seed)[step])
    assert torch.equal(F.interpolate(lr, scale_factor=2, mode="nearest"), hr)


def test_crops_of_photographs_are_what_downsampling_their_hr_gives(tmp_path):
    """Independent of how pairs are stored; near a crop's edge the kernel looks outside of it."""
    pairs = Pairs(toy_pairs(tmp_path, [photograph(size=(112, 112))]))
    batches = Batches([pairs], CROPS.model_copy(update={"size": 48}), 5)
    for step in range(4):
        for lr, hr in zip(*batches[step], strict=True):
            pixels = hr.permute(1, 2, 0).numpy()
            again = torch.from_numpy(PROTOCOLS["paper"].downsample(pixels, 2)).permute(2, 0, 1)
            inner = (..., slice(3, -3), slice(3, -3))
            torch.testing.assert_close(lr[inner], again[inner], atol=1e-6, rtol=0)


def test_augmentation_gives_all_eight_orientations_alike(coded):
    recipe = Recipe(sampling="crops", size=8, batch=400, epochs=1, steps_per_epoch=1, augment=True)
    lr, _ = Batches([coded], recipe, 0)[0]
    corners = lr[:, 1:, [0, 0, -1], [0, -1, 0]].long()  # y and x at three corners
    corners = corners - corners.amin(dim=-1, keepdim=True)
    seen = Counter(tuple(c.flatten().tolist()) for c in corners)
    assert len(seen) == 8 and min(seen.values()) > 25


def test_without_augmentation_nothing_is_turned(coded):
    for recipe in (TILES, CROPS):
        batches = Batches([coded], recipe.model_copy(update={"augment": False}), 0)
        for step in range(9):
            for lr, hr in zip(*batches[step], strict=True):
                image, y, x = origin(lr)
                assert equal((lr, hr), coded.crop(image, y, x, 8))


def test_random_crops_reach_every_place_of_every_image(tmp_path):
    pairs = Pairs(coded_pairs(tmp_path, [(9, 8), (8, 10)]))
    recipe = Recipe(sampling="crops", size=16, batch=300, epochs=1, steps_per_epoch=1)
    seen = Counter(origin(lr) for lr in Batches([pairs], recipe, 0)[0][0])
    assert set(seen) == {(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 0, 2)}
    assert 0.4 < sum(n for (image, _, _), n in seen.items() if image == 0) / 300 < 0.6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_that_starts_late_gives_the_same_batches(coded, workers):
    batches = Batches([coded], CROPS, 7)
    loader = DataLoader(batches, batch_size=None, sampler=range(94, 100), num_workers=workers)
    for step, batch in enumerate(loader, 94):
        assert equal(batch, batches[step])
    assert step == 99


@pytest.mark.parametrize("recipe", [WHOLE, TILES, CROPS])
def test_sets_kept_on_a_device_give_the_same_batches(coded, recipe):
    kept = Pairs(coded.path, device=torch.device("cpu"))
    for step in range(9):
        assert equal(Batches([kept], recipe, 3)[step], Batches([coded], recipe, 3)[step])


def test_batches_end_where_the_recipe_does(coded):
    batches = Batches([coded], WHOLE, 0)
    assert len(list(batches)) == len(batches) == 9
    with pytest.raises(IndexError):
        batches[9]


@pytest.mark.parametrize("recipe", [TILES, CROPS])
def test_an_image_smaller_than_the_size_is_refused_by_name_at_the_start(tmp_path, recipe):
    pairs = Pairs(coded_pairs(tmp_path, [(30, 30), (40, 7)]))
    with pytest.raises(ValueError, match=r"coded\S+\.h5: image 1\.png has 80 x 14 pixels.*16"):
        Batches([pairs], recipe, 0)


def test_sets_of_two_scales_are_refused(coded, tmp_path):
    other = Pairs(coded_pairs(tmp_path, SIZES, scale=3))
    with pytest.raises(ValueError, match=r"one scale, found \[2, 3\]"):
        Batches([coded, other], WHOLE, 0)


def test_every_step_and_seed_has_its_own_noise():
    seeds = [noise_seed(seed, step) for seed in range(20) for step in range(200)]
    assert len(set(seeds)) == len(seeds)
    assert np.mean(seeds) == pytest.approx(2**31, rel=0.05)
