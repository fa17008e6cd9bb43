"""Files are whole or absent, whatever happens to the one who writes them."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys import fill, small_disk

from tlw.runtime.files import naming, written_aside


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path):
    target = tmp_path / "new" / "folder" / "scores.csv"
    with written_aside(target) as aside:
        aside.write_text("whole")
        assert not target.exists()
        assert aside.parent == target.parent  # on the same file system, so that renaming is atomic
    assert target.read_text() == "whole"
    assert names(target.parent) == ["scores.csv"]


def test_an_old_file_is_replaced_and_keeps_ordinary_permissions(tmp_path):
    target, other = tmp_path / "scores.csv", tmp_path / "other"
    target.write_text("old")
    other.write_text("")
    with written_aside(str(target)) as aside:
        aside.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert target.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_the_old_file_is_there_and_nothing_beside_it(tmp_path, error):
    target = tmp_path / "scores.csv"
    target.write_text("old")
    with pytest.raises(error), written_aside(target) as aside:
        aside.write_text("half")
        raise error
    assert names(tmp_path) == ["scores.csv"] and target.read_text() == "old"


def test_two_writers_do_not_meet(tmp_path):
    target = tmp_path / "scores.csv"
    with written_aside(target) as one, written_aside(target) as other:
        one.write_text("one")
        other.write_text("other")
    assert names(tmp_path) == ["scores.csv"] and target.read_text() == "one"


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "scores.csv").mkdir()
    with (
        pytest.raises(OSError, match=r"scores\.csv: could not be written \(Is a directory\)"),
        written_aside(tmp_path / "scores.csv") as aside,
    ):
        aside.write_text("new")
    assert names(tmp_path) == ["scores.csv"]


def test_a_file_that_the_block_cannot_read_is_not_called_unwritable(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, written_aside(tmp_path / "scores.csv"):
        (tmp_path / "absent.csv").read_text()
    assert "absent.csv" in str(caught.value) and "could not be written" not in str(caught.value)
    assert names(tmp_path) == []


def test_an_error_without_a_number_is_told_in_its_own_words(tmp_path):
    with (
        pytest.raises(OSError, match=r"^\S*scores\.csv: could not be written \(broken\)$"),
        written_aside(tmp_path / "scores.csv"),
    ):
        raise OSError("broken")


def test_a_full_disk_is_told_with_the_name_of_the_file_and_leaves_the_old_one(tmp_path):
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        target = disk / "scores.csv"
        target.write_text("old")
        fill(disk)
        with (
            pytest.raises(OSError, match=r"scores\.csv: could not be written \(No space") as caught,
            written_aside(target) as aside,
        ):
            aside.write_bytes(bytes(100_000))
        assert caught.value.errno == errno.ENOSPC
        assert names(disk) == ["filler", "scores.csv"] and target.read_text() == "old"


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    target = tmp_path / "scores.csv"
    target.write_text("old")
    program = (
        "import sys, time; from tlw.runtime.files import written_aside\n"
        "with written_aside(sys.argv[1]) as aside:\n"
        "    aside.write_text('half'); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, target])
    while not any(path.read_text() for path in tmp_path.glob(".*.part")):
        assert writer.poll() is None
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert target.read_text() == "old"
    with written_aside(target) as aside:
        aside.write_text("new")
    assert target.read_text() == "new"


def test_an_error_of_the_system_gets_the_name_of_the_file_if_it_has_none(tmp_path):
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        full = fill(disk)
        with (
            pytest.raises(OSError, match=rf"{full}: could not be written \(No space") as caught,
            naming(full),
            full.open("ab") as file,
        ):
            file.write(bytes(100_000))
        assert caught.value.errno == errno.ENOSPC
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path):
        (tmp_path / "absent").read_bytes()
    assert caught.value.filename == str(tmp_path / "absent")


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, os.fsdecode(b"\xe9" * 255), "猫" * 85])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    with written_aside(tmp_path / name) as aside:
        aside.write_text("whole")
    assert names(tmp_path) == [name]
