"""DISTS, against the authors' package with the same trunk, and against recorded distances."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from oracles import dists_oracle
from toys import photograph

from tlw.judge.dists import DISTS


def noise() -> torch.Tensor:
    return torch.rand(2, 2, 3, 40, 47, generator=torch.Generator().manual_seed(0))


def mosaic() -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph in blocks of 2 x 2, and as it is."""
    hr = torch.from_numpy(photograph(size=(96, 80)).copy()).permute(2, 0, 1)[None] / 255
    return F.avg_pool2d(hr, 2).repeat_interleave(2, 2).repeat_interleave(2, 3), hr


@pytest.mark.skipif(
    importlib.util.find_spec("DISTS_pytorch") is None, reason="DISTS_pytorch is not installed"
)
def test_distances_and_gradients_equal_those_of_the_authors_package():
    for sr, hr in (noise(), mosaic()):
        ours, theirs = sr.clone().requires_grad_(), sr.clone().requires_grad_()
        found, expected = DISTS()(ours, hr), dists_oracle()(theirs, hr, require_grad=True)
        torch.testing.assert_close(found, expected.reshape(-1), rtol=0, atol=2e-6)
        found.sum().backward()
        expected.sum().backward()
        scale = theirs.grad.abs().max()
        torch.testing.assert_close(ours.grad / scale, theirs.grad / scale, rtol=0, atol=1e-4)


# Given by DISTS_pytorch 0.1 with this trunk.
@pytest.mark.parametrize(("images", "recorded"), [(noise, [0.1848, 0.1998]), (mosaic, [0.22844])])
def test_distances_are_those_that_the_authors_package_gave(images, recorded):
    assert DISTS()(*images()).tolist() == pytest.approx(recorded, abs=5e-5)


def test_equal_images_are_at_distance_0_and_the_order_does_not_matter():
    sr, hr = mosaic()
    judge = DISTS()
    torch.testing.assert_close(judge(hr, hr), torch.zeros(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(judge(sr, hr), judge(hr, sr), rtol=0, atol=1e-6)


def test_each_image_of_a_batch_is_measured_by_itself():
    sr, hr = noise()
    judge = DISTS()
    alone = [judge(sr[i : i + 1], hr[i : i + 1]).item() for i in range(2)]
    assert judge(sr, hr).tolist() == pytest.approx(alone, abs=1e-6)


def test_its_weights_are_frozen_and_no_part_of_a_checkpoint():
    judge = DISTS()
    assert not judge.state_dict() and not list(judge.parameters())


@pytest.mark.parametrize("shape", [(1, 3, 15, 40), (1, 1, 40, 40), (3, 40, 40)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="DISTS: expected images") as told:
        DISTS().features(torch.zeros(shape))
    assert str(shape) in str(told.value)
