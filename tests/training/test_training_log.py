"""The log of a training: its rows, without a seam at a resume, and its stop at a wrong loss."""

import csv
import logging
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer
from toys import coded_pairs, curve, fill, small_disk, toy_cell

from tlw.data.pairs import Pairs
from tlw.training.sampling import Batches
from tlw.training.training_log import TrainingLog

CROPS = {"sampling": "crops", "size": 16, "batch": 2, "epochs": 3, "steps_per_epoch": 14}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Pairs:
    return Pairs(coded_pairs(tmp_path_factory.mktemp("coded"), [(24, 24)]))


@pytest.fixture(autouse=True)
def files_in_order(monkeypatch) -> None:
    """TensorBoard reads files by name: second, process, and a count, where 10 comes before 9."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))


class Logging:
    """A training of which only the log is real: the loss of step n is n, another figure -n."""

    def __init__(self, folder, pairs, recipe=CROPS):
        self.folder = folder
        self.cell = toy_cell(train=["coded"], protocol="standard", recipe=recipe)
        self.batches = Batches([pairs], self.cell.recipe, 0)

    @property
    def path(self):
        return self.folder / "checkpoints" / "training.csv"

    def open(self, start: int = 0, state: dict | None = None) -> TrainingLog:
        return TrainingLog(self.folder, self.cell, self.batches, start, state)

    def steps(self, journal: TrainingLog, start: int, end: int) -> dict:
        """Goes on from `start` steps done to `end`; the state for a checkpoint then."""
        for step in range(start, end):
            epoch = step // self.batches.steps_per_epoch
            figures = {"figure": torch.tensor(-1.0 - step)}
            images = len(self.batches[step][0])
            journal.add(step, epoch, torch.tensor(1.0 + step), figures, images=images)
        journal.check()
        return journal.state()


@pytest.fixture
def training(tmp_path, pairs) -> Logging:
    return Logging(tmp_path / "cell", pairs)


def rows_of(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


EXPECTED = [  # steps done, epoch, mean of the steps since the last row
    (10, 0, 5.5), (14, 0, 12.5), (24, 1, 19.5), (28, 1, 26.5), (38, 2, 33.5), (42, 2, 40.5),
]  # fmt: skip


def assert_is_complete(folder) -> None:
    rows = rows_of(folder / "training.csv")
    columns = ["step", "epoch", "loss", "figure", "images_per_second", "waiting"]
    assert list(rows[0]) == columns
    found = [(int(r["step"]), int(r["epoch"]), float(r["loss"])) for r in rows]
    assert found == EXPECTED
    assert [float(r["figure"]) for r in rows] == [-loss for *_, loss in EXPECTED]
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    tags = ["train/loss", "train/figure", "speed/images_per_second", "speed/waiting"]
    assert set(board.Tags()["scalars"]) == set(tags)
    for tag, column in zip(tags, columns[2:], strict=True):
        told = [(e.step, e.value) for e in board.Scalars(tag)]
        assert told == [(int(r["step"]), pytest.approx(float(r[column]), rel=1e-6)) for r in rows]


def test_every_ten_steps_and_at_an_epochs_end_there_is_a_row_of_means(training):
    with training.open() as journal:
        training.steps(journal, 0, 42)
    journal.finish()
    assert_is_complete(training.folder)
    assert all(float(r["images_per_second"]) > 0 for r in rows_of(journal.path))


@pytest.mark.parametrize("saved", [1, 9, 10, 11, 13, 14, 15, 23, 41, 42])
def test_a_resumed_log_has_no_seam(training, saved):
    """Killed five steps after a checkpoint, whatever the log had said until then."""
    with training.open() as journal:
        state = training.steps(journal, 0, saved)
        training.steps(journal, saved, min(saved + 5, 42))
    with training.open(saved, state) as journal:
        training.steps(journal, saved, 42)
    journal.finish()
    assert_is_complete(training.folder)


def test_half_a_row_from_a_kill_does_not_stay(training):
    with training.open() as journal:
        state = training.steps(journal, 0, 12)
    with journal.path.open("a") as file:
        file.write("1")  # of 14
    with training.open(12, state) as journal:
        training.steps(journal, 12, 42)
    journal.finish()
    assert_is_complete(training.folder)


def test_a_run_that_starts_anew_forgets_the_rows_of_the_one_before(training):
    with training.open() as journal:
        training.steps(journal, 0, 17)
    with training.open() as journal:
        training.steps(journal, 0, 42)
    journal.finish()
    assert_is_complete(training.folder)


def test_a_log_deleted_by_hand_is_warned_of(training, caplog):
    with training.open() as journal:
        state = training.steps(journal, 0, 12)
    journal.path.unlink()
    with caplog.at_level(logging.WARNING), training.open(12, state) as journal:
        training.steps(journal, 12, 42)
    assert f"{journal.path}: rows before step 12 are missing" in caplog.text
    assert [int(row["step"]) for row in rows_of(journal.path)] == [14, 24, 28, 38, 42]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("step", [0, 6, 9, 13, 41])
def test_a_loss_that_is_not_finite_stops_the_run_with_step_and_epoch(training, bad, step):
    with training.open() as journal:
        state = training.steps(journal, 0, step)
    with (
        pytest.raises(FloatingPointError, match=rf"step {step + 1} \(epoch {step // 14}\) is"),
        training.open(step, state) as journal,
    ):
        figures = {"figure": torch.tensor(0.0)}
        journal.add(step, step // 14, torch.tensor(bad), figures, images=2)
        training.steps(journal, step + 1, 42)
        journal.check()


def test_figures_are_read_ten_steps_later_and_files_written_by_time(training):
    """A device is not waited for: what it has computed is looked at when it computes on."""
    with training.open() as journal:
        for step in range(42):
            loss, epoch = torch.tensor(1.0 + step), step // 14
            journal.add(step, epoch, loss, {"figure": -1.0 - step}, images=2)
        assert [int(row["step"]) for row in rows_of(journal.path)] == [10]
        journal.check()
    journal.finish()
    assert_is_complete(training.folder)


def test_training_time_adds_up_over_resumes(training):
    with training.open() as journal:
        state = training.steps(journal, 0, 5)
    state["seconds"] += 1000
    with training.open(5, state) as journal:
        assert 1000 < journal.seconds < 1100


def test_the_share_of_waiting_is_that_of_the_slow_data(training):
    def slow():
        for step in range(10):
            time.sleep(0.02)
            yield step

    with training.open() as journal:
        for step in journal.timed(slow()):
            time.sleep(0.005)
            figures = {"figure": torch.tensor(0.0)}
            journal.add(step, 0, torch.tensor(1.0), figures, images=2)
        journal.check()
    (row,) = rows_of(journal.path)
    assert 0.5 < float(row["waiting"]) < 0.95
    assert float(row["images_per_second"]) < 20 / (10 * 0.025)


def test_a_full_disk_is_told_with_the_files_name_and_costs_no_row(tmp_path, pairs):
    longer = CROPS | {"epochs": 60}
    whole = Logging(tmp_path / "whole", pairs, longer)
    with whole.open() as journal:
        whole.steps(journal, 0, 840)
    with small_disk(tmp_path / "disk", kilobytes=128) as disk:
        training = Logging(disk / "cell", pairs, longer)
        with training.open() as journal:
            state = training.steps(journal, 0, 11)
        filler = fill(disk)
        with (
            pytest.raises(OSError, match=r"cell/\S+: could not be written \(No space left"),
            training.open(11, state) as journal,
        ):
            training.steps(journal, 11, 840)  # what is left of two pages does not hold it
        filler.unlink()
        with training.open(11, state) as journal:
            training.steps(journal, 11, 840)
        assert curve(training.path) == curve(whole.path)
