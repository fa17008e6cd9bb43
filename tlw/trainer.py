"""Training of one cell: Algorithm 1 for the weighted losses, the plain step for the others.

A run is a function of its cell and its images. Batches and random numbers follow from seed and
step alone, so a run that was killed and goes on from its checkpoint ends, on a CPU with the same
number of threads, with the same weights bit by bit as one that was never killed.
"""

import json
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.contrib.logging import logging_redirect_tqdm

from tlw import lookup
from tlw.backbones import count_parameters
from tlw.checkpoint import Checkpoints
from tlw.config import Cell
from tlw.files import written_aside
from tlw.init import init_weights
from tlw.losses import PixelLoss, TLWLoss
from tlw.numerics import HALF
from tlw.pairs import Pairs
from tlw.protocols import protocol
from tlw.provenance import commit, device_name, versions
from tlw.sampling import Batches, noise_seed
from tlw.settings import LossSettings, Numerics, PixelSettings, TLWSettings, UDLSettings
from tlw.sr_net import build_network, save_network
from tlw.training_log import TrainingLog
from tlw.udl import UDLLoss, WithUncertainty

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
) -> None:
    """Trains a cell, or goes on with it, and leaves the results in its folder.

    Args:
        cell: what to train.
        pairs: the pairs files of the cell's training sets.
        folder: gets weights.safetensors, training.csv, tensorboard/ and, last, record.json;
            checkpoints/ while it runs.
        judge_folder: of the judge's weights, see `tlw.weights.judge_weights`.
        device: "cpu", "cuda", "cuda:1", or "auto", the first GPU if there is one.
        workers: processes that read images ahead; 0 reads in this one.
        checkpoint_seconds: time between checkpoints.

    Raises:
        ValueError: for pairs that are not the cell's, or a checkpoint of another config or of
            other images.
        FloatingPointError: when a loss is not finite.
        OSError: naming the file that could not be written, as on a full disk.
        SystemExit: with 128 + the signal, after a checkpoint, on SIGTERM or SIGINT.
    """
    folder, device = Path(folder), pick_device(device)
    batches = Batches(_sets_of(cell, pairs), cell.recipe, cell.seed)
    run = Run(cell, device, judge_folder)
    images = {f"pairs of {pairs.image_set}": pairs.digest() for pairs in batches.sets}
    belongs_to = {"cell": cell.name, "config": cell.digest, **images}
    checkpoints = Checkpoints(folder / "checkpoints", belongs_to)
    state = checkpoints.load()
    start = run.resume(state) if state else 0
    log.info("%s: %s at step %d of %d, on %s", cell.name, "goes on" if start else "starts", start,
             len(batches), device)  # fmt: skip
    loader = DataLoader(
        batches, batch_size=None, sampler=range(start, len(batches)), num_workers=workers,
        pin_memory=device.type == "cuda", worker_init_fn=_leave_signals_to_the_parent,
    )  # fmt: skip

    with TrainingLog(folder, cell, batches, start, state and state["log"]) as journal, \
            logging_redirect_tqdm(), _stop_signal() as stop:  # fmt: skip
        saved = time.monotonic()
        for step, (lr, hr) in enumerate(journal.timed(loader), start):
            epoch, first = divmod(step, batches.steps_per_epoch)
            if step == start or first == 0:
                run.start_epoch(epoch)
            torch.manual_seed(noise_seed(cell.seed, step))
            loss = run.step(lr.to(device, non_blocking=True), hr.to(device, non_blocking=True))
            journal.add(step, epoch, loss, getattr(run.loss, "last", {}), images=len(lr))
            if stop or time.monotonic() - saved >= checkpoint_seconds:
                journal.check()
                checkpoints.save(step + 1, {**run.state(), "log": journal.state()})
                saved = time.monotonic()
                if stop:
                    log.warning("%s: stopped by a signal after step %d, saved", cell.name, step + 1)
                    raise SystemExit(128 + stop[0])

    save_network(folder / "weights.safetensors", run.plain_net, cell)
    journal.finish()
    _write_record(folder / "record.json", cell, run, batches, journal.seconds)
    checkpoints.clear()


class Run:
    """What changes while a cell is trained: network, loss and their optimisers.

    The seed alone decides the start weights: all losses of a cell group start from the same
    super-resolution network, both weighted losses from the same weighting network.
    """

    def __init__(self, cell: Cell, device: torch.device, judge_folder: Path | None = None) -> None:
        torch.manual_seed(cell.seed)
        self.plain_net = build_network(cell.backbone, cell.scale)
        init_weights(self.plain_net, cell.recipe.init)
        self.net: nn.Module = self.plain_net
        torch.manual_seed(cell.seed + 1)
        self.loss = _build_loss(cell.loss, judge_folder, cell.recipe.numerics)
        if isinstance(self.loss, UDLLoss):
            self.net = WithUncertainty(self.plain_net, form=self.loss.settings.form)
        self.net.to(device, memory_format=torch.channels_last).train()
        self.loss.to(device).train()
        self.device = device
        self.fast = cell.recipe.numerics == "fast"
        self.optimizer = torch.optim.Adam(
            self.net.parameters(), lr=cell.recipe.learning_rate, betas=cell.recipe.betas
        )

    def start_epoch(self, epoch: int) -> None:
        """Sets what follows the epoch: k, or the UDL's step."""
        if hasattr(self.loss, "start_epoch"):  # a loss of the user's need not have one
            self.loss.start_epoch(epoch)
        if isinstance(self.loss, UDLLoss) and self.loss.freezes:
            self.net.freeze()

    def step(self, lr: Tensor, hr: Tensor) -> Tensor:
        """One step on a batch of images in [0, 1]; the loss, detached."""
        with torch.autocast(self.device.type, HALF, enabled=self.fast):
            output = self.net(lr.contiguous(memory_format=torch.channels_last))
        output = tuple(o.float() for o in output) if isinstance(output, tuple) else output.float()
        loss = self.loss(output, hr)  # takes the step of phi, for the weighted losses
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

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


def _build_loss(settings: LossSettings, judge_folder: Path | None, numerics: Numerics) -> nn.Module:
    changes = settings.model_dump(exclude={"kind", "base"})
    if isinstance(settings, PixelSettings):
        return PixelLoss(settings.base)
    if isinstance(settings, TLWSettings):
        return TLWLoss(settings.base, weights=judge_folder, numerics=numerics, **changes)
    if isinstance(settings, UDLSettings):
        return UDLLoss(**changes)
    return lookup.locate(settings.path, f"'{settings.path}'")(**settings.arguments)


def pick_device(device: str) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU where there is none."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # "meta" has no values
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r} cannot be used: {reason}; try 'cpu'") from None
    return found


def _sets_of(cell: Cell, paths: Sequence[Path]) -> list[Pairs]:
    """The cell's training sets in its own order, from pairs files in any."""
    found: dict[str, Pairs] = {}
    for path in paths:
        pairs = Pairs(path, scale=cell.scale)
        _refuse_other_pairs(pairs, cell)
        if pairs.image_set in found:
            raise ValueError(
                f"{path}: pairs of {pairs.image_set} are given already, by "
                f"{found[pairs.image_set].path}; name one of the two"
            )
        found[pairs.image_set] = pairs
    missing = [name for name in cell.train if name not in found]
    if missing:
        raise ValueError(
            f"{cell.name} trains on {', '.join(cell.train)}: no pairs of {', '.join(missing)} "
            "are given; name their files, too"
        )
    return [found[name] for name in cell.train]


def _refuse_other_pairs(pairs: Pairs, cell: Cell) -> None:
    expected = (cell.protocol, "train")
    if pairs.image_set not in cell.train or (pairs.protocol.name, pairs.use) != expected:
        raise ValueError(
            f"{pairs.path}: expected pairs for training of one of {', '.join(cell.train)}, "
            f"protocol {cell.protocol}; found {pairs.image_set}, protocol {pairs.protocol.name}, "
            f"for use in {pairs.use}; name the right file"
        )
    if pairs.protocol != protocol(cell.protocol):
        raise ValueError(
            f"{pairs.path}: its protocol {cell.protocol} has other values than this version's; "
            "delete the file and build it again"
        )


def _leave_signals_to_the_parent(_: int) -> None:
    """A group's SIGTERM reaches workers, too, whose end would break the parent's last step."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _stop_signal() -> Iterator[list[int]]:
    """A list that gets the number of the first SIGTERM or SIGINT; a second one acts at once."""
    received: list[int] = []

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        "numerics": cell.recipe.numerics,
        "pairs": {pairs.image_set: pairs.digest() for pairs in batches.sets},
        "commit": commit(),
        "versions": versions(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with written_aside(path) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
