"""A run's steps: what it takes of a user's network or loss, and what a checkpoint must be like."""

import copy

import pytest
import torch
from toys import CROPS, SMALL_EDSR, SMALL_HAT, SMALL_VDSR, toy_cell
from trainings import train_here

from tlw.config.config import Backbone, Cell
from tlw.networks.sr_net import build_network, load_network, super_resolve
from tlw.training.checkpoint import Checkpoints, Saved
from tlw.training.run import Run

CPU = torch.device("cpu")
LOG = {"pending": [], "seconds": 0.0, "size": 0}


def cell_with(network: str = "Good", loss: str = "Mean") -> Cell:
    own = {"own": {"kind": "custom", "path": f"foreign:{loss}"}}
    return toy_cell("own", backbone={"path": f"foreign:{network}"}, changes=own)


def step(cell: Cell) -> dict:
    lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32)
    return Run(cell, CPU).step(lr, hr)


def test_a_network_and_a_loss_of_ones_own_take_a_step():
    assert step(cell_with())["loss"].isfinite()


@pytest.mark.parametrize(
    ("network", "found"),
    [
        ("OneChannel", r"a tensor \(1, 1, 32, 32\) of torch.float32"),
        ("NotEnlarged", r"a tensor \(1, 3, 16, 16\) of torch.float32"),
        ("OtherScale", r"a tensor \(1, 3, 64, 64\) of torch.float32"),
        ("Levels", r"a tensor \(1, 3, 32, 32\) of torch.uint8, without a gradient"),
        ("Pair", "a tuple"),
    ],
)
def test_a_network_that_gives_no_image_is_told_by_its_class(network, found):
    told = rf"foreign:{network}: expected .* \(1, 3, 32, 32\) of lr \(1, 3, 16, 16\), found "
    with pytest.raises(ValueError, match=told + found):
        step(cell_with(network))
    net = build_network(Backbone(path=f"foreign:{network}"), 2).eval()
    with pytest.raises(ValueError, match=rf"foreign:{network}: expected .* of lr \(1, 3, 9, 8\)"):
        super_resolve(net, torch.rand(3, 9, 8))


def test_a_network_without_weights_enlarges_and_cannot_be_trained():
    with pytest.raises(ValueError, match=r"foreign:NoWeights: expected parameters to train, found"):
        Run(cell_with("NoWeights"), CPU)
    net = build_network(Backbone(path="foreign:NoWeights"), 2).eval()
    assert super_resolve(net, torch.rand(3, 9, 8)).shape == (3, 18, 16)


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        ("Map", r"a tensor \(1, 3, 32, 32\) of torch.float32"),
        ("PerImage", r"a tensor \(1,\) of torch.float32"),
        ("Detached", r"a tensor \(\) of torch.float32, without a gradient"),
        ("Whole", r"a tensor \(\) of torch.int64, without a gradient"),
        ("Number", "a float"),
        ("Dict", "a dict"),
    ],
)
def test_a_loss_that_gives_no_scalar_with_a_gradient_is_told_by_its_class(loss, found):
    told = rf"foreign:{loss}: expected a scalar tensor with a gradient, found {found}"
    with pytest.raises(ValueError, match=told):
        step(cell_with(loss=loss))


def test_figures_of_a_loss_that_are_no_scalars_are_told_by_name():
    with pytest.raises(ValueError, match=r"foreign:OddFigures: last: expected scalars .* errors"):
        step(cell_with(loss="OddFigures"))


def test_a_step_beyond_memory_is_told_with_its_size_and_what_to_change():
    told = r"toy_x2_own_seed0: a step of 1 images of 32 x 32 hr pixels: too much for the memory"
    with pytest.raises(ValueError, match=told):
        step(cell_with("TooLarge"))
    net = build_network(Backbone(path="foreign:TooLarge"), 2).eval()
    with pytest.raises(
        ValueError, match=r"9 x 8 lr pixels at once on cpu: .* smaller tiles \(--tile\)"
    ):
        super_resolve(net, torch.rand(3, 9, 8))


def saved(run: Run, tmp_path) -> Saved:
    checkpoints = Checkpoints(tmp_path / "checkpoints", {}, 6)
    checkpoints.save(3, {**run.state(), "log": LOG})
    return checkpoints.load()


def trained(loss: str, **options) -> Run:
    run = Run(toy_cell(loss, **options), CPU)
    run.begin(None)
    run.start_epoch(0)
    run.step(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32))
    return run


@pytest.mark.parametrize("loss", ["l1", "l1-udl"])
@pytest.mark.parametrize("backbone", [SMALL_EDSR, {"path": "vdsr", "arguments": {"features": 5}}])
def test_a_checkpoint_of_another_shape_is_told_by_name(tmp_path, loss, backbone):
    other = saved(trained(loss, backbone=backbone), tmp_path)
    run = Run(toy_cell(loss, backbone=SMALL_VDSR), CPU)
    told = rf"{other.path}: does not fit this version's network or loss: .*to start anew"
    with pytest.raises(ValueError, match=told):
        run.begin(other)


def test_an_optimisers_state_of_another_shape_is_told_by_name(tmp_path):
    run = trained("l1", backbone=SMALL_VDSR)
    state = run.optimizer.state_dict()["state"]
    state[0]["exp_avg"] = torch.zeros(2, 2)
    other = saved(run, tmp_path)
    with pytest.raises(ValueError, match=r"optimizer: expected exp_avg of .*, found \(2, 2\)"):
        Run(toy_cell(backbone=SMALL_VDSR), CPU).begin(other)


def test_a_run_gone_on_with_under_other_versions_is_on_record_as_made_by_both(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tlw.training.run.versions", lambda: {"torch": "2.6.0"})
    first = trained("l1", backbone=SMALL_VDSR)
    again = Run(first.cell, CPU)
    assert again.begin(saved(first, tmp_path)) == 3
    assert len(again.sittings) == 1  # nothing differs
    monkeypatch.setattr("tlw.training.run.versions", lambda: {"torch": "2.7.0"})
    other = Run(first.cell, CPU)
    other.begin(saved(again, tmp_path))
    assert [(s.start, s.versions["torch"]) for s in other.sittings] == [(0, "2.6.0"), (3, "2.7.0")]


def test_the_scale_of_a_step_s_gradient_is_kept():
    run = Run(toy_cell(backbone=SMALL_EDSR, recipe=CROPS), CPU)
    run.step(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32))
    run.note_gradient(100)
    gradient = torch.cat([p.grad.flatten() for p in run.net.parameters()])
    assert run.gradient_rms[100] == pytest.approx(gradient.square().mean().sqrt().item())


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_steps_are_those_of_a_plain_loop_with_torchs_optimiser_decay_and_clipping(optimizer):
    changes = {"optimizer": optimizer, "weight_decay": 0.1, "clip_gradient": 0.02}
    run = Run(toy_cell(backbone=SMALL_EDSR, recipe=CROPS | changes), CPU)
    plain = copy.deepcopy(run.plain_net)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    r = run.cell.recipe
    stepper = kind(
        plain.parameters(), lr=r.learning_rate, betas=r.betas, eps=r.eps, weight_decay=0.1
    )
    torch.manual_seed(0)
    for _ in range(4):
        lr, hr = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 32, 32)
        run.step(lr, hr)
        stepper.zero_grad()
        loss = 2 * (plain(lr) - hr).abs().mean()  # images are taken to [-1, 1]
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.02)
        assert norm > 0.02  # so it is clipped
        stepper.step()
    torch.testing.assert_close(run.plain_net.state_dict(), plain.state_dict())


def test_with_ema_the_running_mean_of_the_weights_is_what_is_saved(tmp_path, pairs, monkeypatch):
    seen, take = [], Run.step

    def step(self, *images, **options):
        figures = take(self, *images, **options)
        state = self.plain_net.net.state_dict()
        seen.append({key: value.clone() for key, value in state.items()})
        return figures

    monkeypatch.setattr(Run, "step", step)
    cell = toy_cell(backbone=SMALL_HAT, recipe=CROPS | {"ema": 0.7, "learning_rate": 1e-2})
    folder = train_here(cell, pairs, tmp_path)
    mean = seen[0]
    for state in seen[1:]:
        mean = {
            key: 0.7 * mean[key] + 0.3 * value if value.is_floating_point() else value
            for key, value in state.items()
        }
    saved, _ = load_network(folder / "weights.safetensors")
    torch.testing.assert_close(saved.net.state_dict(), mean)
    assert any(not torch.equal(mean[key], value) for key, value in seen[-1].items())
