"""Checkpoints: whole or passed over, the last two, of one form, of this training and no other."""

import errno
import hashlib
import io
import logging
from pathlib import Path

import pytest
import torch
from scored_cells import SITTING
from toys import fill, small_disk

from tlw.training.checkpoint import Checkpoints

THIS = {"cell": "toy_x2_l1_seed0", "config": "0123456789ab", "pairs of toy": "cd" * 32}
LOG = {"pending": [{"step": 3, "epoch": 0, "loss": 0.1 + 0.2}], "seconds": 1.5, "size": 70}
END = 200_000_000


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", THIS, END)


def state(**changes: object) -> dict[str, object]:
    """What a training saves, as small as it gets."""
    empty = {"net": {}, "loss": {}, "optimizer": {}, "gradient_rms": {1: 1e-3}}
    empty |= {"validation": {5: 30.0}, "best": None}
    return empty | {"sittings": [SITTING], "log": LOG} | changes


def put(checkpoints: Checkpoints, content: object) -> Path:
    """Makes a checkpoint file of anything."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return put_bytes(checkpoints, buffer.getvalue())


def put_bytes(checkpoints: Checkpoints, content: bytes) -> Path:
    name = f"step-00000005-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    checkpoints.folder.mkdir(exist_ok=True)
    (checkpoints.folder / name).write_bytes(content)
    return checkpoints.folder / name


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
    checkpoints.save(7, state(net=net.state_dict(), optimizer=optimizer.state_dict()))
    saved = checkpoints.load()
    assert saved.step == 7 and saved.log.model_dump() == LOG and saved.gradient_rms == {1: 1e-3}
    for key, value in net.state_dict().items():
        assert torch.equal(saved.net[key], value)
    for key, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(saved.optimizer["state"][0][key], value), key


def test_without_a_checkpoint_there_is_none_to_load(checkpoints):
    assert checkpoints.load() is None
    checkpoints.clear()


def test_the_last_two_are_kept_and_the_last_is_loaded(checkpoints):
    for step in (9, 10, 99_999_999, 100_000_000):
        checkpoints.save(step, state())
        assert checkpoints.load().step == step
    assert files(checkpoints) == ["100000000", "99999999"]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(checkpoints, caplog):
    checkpoints.save(1, state())
    checkpoints.save(2, state(net={"weights": torch.rand(500)}))
    path = newest(checkpoints)
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load().step == 1
    assert f"{path}: damaged" in caplog.text


@pytest.mark.parametrize("size", [0, 100])
def test_a_cut_off_last_checkpoint_falls_back_to_the_one_before(checkpoints, size):
    checkpoints.save(1, state())
    checkpoints.save(2, state())
    path = newest(checkpoints)
    path.write_bytes(path.read_bytes()[:size])
    assert checkpoints.load().step == 1


def test_where_all_are_damaged_training_starts_anew_and_its_checkpoints_count(checkpoints):
    for step in (30, 40):
        checkpoints.save(step, state(net={"weights": torch.rand(500)}))
    for path in checkpoints.folder.iterdir():
        damage(path)
    assert checkpoints.load() is None
    for step in (1, 2, 3):
        checkpoints.save(step, state())
    assert files(checkpoints) == ["00000002", "00000003"]
    assert checkpoints.load().step == 3


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
    checkpoints.save(5, state())
    with pytest.raises(ValueError, match=rf"step-00000005\S+\.pt: .*{message}.*start anew"):
        Checkpoints(checkpoints.folder, THIS | change, END).load()
    assert checkpoints.load().step == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": None}, "expected format 3, found None"),
        ({"format": 1}, "expected format 3, found 1"),
        ({"net": None}, "net: expected .*, found None"),
        ({"log": {"rows": []}}, "log.rows: unknown key"),
        ({"log": {"pending": [], "seconds": 1.0}}, "log.size: missing"),
        ({"step": 0}, "step: expected .* 1, found 0"),
        ({"step": -3}, "step: expected .* 1, found -3"),
        ({"step": "five"}, "step: expected a valid integer, found 'five'"),
        ({"step": END + 1}, "expected at most 200000000 steps, found 200000001"),
        ({"sittings": [{"start": 0}]}, "sittings.0.versions: missing"),
    ],
)
def test_a_checkpoint_of_another_form_is_told_with_file_and_key(checkpoints, change, told):
    path = put(checkpoints, {"format": 3, "belongs_to": THIS, "step": 5, **state()} | change)
    with pytest.raises(ValueError, match=rf"(?s){path}: .*{told}.*delete {path.parent} to start"):
        checkpoints.load()


def test_a_checkpoint_without_a_key_is_told_with_file_and_key(checkpoints):
    whole = {"format": 3, "belongs_to": THIS, "step": 5, **state()}
    for key in set(whole) - {"format"}:
        path = put(checkpoints, {k: whole[k] for k in whole if k != key})
        with pytest.raises(ValueError, match=rf"{path}: .*{key}: missing"):
            checkpoints.load()
        path.unlink()


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", b"\x80\x02cos\nsystem\n."])
def test_a_file_that_torch_did_not_write_is_told_by_name(checkpoints, content):
    path = put_bytes(checkpoints, content)
    with pytest.raises(ValueError, match=rf"{path}: torch cannot read it: .*to start anew"):
        checkpoints.load()


def test_what_a_kill_left_is_no_checkpoint_and_goes_with_the_next(checkpoints):
    checkpoints.save(1, state())
    left = checkpoints.folder / ".step-00000002-0123456789abcdef.pt.89abcdef.part"
    left.write_bytes(b"half of a checkpoint")
    assert checkpoints.load().step == 1
    checkpoints.save(2, state())
    assert not left.exists()


def test_clearing_leaves_no_folder(checkpoints):
    for step in (1, 2):
        checkpoints.save(step, state())
    (checkpoints.folder / "training.csv").write_text("step\n")
    checkpoints.clear()
    assert not checkpoints.folder.exists()


def test_what_cannot_be_cleared_is_warned_of_and_ends_nothing(checkpoints, caplog):
    """A notebook server's folder; a file server leaves such names, too."""
    checkpoints.save(1, state())
    (checkpoints.folder / ".ipynb_checkpoints").mkdir()
    with caplog.at_level(logging.WARNING):
        checkpoints.clear()
    assert f"{checkpoints.folder}: left where it is" in caplog.text
    assert not files(checkpoints)


def test_clearing_a_folder_that_lies_elsewhere_empties_it(tmp_path, checkpoints):
    (tmp_path / "elsewhere").mkdir()
    checkpoints.folder.symlink_to(tmp_path / "elsewhere")
    checkpoints.save(1, state())
    checkpoints.clear()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_is_told_by_name_and_leaves_the_checkpoints_before(tmp_path):
    with small_disk(tmp_path / "disk", kilobytes=256) as disk:
        checkpoints = Checkpoints(disk / "checkpoints", THIS, END)
        for step in (1, 2):
            checkpoints.save(step, state(net={"weights": torch.full((5000,), step)}))
        with pytest.raises(OSError, match=r"checkpoints/step-00000003\S+\.pt: could not") as error:
            checkpoints.save(3, state(net={"weights": torch.zeros(50_000)}))
        assert error.value.errno == errno.ENOSPC
        assert files(checkpoints) == ["00000001", "00000002"]
        assert not list(checkpoints.folder.glob(".*"))
        assert checkpoints.load().step == 2
        filler = fill(disk)
        with pytest.raises(OSError, match=r"checkpoints/step-00000003\S+\.pt"):
            checkpoints.save(3, state())
        filler.unlink()
        checkpoints.save(3, state())
        assert checkpoints.load().step == 3
