"""HAT's own: windows, shifted and padded, and stochastic depth."""

import numpy as np
import pytest
import torch
from small_networks import image, small


@pytest.mark.parametrize(
    ("window", "rows", "columns"), [(7, 1, 1), (4, 3, 2), (3, 1, 4), (1, 2, 2)]
)
def test_shifted_windows_see_only_true_neighbours(window, rows, columns):
    network = small("hat", 2, window=window)
    blocked = network._blocked(rows, columns).reshape(rows, columns, *[window] * 4)
    shift = window // 2

    def origin(place: int, size: int) -> int:
        return (place + shift) % size

    for r, c, a, b, d, e in np.ndindex(*blocked.shape):
        y, x = (r * window + a, r * window + d), (c * window + b, c * window + e)
        down = origin(y[1], rows * window) - origin(y[0], rows * window)
        right = origin(x[1], columns * window) - origin(x[0], columns * window)
        assert blocked[r, c, a, b, d, e] == ((down, right) != (y[1] - y[0], x[1] - x[0]))


@torch.no_grad()
def test_hat_mirrors_an_image_to_whole_windows():
    network, lr = small("hat", 2).eval(), image(6, 9)  # to 8 x 12 pixels
    mirrored = torch.from_numpy(np.pad(lr.numpy(), ((0, 0), (0, 0), (0, 2), (0, 3)), "reflect"))
    assert torch.equal(network.features(lr), network.features(mirrored)[..., :6, :9])


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1])
@torch.no_grad()
def test_hat_takes_other_overlaps(ratio):
    network = small("hat", 2, overlap_ratio=ratio).eval()
    assert network.body[0].overlap.attention.overlap == 4 * ratio
    assert network(image(5, 10)).shape == (1, 3, 10, 20)


@torch.no_grad()
def test_stochastic_depth_rises_with_depth_and_works_on_training_only():
    lr = image(8, 8)
    network = small("hat", 2, drop_path=0.6)
    rates = [block.drop.rate for group in network.body for block in group.blocks]
    np.testing.assert_allclose(rates, [0, 0.2, 0.4, 0.6])
    outputs = [network.train()(lr) for _ in range(8)]
    assert any(not torch.equal(outputs[0], other) for other in outputs)
    without = small("hat", 2, drop_path=0)
    assert torch.equal(without.train()(lr), network.eval()(lr))


@torch.no_grad()
def test_stochastic_depth_keeps_the_mean():
    drop = small("hat", 2, drop_path=0.3).body[-1].blocks[-1].drop
    torch.manual_seed(0)
    kept = drop(torch.ones(4000, 1, 2, 2))
    assert set(kept[:, 0, 0, 0].tolist()) == {0.0, kept.max().item()}
    assert torch.equal(kept.amax(dim=(1, 2, 3)), kept.amin(dim=(1, 2, 3)))
    assert kept.mean().item() == pytest.approx(1, abs=0.05)  # 4.8 standard errors
