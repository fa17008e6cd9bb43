"""The weighting network, against the authors' outputs."""

import numpy as np
import pytest
import torch
from recorded import GOLDEN

from tlw.losses.weight_net import WeightNet


def golden_net(golden) -> WeightNet:
    """The recorded weights in our network; its layers are numbered as the authors' are."""
    net = WeightNet().train()
    state = net.state_dict()
    for key in golden.files:
        if key.startswith("sd.conv."):
            state[key.replace("sd.conv", "layers")] = torch.from_numpy(golden[key])
    net.load_state_dict(state)
    return net


def test_it_gives_the_authors_probabilities_and_fixed_sums():
    golden = np.load(GOLDEN / "weight_net.npz")
    net = golden_net(golden)
    hr, sr = torch.from_numpy(golden["ref"]), torch.from_numpy(golden["est"])
    with torch.no_grad():
        probabilities = net.layers(torch.cat([hr, sr], dim=1))
        mean = net(hr, sr, 0.3)
    np.testing.assert_allclose(probabilities.numpy(), golden["sigmoid"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean.numpy(), golden["mean_k03"], rtol=1e-5, atol=1e-6)


def test_each_image_is_given_the_share_k_of_weights():
    net, images = WeightNet(features=8, over="image"), torch.rand(2, 2, 3, 9, 11)
    mean = net(*images, 0.7).mean(dim=(1, 2, 3))
    torch.testing.assert_close(mean, torch.full((2,), 0.7))


def test_it_tells_hr_from_sr():
    net, (hr, sr) = WeightNet(features=8), torch.rand(2, 1, 3, 9, 11)
    assert not torch.equal(net(hr, sr, 0.5), net(sr, hr, 0.5))


def test_it_comes_back_from_its_file_bit_by_bit_and_refuses_another(tmp_path):
    net = WeightNet(features=4)
    net.save(tmp_path / "phi.safetensors")
    other = WeightNet(features=4).load(tmp_path / "phi.safetensors")
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    with pytest.raises(ValueError, match=r"phi\.safetensors: no weighting network"):
        WeightNet(features=8).load(tmp_path / "phi.safetensors")
