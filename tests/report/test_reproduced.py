"""The scores of the reproduction: put together from runs, each once, and only what compares."""

import json
import shutil

import pandas as pd
import pytest
from scored_cells import scored
from toys import CROPS, toy_cell

from tlw.report.reproduced import add, read_reproduced, rows_of, settings_digest

IMAGES = {("Set5", f"{name}.png"): (30 + i, 0.2) for i, name in enumerate("abcde")}


def finished(run, loss="l1", seed=0, gain=0.0, **changes):
    """A cell's folder of a run as training and scoring leave it."""
    cell = toy_cell(loss).model_copy(update={"seed": seed, **changes})
    images = {key: (psnr + gain, lpips) for key, (psnr, lpips) in IMAGES.items()}
    row = (cell.backbone_name, cell.scale, loss)
    folder = scored(run / "grid", images, row=row, seed=seed, record={"digest": cell.digest})
    (folder / "cell.json").write_text(cell.model_dump_json())
    return folder


def test_a_runs_cells_are_added_once_and_replaced_by_newer_ones(tmp_path):
    run, path = tmp_path / "reduced", tmp_path / "reproduced.csv"
    first = finished(run)
    finished(run, "mse")
    found = add([run], path)
    assert len(found) == 10 and set(found["study"]) == {"reduced"}
    assert found["seconds"].unique().tolist() == [37021.4] and set(found["steps"]) == {39100}
    before = path.read_bytes()
    add([run], path)
    assert path.read_bytes() == before
    shutil.rmtree(first)
    finished(run, gain=1)
    newer = add([run], path).set_index(["loss", "image"])["psnr_y"]
    assert newer["l1", "a.png"] == 31 and newer["mse", "a.png"] == 30 and len(newer) == 10
    pd.testing.assert_frame_equal(read_reproduced(path), add([], path))


def test_unfinished_and_unscored_cells_are_left_out_and_a_run_of_these_alone_is_refused(tmp_path):
    (finished(tmp_path / "run") / "scores.csv").unlink()
    (finished(tmp_path / "run", seed=1) / "record.json").unlink()
    with pytest.raises(ValueError, match="expected finished and scored cells"):
        rows_of(tmp_path / "run")


def test_trainings_that_do_not_compare_are_refused_with_their_seeds(tmp_path):
    run, path = tmp_path / "run", tmp_path / "reproduced.csv"
    finished(run)
    add([run], path)
    before = path.read_bytes()
    finished(run, seed=1, train=("General100",))
    with pytest.raises(ValueError, match=r"one kind of settings, found \w+ \(seed 0\) and \w+"):
        add([run], path)
    assert path.read_bytes() == before
    cell = toy_cell()
    assert settings_digest(cell.model_copy(update={"seed": 3})) == settings_digest(cell)


def test_scores_of_another_training_than_the_record_s_are_refused(tmp_path):
    folder = finished(tmp_path / "run")
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"digest": "a" * 12}))
    with pytest.raises(ValueError, match=r"record\.json is of settings aaaaaaaaaaaa"):
        rows_of(tmp_path / "run")


def test_a_file_that_holds_something_else_is_refused_by_name(tmp_path):
    (tmp_path / "reproduced.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"reproduced\.csv: no scores of `tlw reproduce --add`"):
        read_reproduced(tmp_path / "reproduced.csv")


def test_the_digest_of_settings_is_of_what_differs_from_the_defaults_alone():
    plain = settings_digest(toy_cell())
    assert settings_digest(toy_cell(recipe=CROPS | {"schedule": "constant"})) == plain
    assert settings_digest(toy_cell().model_copy(update={"seed": 3})) == plain
    assert settings_digest(toy_cell(recipe=CROPS | {"warmup_steps": 1})) != plain
    assert settings_digest(toy_cell("mse")) != plain
