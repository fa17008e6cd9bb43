"""Start weights: their distributions, and that cells of a group start alike."""

import math

import pytest
import torch
from torch import nn
from toys import SMALL_HAT, SMALL_VDSR, toy_cells

from tlw.backbones.init import init_weights
from tlw.training.trainer import Run

CPU = torch.device("cpu")


def layers() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "conv": nn.Conv2d(40, 50, 5),
            "up": nn.ConvTranspose2d(40, 50, 5),
            "linear": nn.Linear(100, 4000),
            "batch_norm": nn.BatchNorm2d(4000),
            "layer_norm": nn.LayerNorm(4000),
        }
    )


def drawn(init: str) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """The layers as built, and after their start weights were drawn."""
    torch.manual_seed(0)
    built, net = layers(), layers()
    net.load_state_dict(built.state_dict())
    init_weights(net, init)
    return built, net


def assert_normal(values: torch.Tensor, mean: float, deviation: float) -> None:
    """Within four standard errors of mean and deviation, and as often within one of them."""
    n, values = values.numel(), values.detach().flatten()
    assert abs(values.mean() - mean) < 4 * deviation / math.sqrt(n)
    assert values.std() == pytest.approx(deviation, rel=4 / math.sqrt(2 * n))
    within = ((values - mean).abs() < deviation).float().mean()
    assert within == pytest.approx(0.6827, abs=4 * 0.4654 / math.sqrt(n))


@pytest.mark.parametrize("init", ["normal", "authors-code"])
def test_convolutions_and_linear_layers_are_drawn_from_n_0_002(init):
    built, net = drawn(init)
    for name in ("conv", "up", "linear"):
        assert_normal(net[name].weight, 0, 0.02)
    for name in ("conv", "up"):
        assert torch.equal(net[name].bias, built[name].bias)


def test_normal_leaves_norms_and_biases_as_built():
    built, net = drawn("normal")
    assert torch.equal(net["linear"].bias, built["linear"].bias)
    for key in ("weight", "bias"):
        assert torch.equal(
            net["batch_norm"].get_parameter(key), built["batch_norm"].state_dict()[key]
        )


def test_the_authors_code_draws_batch_norms_and_linear_biases_with_deviation_1():
    """Its calls are normal_(bias, 0.02), in which 0.02 is the mean (networks.py, weights_init)."""
    built, net = drawn("authors-code")
    assert_normal(net["linear"].bias, 0.02, 1)
    assert_normal(net["batch_norm"].weight, 0, 0.02)
    assert_normal(net["batch_norm"].bias, 0.02, 1)
    for key, value in net["layer_norm"].state_dict().items():
        assert torch.equal(value, built["layer_norm"].state_dict()[key])


def test_pytorch_leaves_everything_as_built():
    built, net = drawn("pytorch")
    for key, value in net.state_dict().items():
        assert torch.equal(value, built.state_dict()[key]), key


def equal_states(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("init", ["normal", "authors-code", "pytorch"])
@pytest.mark.parametrize("backbone", [SMALL_VDSR, SMALL_HAT])
def test_all_unweighted_losses_start_from_the_same_network(backbone, init):
    losses = ["l1", "mse", "l1-udl"]
    recipe = {"sampling": "whole", "epochs": 1, "init": init}
    cells = toy_cells(losses, backbone=backbone, scale=4, recipe=recipe, seeds=[5, 6])
    runs = {(cell.loss_name, cell.seed): Run(cell, CPU) for cell in cells}
    for loss in losses:
        assert equal_states(runs[loss, 5].plain_net, runs["l1", 5].plain_net)
        assert not equal_states(runs[loss, 6].plain_net, runs["l1", 5].plain_net)


@pytest.mark.parametrize("preset", ["paper", "authors-code"])
def test_both_weighted_losses_start_from_the_same_networks_too(preset):
    cells = toy_cells(["l1", "l1-tlw", "mse-tlw"], preset=preset)
    plain, *weighted = [Run(cell, CPU) for cell in cells]
    for run in weighted:
        assert equal_states(run.plain_net, plain.plain_net)
    assert equal_states(weighted[0].loss.weight_net, weighted[1].loss.weight_net)
    weight = weighted[0].loss.weight_net.layers[3].weight
    assert weight.detach().std() == pytest.approx(0.02, rel=0.2)
