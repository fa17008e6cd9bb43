"""Checkpoints: whole or passed over, the last two, of this training and no other."""

import errno
import logging

import pytest
import torch
from toys import fill, small_disk

from tlw.training.checkpoint import Checkpoints

THIS = {"cell": "toy_x2_l1_seed0", "config": "0123456789ab", "pairs of toy": "cd" * 32}


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", THIS)


def files(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name.split("-")[1] for path in checkpoints.folder.glob("step-*.pt"))


def newest(checkpoints: Checkpoints):
    return max(checkpoints.folder.glob("step-*.pt"))


def damage(path) -> None:
    """Turns over one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_saved_comes_back_bit_by_bit(checkpoints):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    log = {"pending": [{"step": 3, "loss": 0.1 + 0.2}], "seconds": 1.5}
    checkpoints.save(7, {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "log": log})
    state = checkpoints.load()
    assert state["step"] == 7 and state["log"] == log
    for key, value in net.state_dict().items():
        assert torch.equal(state["net"][key], value)
    for key, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(state["optimizer"]["state"][0][key], value), key


def test_without_a_checkpoint_there_is_none_to_load(checkpoints):
    assert checkpoints.load() is None
    checkpoints.clear()


def test_the_last_two_are_kept_and_the_last_is_loaded(checkpoints):
    for step in (9, 10, 99_999_999, 100_000_000):
        checkpoints.save(step, {"value": step})
        assert checkpoints.load()["value"] == step
    assert files(checkpoints) == ["100000000", "99999999"]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(checkpoints, caplog):
    checkpoints.save(1, {})
    checkpoints.save(2, {"weights": torch.rand(500)})
    path = newest(checkpoints)
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load()["step"] == 1
    assert f"{path}: damaged" in caplog.text


@pytest.mark.parametrize("size", [0, 100])
def test_a_cut_off_last_checkpoint_falls_back_to_the_one_before(checkpoints, size):
    checkpoints.save(1, {})
    checkpoints.save(2, {})
    path = newest(checkpoints)
    path.write_bytes(path.read_bytes()[:size])
    assert checkpoints.load()["step"] == 1


def test_where_all_are_damaged_training_starts_anew_and_its_checkpoints_count(checkpoints):
    for step in (30, 40):
        checkpoints.save(step, {"weights": torch.rand(500)})
    for path in checkpoints.folder.iterdir():
        damage(path)
    assert checkpoints.load() is None
    for step in (1, 2, 3):
        checkpoints.save(step, {})
    assert files(checkpoints) == ["00000002", "00000003"]
    assert checkpoints.load()["step"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "toy_x2_mse_seed0"}, "expected cell toy_x2_mse_seed0, found toy_x2_l1_seed0"),
        ({"config": "ba9876543210"}, "expected config ba9876543210, found 0123456789ab"),
        ({"pairs of toy": "ee"}, "expected pairs of toy ee, found cdcd"),
        ({"pairs of more": "ee"}, "expected pairs of more ee, found None"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_by_name(checkpoints, change, message):
    checkpoints.save(5, {})
    with pytest.raises(ValueError, match=rf"step-00000005\S+\.pt: .*{message}.*start anew"):
        Checkpoints(checkpoints.folder, THIS | change).load()
    assert checkpoints.load()["step"] == 5


def test_what_a_kill_left_is_no_checkpoint_and_goes_with_the_next(checkpoints):
    checkpoints.save(1, {})
    left = checkpoints.folder / ".step-00000002-0123456789abcdef.pt.89abcdef.part"
    left.write_bytes(b"half of a checkpoint")
    assert checkpoints.load()["step"] == 1
    checkpoints.save(2, {})
    assert not left.exists()


def test_clearing_leaves_no_folder(checkpoints):
    for step in (1, 2):
        checkpoints.save(step, {})
    (checkpoints.folder / "training.csv").write_text("step\n")
    checkpoints.clear()
    assert not checkpoints.folder.exists()


def test_clearing_a_folder_that_lies_elsewhere_empties_it(tmp_path, checkpoints):
    (tmp_path / "elsewhere").mkdir()
    checkpoints.folder.symlink_to(tmp_path / "elsewhere")
    checkpoints.save(1, {})
    checkpoints.clear()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_is_told_by_name_and_leaves_the_checkpoints_before(tmp_path):
    with small_disk(tmp_path / "disk", kilobytes=256) as disk:
        checkpoints = Checkpoints(disk / "checkpoints", THIS)
        for step in (1, 2):
            checkpoints.save(step, {"weights": torch.full((5000,), step)})
        with pytest.raises(OSError, match=r"checkpoints/step-00000003\S+\.pt: could not") as error:
            checkpoints.save(3, {"weights": torch.zeros(50_000)})
        assert error.value.errno == errno.ENOSPC
        assert files(checkpoints) == ["00000001", "00000002"]
        assert not list(checkpoints.folder.glob(".*"))
        assert checkpoints.load()["step"] == 2
        filler = fill(disk)
        with pytest.raises(OSError, match=r"checkpoints/step-00000003\S+\.pt"):
            checkpoints.save(3, {})
        filler.unlink()
        checkpoints.save(3, {})
        assert checkpoints.load()["step"] == 3
