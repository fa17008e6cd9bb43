"""Training of one cell: Algorithm 1 for the weighted losses, the plain step for the others.

A run is a function of its cell and its images. Batches and random numbers follow from seed and
step alone, so a run that was killed and goes on from its checkpoint ends, on a CPU with the same
number of threads, with the same weights bit by bit as one that was never killed.
"""

import json
import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.contrib.logging import logging_redirect_tqdm

from tlw.backbones import count_parameters
from tlw.backbones.init import init_weights
from tlw.config import lookup
from tlw.config.config import Cell
from tlw.config.settings import LossSettings, PixelSettings, Precision, TLWSettings, UDLSettings
from tlw.imaging.ranges import to_unit
from tlw.losses.pixel import PixelLoss
from tlw.losses.tlw import TLWLoss
from tlw.losses.udl import UDLLoss, WithUncertainty
from tlw.networks.sr_net import build_network, save_network
from tlw.runtime import launch
from tlw.runtime.devices import pick_device
from tlw.runtime.files import written_aside
from tlw.runtime.locks import Lock, only_one
from tlw.runtime.precision import HALF, full_float32
from tlw.runtime.provenance import commit, device_name, versions
from tlw.runtime.stopping import leave_signals_to_the_parent, stop_signal
from tlw.training import parallel
from tlw.training.checkpoint import Checkpoints
from tlw.training.replay import CudaGraphs, Figures, Replayed
from tlw.training.sampling import Batches, noise_seed, training_sets
from tlw.training.training_log import NoLog, TrainingLog

log = logging.getLogger(__name__)


def train(
    cell: Cell,
    pairs: Sequence[Path],
    folder: Path,
    *,
    judge_folder: Path | None = None,
    device: str = "auto",
    workers: int = 0,
    checkpoint_seconds: float = 300.0,
    patience: float = 150.0,
    cuda_graphs: bool = False,
) -> None:
    """Trains a cell, or goes on with it, and leaves the results in its folder.

    In a process that was started as one of several, see `tlw.runtime.launch`, it trains with the
    others.

    Args:
        cell: what to train.
        pairs: the pairs files of the cell's training sets.
        folder: gets weights.safetensors, training.csv, tensorboard/ and, last, record.json;
            checkpoints/ while it runs.
        judge_folder: of the judge's weights, see `tlw.judge.weights.judge_weights`.
        device: "cpu", "cuda", "cuda:1", or "auto", the first GPU if there is one.
        workers: processes that read images ahead; 0 reads in this one, and keeps the images on a
            GPU that has room for them.
        checkpoint_seconds: time between checkpoints.
        patience: seconds to wait for another training in this folder to end.
        cuda_graphs: on a GPU of its own a step is recorded once for each size of images and
            replayed, see `tlw.training.replay`; elsewhere this changes nothing.

    Raises:
        ValueError: for pairs that are not the cell's, a checkpoint of another config or of other
            images, a batch that cannot be dealt out to several processes, or a step that cannot be
            recorded.
        FloatingPointError: when a loss or a weight is not finite.
        OSError: naming the file that could not be written, as on a full disk, or the process that
            trains in this folder (TimeoutError).
        SystemExit: with 128 + the signal, after a checkpoint, on SIGTERM or SIGINT.
    """
    cell.recipe.check_processes(launch.processes())
    folder, device = Path(folder), pick_device(device)
    kept_on = device if not workers and _has_room(device, pairs) else None
    batches = Batches(training_sets(cell, pairs, device=kept_on), cell.recipe, cell.seed)
    cuda_graphs = cuda_graphs and device.type == "cuda" and launch.processes() == 1
    with full_float32(), parallel.joined(device), _first_ones_lock(folder, patience) as lock:
        images = {f"pairs of {pairs.image_set}": pairs.digest() for pairs in batches.sets}
        belongs_to = {"cell": cell.name, "config": cell.digest, **images}
        checkpoints = Checkpoints(folder / "checkpoints", belongs_to)
        with parallel.first_one_first():
            run = Run(cell, device, judge_folder, cuda_graphs=cuda_graphs)
            state = checkpoints.load()
        start = run.resume(state) if state else 0
        loader = DataLoader(
            batches, batch_size=None, sampler=range(start, len(batches)), num_workers=workers,
            pin_memory=device.type == "cuda" and not kept_on,
            worker_init_fn=leave_signals_to_the_parent,
        )  # fmt: skip
        if lock:  # the first process, which alone writes
            log.info("%s: %s at step %d of %d, on %s", cell.name, "goes on" if start else "starts",
                     start, len(batches), _where(device))  # fmt: skip
            journal = TrainingLog(folder, cell, batches, start, state and state["log"])
        else:
            journal = NoLog()

        stop, saved = 0, time.monotonic()
        with journal, logging_redirect_tqdm(), stop_signal() as received:
            for step, (lr, hr) in enumerate(journal.timed(loader), start):
                epoch, place = divmod(step, batches.steps_per_epoch)
                if step == start or place == 0:
                    run.start_epoch(epoch)
                torch.manual_seed(noise_seed(cell.seed, step))
                mine = parallel.deal(len(lr))
                figures = run.step(*(x[mine].to(device, non_blocking=True) for x in (lr, hr)))
                figures = parallel.mean(figures)
                stop = parallel.highest(max(received, default=0))
                if lock:
                    lock.check()
                    journal.add(step, epoch, figures.pop("loss"), figures, images=len(lr))
                    if stop or time.monotonic() - saved >= checkpoint_seconds:
                        journal.check()
                        run.check(cell.name)
                        checkpoints.save(step + 1, {**run.state(), "log": journal.state()})
                        saved = time.monotonic()
                if stop:
                    break
        if lock and not stop:
            run.check(cell.name)
            save_network(folder / "weights.safetensors", run.plain_net, cell)
            journal.finish()
            _write_record(folder / "record.json", cell, run, batches, journal.seconds)
            checkpoints.clear()
    if stop:
        log.warning("%s: stopped by a signal after step %d, saved", cell.name, step + 1)
        raise SystemExit(128 + stop)


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
        torch.manual_seed(cell.seed)
        self.plain_net = build_network(cell.backbone, cell.scale)
        init_weights(self.plain_net, cell.recipe.init)
        self.net: nn.Module = self.plain_net
        torch.manual_seed(cell.seed + 1)
        self.loss = _build_loss(cell.loss, judge_folder, cell.recipe.precision)
        if isinstance(self.loss, UDLLoss):
            self.net = WithUncertainty(
                self.plain_net,
                form=self.loss.settings.form,
                head_init=self.loss.settings.head_init,
            )
        self.net.to(device, memory_format=torch.channels_last).train()
        self.loss.to(device).train()
        self.device = device
        self.fast = cell.recipe.precision == "bf16-mixed"
        self.optimizer = torch.optim.Adam(
            self.net.parameters(),
            lr=cell.recipe.learning_rate,
            betas=cell.recipe.betas,
            eps=cell.recipe.eps,
            fused=True,  # one operation, not twelve for each of RCAN's 1,628 tensors
        )
        optimizers = [self.optimizer, getattr(self.loss, "optimizer", None)]
        optimizers = [optimizer for optimizer in optimizers if optimizer]
        parallel.put_together([self.net, self.loss], optimizers)
        self._k = torch.zeros((), dtype=torch.float64, device=device)
        self.replayed = (
            Replayed(self._take, CudaGraphs(device, optimizers)) if cuda_graphs else None
        )

    def start_epoch(self, epoch: int) -> None:
        """Sets what follows the epoch: k, or the UDL's step."""
        if hasattr(self.loss, "start_epoch"):  # a loss of the user's need not have one
            self.loss.start_epoch(epoch)
        if isinstance(self.loss, UDLLoss) and self.loss.freezes:
            self.net.freeze()
        if isinstance(self.loss, TLWLoss):
            self.loss.k = self._k.fill_(self.loss.k)  # a tensor, which a recorded step looks up
        elif self.replayed and not isinstance(self.loss, PixelLoss):
            self.replayed.forget()

    def step(self, lr: Tensor, hr: Tensor) -> Figures:
        """One step on a batch of images in [0, 1], or of their 8-bit levels.

        Returns:
            Scalars: the loss, detached, and its own figures.
        """
        return self.replayed(lr, hr) if self.replayed else self._take(lr, hr)

    def _take(self, lr: Tensor, hr: Tensor) -> Figures:
        lr, hr = (to_unit(x).contiguous(memory_format=torch.channels_last) for x in (lr, hr))
        with torch.autocast(self.device.type, HALF, enabled=self.fast):
            output = self.net(lr)
        output = tuple(o.float() for o in output) if isinstance(output, tuple) else output.float()
        loss = self.loss(output, hr)  # takes the step of phi, for the weighted losses
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach(), **getattr(self.loss, "last", {})}

    def check(self, name: str) -> None:
        """Raises FloatingPointError, with the cell's name, for a weight that is not finite."""
        for key, value in self.net.state_dict().items():
            if not value.isfinite().all():
                raise FloatingPointError(
                    f"{name}: {key} of the network is not finite after the last step: training "
                    "stopped, nothing of it was written. A lower learning_rate, or precision "
                    "exact, may help"
                )

    def state(self) -> dict[str, Any]:
        """All of it, as tensors and plain values."""
        return {
            "net": self.net.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> int:
        """Takes over a `state`; the step to go on with."""
        if any(key.startswith("frozen.") for key in state["net"]):
            self.net.freeze()
        self.net.load_state_dict(state["net"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        return state["step"]


def _first_ones_lock(folder: Path, patience: float) -> AbstractContextManager[Lock | None]:
    """The lock of a cell's folder, in the first of several processes; None in the others."""
    is_first = parallel.rank() == 0
    return only_one(folder / ".lock", patience=patience) if is_first else nullcontext()


def _has_room(device: torch.device, pairs: Sequence[Path]) -> bool:
    """Whether a GPU can keep all images and have three quarters of its free memory left."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(path.stat().st_size for path in map(Path, pairs) if path.is_file()) < free / 4


def _where(device: torch.device) -> str:
    return str(device) if parallel.size() == 1 else f"{parallel.size()} times {device.type}"


def _build_loss(
    settings: LossSettings, judge_folder: Path | None, precision: Precision
) -> nn.Module:
    changes = settings.model_dump(exclude={"kind", "base"})
    if isinstance(settings, PixelSettings):
        return PixelLoss(settings.base, factor=settings.factor)
    if isinstance(settings, TLWSettings):
        return TLWLoss(settings.base, weights=judge_folder, precision=precision, **changes)
    if isinstance(settings, UDLSettings):
        return UDLLoss(**changes)
    return lookup.locate(settings.path, f"'{settings.path}'")(**settings.arguments)


def _write_record(path: Path, cell: Cell, run: Run, batches: Batches, seconds: float) -> None:
    record = {
        "cell": cell.name,
        "digest": cell.digest,
        "preset": cell.preset,
        "protocol": cell.protocol,
        "seed": cell.seed,
        "parameters": count_parameters(run.plain_net),
        "steps": len(batches),
        "training_seconds": round(seconds, 1),
        "device": device_name(run.device),
        "processes": parallel.size(),
        "precision": cell.recipe.precision,
        "cuda_graphs": run.replayed is not None,
        "pairs": {pairs.image_set: pairs.digest() for pairs in batches.sets},
        "commit": commit(),
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
