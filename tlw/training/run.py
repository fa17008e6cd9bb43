"""What changes while a cell is trained, and how a step changes it."""

import copy
import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tlw.backbones.init import init_weights
from tlw.config.config import Cell
from tlw.config.record import Sitting
from tlw.config.settings import Precision
from tlw.imaging.ranges import to_unit
from tlw.losses.perceptual import PerceptualLoss
from tlw.losses.pixel import PixelLoss
from tlw.losses.tlw import TLWLoss
from tlw.losses.udl import UDLLoss, WithUncertainty
from tlw.losses.weight_net import WeightNet
from tlw.networks.sr_net import SRNet, build_network, save_network
from tlw.runtime.memory import enough_memory
from tlw.runtime.precision import HALF, usable
from tlw.runtime.provenance import commit, device_name, versions
from tlw.training import parallel
from tlw.training.cells_loss import build_loss, class_of, figures_of, require_scalar
from tlw.training.checkpoint import Saved
from tlw.training.replay import CudaGraphs, Figures, Replayed, Step
from tlw.training.schedule import learning_rate
from tlw.training.validation import Validation

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Run:
    """What changes while a cell is trained: network, loss and their optimisers.

    The seed alone decides the start weights: all losses of a cell group start from the same
    super-resolution network, both weighted losses from the same weighting network.
    """

    def __init__(
        self,
        cell: Cell,
        device: torch.device,
        judge_folder: Path | None = None,
        *,
        cuda_graphs: bool = False,
    ) -> None:
        self.cell, self.device = cell, device
        torch.manual_seed(cell.seed)
        self.plain_net = build_network(cell.backbone, cell.scale)
        assert cell.recipe.init is not None  # a cell leaves nothing to its preset
        init_weights(self.plain_net, cell.recipe.init)
        self.net: nn.Module = self.plain_net
        torch.manual_seed(cell.seed + 1)
        self.loss = build_loss(cell.loss, judge_folder, cell.recipe.precision)
        if isinstance(self.loss, UDLLoss):
            s = self.loss.settings
            self.net = WithUncertainty(self.plain_net, form=s.form, head_init=s.head_init)
        layout = torch.channels_last
        self.net.to(device, memory_format=layout)  # type: ignore[call-overload]  # not in torch's types
        self.net.train()
        self.loss.to(device).train()
        if not any(parameter.requires_grad for parameter in self.net.parameters()):
            name = class_of(self.plain_net.net)
            raise ValueError(f"{name}: expected parameters to train, found none")
        self._averaged = parallel.averaged(self.net)
        self.precision = cast(Precision, usable(cell.recipe.precision, device))
        self.optimizer = _OPTIMIZERS[cell.recipe.optimizer](
            self.net.parameters(),
            lr=cell.recipe.learning_rate,
            betas=cell.recipe.betas,
            eps=cell.recipe.eps,
            weight_decay=cell.recipe.weight_decay,
            fused=True,  # one operation, not twelve for each of RCAN's 1,628 tensors
        )
        self.average: AveragedModel | None = None
        if cell.recipe.ema is not None:
            mean = get_ema_multi_avg_fn(cell.recipe.ema)
            self.average = AveragedModel(self.plain_net, multi_avg_fn=mean)
        self._optimizers = [self.optimizer]
        if isinstance(self.loss, TLWLoss):
            self._optimizers.append(self.loss.optimizer)
        self.gradient_rms: dict[int, float] = {}
        self.validation: dict[int, float] = {}  # PSNR by steps done
        self.best: dict[str, Tensor] | None = None  # the result, where validation chooses it
        self.sittings: list[Sitting] = []
        self._k = torch.zeros((), dtype=torch.float64, device=device)
        self._of_epoch: dict[str, float] = {}  # figures
        self.replayed: Replayed | None = None
        if cuda_graphs and device.type == "cuda" and parallel.size() == 1:
            self.replayed = Replayed(self._take, lambda: CudaGraphs(device, self._optimizers))
        # Where steps are recorded they look a rate that changes up in a tensor.
        looked_up = self.replayed is not None and cell.recipe.schedule != "constant"
        self._rate = torch.zeros((), device=device) if looked_up else None

    def start_epoch(self, epoch: int) -> None:
        """Sets what follows the epoch: k, or the UDL's step."""
        loss, before = self.loss, getattr(self.loss, "weighted", None)
        start = getattr(loss, "start_epoch", None)  # a loss of the user's need not have one
        if start is not None:
            start(epoch)
        is_another_step = not isinstance(loss, PixelLoss | PerceptualLoss)
        if isinstance(loss, TLWLoss):
            self._of_epoch = {"k": float(loss.k)}
            loss.k = self._k.fill_(loss.k)  # a tensor, which a recorded step looks up
            is_another_step = False
        elif isinstance(loss, UDLLoss):
            is_another_step = loss.weighted != before
            if loss.weighted:
                cast(WithUncertainty, self.net).freeze(copied=loss.settings.frozen)
        if self.replayed and is_another_step:
            self.replayed.forget()

    def set_learning_rate(self, step: int, steps: int) -> None:
        """Sets what follows the step, of so many: the network's learning rate."""
        rate = learning_rate(self.cell.recipe, step, steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate if self._rate is None else self._rate.fill_(rate)

    def step(self, lr: Tensor, hr: Tensor, *, eager: bool = False) -> Figures:
        """One step on a batch of images in [0, 1], or of their 8-bit levels.

        Args:
            eager: not replayed, which leaves the gradient to be looked at.

        Returns:
            Scalars: the loss, detached, and its own figures.

        Raises:
            ValueError: when memory does not do, or the network or loss gives what it should not.
        """
        count, _, height, width = hr.shape
        what = f"{self.cell.name}: a step of {count} images of {height} x {width} hr pixels"
        with enough_memory(what, "take a smaller batch or size, or crops, in the recipe"):
            replays = self.replayed is not None and not eager
            figures = cast(Step, self.replayed if replays else self._take)(lr, hr)
        if self.average is not None:
            self.average.update_parameters(self.plain_net)
        return {**figures, **self._of_epoch}

    def _take(self, lr: Tensor, hr: Tensor) -> Figures:
        lr, hr = (to_unit(x).contiguous(memory_format=torch.channels_last) for x in (lr, hr))
        with torch.autocast(self.device.type, HALF, enabled=self.precision == "bf16-mixed"):
            output = self._averaged(lr)
        output = tuple(o.float() for o in output) if isinstance(output, tuple) else output.float()
        loss = self.loss(output, hr)  # takes the step of phi, for the weighted losses
        require_scalar(self.loss, loss)
        self.optimizer.zero_grad()
        loss.backward()
        if self.cell.recipe.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.cell.recipe.clip_gradient)
        self.optimizer.step()
        return {"loss": loss.detach(), **figures_of(self.loss)}

    @property
    def result(self) -> SRNet:
        """The network as it would be saved now: with its last weights, or their running mean."""
        return self.plain_net if self.average is None else cast(SRNet, self.average.module)

    def validate(self, validation: Validation, steps: int) -> float:
        """PSNR after so many steps; keeps the weights where they are the best, if asked to."""
        found = validation.psnr(self.result)
        if validation.settings.keep == "best" and found > max(
            self.validation.values(), default=-math.inf
        ):
            state = self.result.state_dict()
            self.best = {key: value.to("cpu", copy=True) for key, value in state.items()}
        self.validation[steps] = found
        return found

    @property
    def best_step(self) -> int:
        """After which validation found the best weights; of several the first."""
        return max(self.validation, key=lambda step: self.validation[step])

    def save(self, folder: Path) -> None:
        """Writes weights.safetensors; where these are the best, weights_last.safetensors, too; and
        of a weighted loss weight_net.safetensors.
        """
        last = folder / "weights_last.safetensors"
        result = self.result
        if self.best is None:
            last.unlink(missing_ok=True)  # of a training under another config
        else:
            save_network(last, result, self.cell)
            result = copy.deepcopy(result)
            result.load_state_dict(self.best)
        save_network(folder / "weights.safetensors", result, self.cell)
        if isinstance(self.loss, TLWLoss) and isinstance(self.loss.weight_net, WeightNet):
            self.loss.weight_net.save(folder / "weight_net.safetensors")

    def note_gradient(self, steps: int) -> None:
        """Keeps the root mean square of an eager step's gradient, for the record."""
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        squares = sum(float(g.double().square().sum()) for g in gradients)
        rms = math.sqrt(squares / sum(g.numel() for g in gradients))
        if math.isfinite(rms):  # else the next look at the loss stops the training
            self.gradient_rms[steps] = rms

    def check(self) -> None:
        """Raises FloatingPointError, with the cell's name, for a weight that is not finite."""
        for key, value in self.net.state_dict().items():
            if not value.isfinite().all():
                raise FloatingPointError(
                    f"{self.cell.name}: {key} of the network is not finite after the last step: "
                    "training stopped, nothing of it was written. A lower learning_rate, or "
                    "precision float32, may help"
                )

    def state(self) -> dict[str, Any]:
        """All of it, as tensors and plain values."""
        return {
            "net": self.net.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average and self.average.state_dict(),
            "validation": self.validation,
            "best": self.best,
            "gradient_rms": self.gradient_rms,
            "sittings": [sitting.model_dump() for sitting in self.sittings],
        }

    def begin(self, saved: Saved | None) -> int:
        """Takes a checkpoint over, if there is one; the step to begin with.

        Raises:
            ValueError: for a checkpoint of a network or loss of another shape.
        """
        if saved:
            self._take_over(saved)
        step = saved.step if saved else 0
        sitting = Sitting(
            start=step,
            device=device_name(self.device),
            ranks=parallel.size(),
            precision_used=self.precision,
            cuda_graphs=self.replayed is not None,
            commit=commit(),
            versions=versions(),
        )
        last = self.sittings[-1].model_copy(update={"start": step}) if self.sittings else None
        if sitting != last:  # one that differs in nothing counts to the one before
            self.sittings.append(sitting)
        return step

    def _take_over(self, saved: Saved) -> None:
        try:
            if any(key.startswith("frozen.") for key in saved.net):
                cast(WithUncertainty, self.net).freeze(copied=True)
            self.net.load_state_dict(saved.net)
            self.loss.load_state_dict(saved.loss)
            self.optimizer.load_state_dict(saved.optimizer)
            if self.average is not None:
                self.average.load_state_dict(saved.average or {})
            for optimizer in self._optimizers:
                _require_shapes(optimizer)
        except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{saved.path}: does not fit this version's network or loss: "
                f"{' '.join(str(error).split())[:400]}; go on with the version that wrote it, or "
                f"delete {saved.path.parent} to start anew"
            ) from None
        self.gradient_rms, self.sittings = dict(saved.gradient_rms), list(saved.sittings)
        self.validation, self.best = dict(saved.validation), saved.best


def _require_shapes(optimizer: torch.optim.Optimizer) -> None:
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"optimizer: expected {key} of {tuple(parameter.shape)}, "
                    f"found {tuple(value.shape)}"
                )
