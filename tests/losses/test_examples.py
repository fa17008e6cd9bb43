"""The examples: loops that others wrote, and losses with a part of one's own."""

import sys
import types
from pathlib import Path

import pytest
import torch
from oracles import let_torchvision_import
from test_images import images, tlw_loss
from test_other_loops import assert_same, phi
from test_tlw import StandIn
from torch import nn
from torch.utils.data import DataLoader

from tlw.losses.tlw import TLWLoss

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def found(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 3, padding=1))


def loader(count: int) -> DataLoader:
    return DataLoader(batches(count), batch_size=None)


def batches(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    hr = torch.rand(count, 2, 3, 16, 16)
    return [(nn.functional.avg_pool2d(image, 2), image) for image in hr]


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_a_plain_loop_stopped_after_an_epoch_ends_as_one_that_was_not(tmp_path, half):
    from plain_loop import fit

    ends = []
    for sittings in ([2], [1, 2]):
        checkpoint = tmp_path / f"{len(sittings)}.pt"
        for epochs in sittings:
            net, loss_fn = network(), tlw_loss()
            torch.manual_seed(epochs)  # the second epoch's noise, whichever sitting it is in
            if epochs == 2 and len(sittings) == 1:
                torch.manual_seed(1)
                fit(net, batches(), loss_fn, checkpoint, epochs=1, half=half)
                torch.manual_seed(2)
            fit(net, batches(), loss_fn, checkpoint, epochs=epochs, half=half)
        ends.append([*net.parameters(), *phi(loss_fn)])
        assert loss_fn.k == pytest.approx(0.3 + 0.6 * (1 - 0.995012479), abs=1e-6)
    assert_same(*[[p.detach() for p in end] for end in ends])


# of kinds of Lightning's own, which pytest-xdist would import where torchvision cannot be
@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_validates_saves_and_goes_on(tmp_path):
    let_torchvision_import()  # Lightning's metrics do, whatever torch it is for
    lightning = pytest.importorskip("lightning", reason="not installed (extra trainers)")
    from lightning_module import SuperResolution

    options = {"accelerator": "cpu", "default_root_dir": tmp_path, "logger": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False}
    options |= {"precision": "bf16-mixed", "gradient_clip_val": 0.1, "num_sanity_val_steps": 1}
    module = SuperResolution(network(), tlw_loss())
    before = phi(module.loss_fn)
    trainer = lightning.Trainer(max_epochs=2, **options)
    trainer.fit(module, loader(3), loader(1))
    assert not torch.equal(phi(module.loss_fn)[0], before[0])
    assert trainer.callback_metrics["psnr"] > 0 and trainer.callback_metrics["phi_loss"].isfinite()
    steps = next(iter(module.loss_fn.optimizer.state.values()))["step"]
    assert steps == 6  # none of them while it validated
    trainer.save_checkpoint(tmp_path / "end.ckpt")

    again = SuperResolution(network(), tlw_loss(init="normal"))
    trainer = lightning.Trainer(max_epochs=3, **options)
    trainer.fit(again, loader(3), ckpt_path=tmp_path / "end.ckpt")
    assert next(iter(again.loss_fn.optimizer.state.values()))["step"] == 9
    assert again.loss_fn.k > module.loss_fn.k > 0.3


def test_accelerate_adds_gradients_up_and_keeps_phi_in_its_checkpoint(tmp_path):
    accelerate = pytest.importorskip("accelerate", reason="not installed (extra trainers)")
    from accelerate_loop import fit

    accelerator = accelerate.Accelerator(
        cpu=True, gradient_accumulation_steps=2, mixed_precision="bf16"
    )
    loss_fn = tlw_loss()
    before = phi(loss_fn)
    fit(network(), batches(4), loss_fn, tmp_path / "state", accelerator)
    assert next(iter(loss_fn.optimizer.state.values()))["step"] == 4
    trained = phi(loss_fn)
    assert not torch.equal(trained[0], before[0])
    loss_fn(*images())
    accelerator.load_state(tmp_path / "state")
    assert_same(phi(loss_fn), trained)


class Registry(dict):
    """As basicsr.utils.registry has it, which cannot be installed beside every torch."""

    def register(self):
        return lambda cls: self.setdefault(cls.__name__, cls)


def test_basicsr_finds_the_loss_by_its_registry_and_k_follows_the_iterations(monkeypatch):
    registry = Registry()
    for name in ("basicsr", "basicsr.utils", "basicsr.utils.registry"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["basicsr.utils.registry"].LOSS_REGISTRY = registry
    monkeypatch.delitem(sys.modules, "basicsr_loss", raising=False)
    import basicsr_loss  # noqa: F401

    options = {"base": "l1", "iterations_per_epoch": 2, "judge": StandIn(), "features": 4}
    loss_fn = registry["TLW"](**options)
    seen = []
    for _ in range(4):
        loss_fn(*images())
        seen.append(loss_fn.k)
    assert seen[0] == seen[1] == 0.3 < seen[2] == seen[3]


@pytest.mark.parametrize("name", ["SlopesTLW", "ErrorTLW"])
def test_a_loss_with_a_part_of_ones_own_trains_both_networks(name):
    import my_losses

    torch.manual_seed(0)
    options = {"judge": StandIn()} if name == "ErrorTLW" else {"features": 4}
    loss_fn = getattr(my_losses, name)(**options)
    assert isinstance(loss_fn, TLWLoss)
    before = phi(loss_fn)
    sr, hr = images()
    for _ in range(2):
        loss_fn(sr, hr).backward()
    assert sr.grad.abs().sum() > 0
    assert not torch.equal(phi(loss_fn)[0], before[0])
    assert loss_fn.last["weights_mean"] == pytest.approx(0.3, abs=0.05)


def test_slopes_are_those_of_the_errors():
    from my_losses import Slopes

    hr = torch.rand(2, 3, 8, 8)
    distance = Slopes().against(hr)
    assert distance(hr + 0.2).abs().max() < 1e-12  # all of them moved alike
    sr = torch.rand(4, 3, 8, 8)
    error = sr[3] - hr[1]
    expected = (error[:, 1:] - error[:, :-1]).square().mean()
    expected += (error[:, :, 1:] - error[:, :, :-1]).square().mean()
    assert distance(sr)[3] == pytest.approx(expected.item(), rel=1e-5)
