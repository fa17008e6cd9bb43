"""Training of one cell: Algorithm 1 for the weighted losses, the plain step for the others.

A run is a function of its cell and its images. Batches and random numbers follow from seed and
step alone, so a run that was killed and goes on from its checkpoint ends, on a CPU with the same
number of threads, with the same weights bit by bit as one that was never killed.
"""

import logging
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from tlw.backbones import count_parameters
from tlw.config.config import Cell
from tlw.config.record import Record, read_record
from tlw.networks.sr_net import start_from
from tlw.runtime.devices import pick_device, ranks
from tlw.runtime.files import sha256_of, written_aside
from tlw.runtime.locks import only_one
from tlw.runtime.precision import full_float32
from tlw.runtime.stopping import stop_signal
from tlw.training import parallel
from tlw.training.checkpoint import Checkpoints
from tlw.training.reading import read_ahead
from tlw.training.run import Run
from tlw.training.sampling import Batches, noise_seed, training_sets
from tlw.training.training_log import NoLog, TrainingLog
from tlw.training.validation import Validation

log = logging.getLogger(__name__)
MadeOf = tuple[str, dict[str, str], str | None]  # digests: of cell, of image sets, of first weights


def train(
    cell: Cell,
    pairs: Sequence[Path],
    folder: Path,
    *,
    start: Path | None = None,
    validation: Path | None = None,
    judge_folder: Path | None = None,
    device: str = "auto",
    workers: int = 0,
    checkpoint_seconds: float = 300.0,
    patience: float = 150.0,
    cuda_graphs: bool = True,
) -> None:
    """Trains a cell, or goes on with it, and leaves the results in its folder.

    In a process that torchrun started as one of several it trains with the others, see
    `tlw.training.parallel`. Where another process has finished the same training while this one
    waited for the folder, nothing is left to do.

    Args:
        cell: what to train.
        pairs: the pairs files of the cell's training sets.
        folder: gets what `Run.save` writes, training.csv, tensorboard/ and, last, record.json;
            checkpoints/ while it runs; and looks/ with the pictures of what is watched.
        start: the weights file that the cell starts from, if it does; see
            `tlw.networks.sr_net.start_from`.
        validation: the pairs file of its validation images, if it has any; see
            `tlw.training.validation`.
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
            images, a batch that cannot be shared out to several ranks, a step that cannot be
            recorded or for which memory does not do, a network or loss of the user's that gives
            something else than an image or a scalar.
        FloatingPointError: when a loss or a weight is not finite.
        OSError: naming the file that could not be written, as on a full disk, or the process that
            trains in this folder (TimeoutError).
        SystemExit: with 128 + the signal, after a checkpoint, on SIGTERM or SIGINT.
    """
    cell.recipe.check_processes(ranks())
    _require_files(cell, start, validation)
    folder, on, before = Path(folder), pick_device(device), _stamp(folder)
    kept_on = on if not workers and _has_room(on, pairs) else None
    batches = Batches(training_sets(cell, pairs, device=kept_on), cell.recipe, cell.seed)
    watched = Validation(cell, validation, on) if validation else None
    sets = [*batches.sets, *([watched.pairs] if watched else [])]
    images = {pairs.image_set: pairs.digest() for pairs in sets}
    first_weights = sha256_of(start) if start else None
    with full_float32(), parallel.joined(on), _first_ones_lock(folder, patience) as lock:
        made_of = cell.digest, images, first_weights
        if parallel.of_first(lambda: _is_finished(folder, before, made_of)):
            log.info("%s: finished meanwhile, by the training that was waited for", cell.name)
            return
        run = Run(cell, on, judge_folder, cuda_graphs=cuda_graphs)
        belongs_to = {"cell": cell.name, "config": cell.digest}
        belongs_to |= {f"pairs of {name}": digest for name, digest in images.items()}
        belongs_to |= {"start": first_weights} if first_weights else {}
        checkpoints = Checkpoints(folder / "checkpoints", belongs_to, len(batches))
        saved = parallel.of_first(checkpoints.load)
        if start and not saved:
            _start_from(run, start)
        done = run.begin(saved)
        journal: TrainingLog | NoLog = NoLog()
        if lock:  # the first rank, which alone writes
            log.info("%s: %s at step %d of %d, on %s", cell.name, "goes on" if done else "starts",
                     done, len(batches), _where(on))  # fmt: skip
            journal = TrainingLog(folder, cell, batches, done, saved and saved.log.model_dump())
        source = read_ahead(
            batches, done, workers=workers, pinned=on.type == "cuda" and not kept_on
        )

        stop, saved_at = 0, time.monotonic()
        with journal, logging_redirect_tqdm(), stop_signal() as received, source as in_order:
            for step, (lr, hr) in enumerate(journal.timed(in_order), done):
                epoch, place = divmod(step, batches.steps_per_epoch)
                if step == done or place == 0:
                    run.start_epoch(epoch)
                run.set_learning_rate(step, len(batches))
                torch.manual_seed(noise_seed(cell.seed, step) + parallel.rank())
                count = len(lr)
                mine = parallel.part(count)
                lr, hr = (x[mine].to(on, non_blocking=True) for x in (lr, hr))
                is_noted = math.log10(step + 1).is_integer()
                figures = run.step(lr, hr, eager=is_noted)
                if is_noted:
                    run.note_gradient(step + 1)
                figures = parallel.mean(figures)
                stop = parallel.all_reduce_max(max(received, default=0))
                if isinstance(journal, TrainingLog):
                    lock.check()
                    journal.add(step, epoch, figures.pop("loss"), figures, images=count)
                    if watched and watched.is_due(step + 1, len(batches)):
                        journal.check()
                        run.check()
                        psnr = run.validate(watched, step + 1)
                        journal.add_look(step + 1, psnr, watched.pictures(run.result, run.loss))
                    if stop or time.monotonic() - saved_at >= checkpoint_seconds:
                        journal.check()
                        run.check()
                        checkpoints.save(step + 1, {**run.state(), "log": journal.state()})
                        saved_at = time.monotonic()
                if stop:
                    break
            if isinstance(journal, TrainingLog) and not stop:
                journal.check()
                run.check()
                run.save(folder)
                journal.finish()
                _write_record(folder, run, len(batches), made_of, journal.seconds)
                checkpoints.clear()
    if stop:
        log.warning("%s: stopped by a signal after step %d, saved", cell.name, step + 1)
        raise SystemExit(128 + stop)


def _require_files(cell: Cell, start: Path | None, validation: Path | None) -> None:
    """Raises ValueError unless the files that a cell speaks of, and no others, are given."""
    image_set = cell.validation and cell.validation.image_set
    for option, given, wanted in (
        ("--start", start, cell.start),
        ("--validation", validation, image_set and f"pairs of {image_set}, made for use test"),
    ):
        if bool(given) != bool(wanted):
            raise ValueError(
                f"{cell.name}: {option}: expected {wanted or 'none, as the cell has no such key'}"
                f", found {given or 'none'}"
            )


def _start_from(run: Run, path: Path) -> None:
    afresh = start_from(run.plain_net, path, run.cell.backbone)
    of_its_own = f"; of its own start: {', '.join(afresh)}" if afresh else ""
    log.info("%s: starts from the weights of %s%s", run.cell.name, path, of_its_own)


def _first_ones_lock(folder: Path, patience: float) -> AbstractContextManager:
    """The lock of a cell's folder, in the first of several processes; None in the others."""
    is_first = parallel.rank() == 0
    return only_one(folder / ".lock", patience=patience) if is_first else nullcontext()


def _stamp(folder: Path) -> tuple[int, int] | None:
    """What changes when the folder's record is written."""
    record = folder / "record.json"
    return (record.stat().st_ino, record.stat().st_mtime_ns) if record.exists() else None


def _is_finished(folder: Path, before: tuple[int, int] | None, made_of: MadeOf) -> bool:
    """Whether the same training has been finished since the record had the stamp `before`."""
    if _stamp(folder) in (None, before):
        return False
    record = read_record(folder / "record.json")
    return (record.digest, record.pairs, record.start) == made_of


def _has_room(device: torch.device, pairs: Sequence[Path]) -> bool:
    """Whether a GPU can keep all images and have three quarters of its free memory left."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return sum(path.stat().st_size for path in map(Path, pairs) if path.is_file()) < free / 4


def _where(device: torch.device) -> str:
    return str(device) if parallel.size() == 1 else f"{parallel.size()} times {device.type}"


def _write_record(folder: Path, run: Run, steps: int, made_of: MadeOf, seconds: float) -> None:
    cell = run.cell
    digest, images, first_weights = made_of
    record = Record(
        cell=cell.name,
        digest=digest,
        preset=cell.preset,
        protocol=cell.protocol,
        seed=cell.seed,
        parameters=count_parameters(run.plain_net),
        steps=steps,
        scored_step=steps if run.best is None else run.best_step,
        validation={step: round(psnr, 4) for step, psnr in run.validation.items()},
        start=first_weights,
        training_seconds=round(seconds, 1),
        precision=cell.recipe.precision,
        gradient_rms=run.gradient_rms,
        pairs=images,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        sittings=tuple(run.sittings),
    )
    with written_aside(folder / "record.json") as aside:
        aside.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
