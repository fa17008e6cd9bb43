"""TLWLoss where others have written the loop: copied, pickled, evaluated, in somebody's module."""

import copy
import io
import pickle
from itertools import pairwise

import pytest
import torch
from test_images import images, tlw_loss
from torch import nn

from tlw.losses.tlw import TLWLoss


def steps(loss_fn: TLWLoss, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The last loss of two calls."""
    torch.manual_seed(3)
    for _ in range(2):
        value = loss_fn(*images(dtype))
    return value.detach()


def phi(loss_fn: TLWLoss) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in loss_fn.weight_net.parameters()]


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_goes_on_as_the_original_and_apart_from_it(way):
    original = tlw_loss()
    steps(original)
    other = (
        copy.deepcopy(original) if way == "deepcopy" else pickle.loads(pickle.dumps(original))  # noqa: S301
    )
    before = phi(original)
    assert torch.equal(steps(other), steps(copy.deepcopy(original)))
    assert_same(phi(original), before)
    steps(original)
    assert_same(phi(original), phi(other))


def test_a_state_dict_goes_through_a_file_of_tensors_and_plain_values_alone():
    original = tlw_loss()
    steps(original)
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    other = tlw_loss(init="normal")
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(steps(other), steps(original))
    assert_same(phi(original), phi(other))


def test_a_state_dict_of_another_device_or_precision_comes_to_where_phi_is():
    """float64 stands for another device: the optimiser moves its moments to phi's in either."""
    original = tlw_loss().double()
    steps(original, torch.float64)
    state = original.state_dict()
    other = tlw_loss()
    other.load_state_dict(state)
    for parameter, moments in other.optimizer.state.items():
        assert moments["exp_avg"].dtype == parameter.dtype == torch.float32
        assert moments["exp_avg"].device == moments["step"].device == parameter.device
    assert steps(other).isfinite()


def test_evaluation_without_gradients_leaves_phi_alone_though_the_loss_is_in_training_mode():
    loss_fn = tlw_loss()
    before = phi(loss_fn)
    with torch.no_grad():
        assert steps(loss_fn) > 0
    assert_same(phi(loss_fn), before)


def test_phi_learns_once_a_call_so_also_when_gradients_of_several_are_added_up():
    loss_fn = tlw_loss()
    net = nn.Conv2d(3, 3, 3, padding=1)
    _, hr = images()
    found = [phi(loss_fn)]
    for _ in range(2):  # of one step of theta
        (loss_fn(net(hr), hr) / 2).backward()
        found.append(phi(loss_fn))
    assert all(not torch.equal(a[0], b[0]) for a, b in pairwise(found))
    assert next(iter(loss_fn.optimizer.state.values()))["step"] == 2


class Model(nn.Module):
    """As a LightningModule has it: the loss is a part of what is trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Conv2d(3, 3, 3, padding=1)
        self.loss_fn = tlw_loss()

    def forward(self, lr, hr):
        return self.loss_fn(self.net(lr), hr)


def test_an_optimiser_of_all_parameters_leaves_phi_to_its_own():
    """Zeroed before the loss, so that what phi's step leaves would be there for the other step."""
    found = []
    for everything in (False, True):
        model = Model()
        trained = model if everything else model.net
        optimizer = torch.optim.AdamW(trained.parameters(), lr=0.1, weight_decay=0.1)
        torch.manual_seed(1)
        for _ in range(3):
            _, hr = images()
            optimizer.zero_grad()
            model(hr, hr).backward()
            nn.utils.clip_grad_norm_(trained.parameters(), 0.1)
            optimizer.step()
        found.append([p.detach().clone() for p in model.parameters()])
    assert_same(*found)
