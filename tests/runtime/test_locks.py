"""The lock of a folder: one holder, freed by its death, on this machine and on another."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toys import (
    FRAGILE_VDSR,
    environment,
    fill,
    run,
    small_disk,
    tlw_train,
    toy_cell,
    toy_pairs,
    write_cell,
)

import tlw as tlw_package
from tlw.runtime.locks import only_one
from tlw.training.trainer import train

HOLD = """
import sys, time
from pathlib import Path
from tlw.runtime.locks import only_one

with only_one(Path(sys.argv[1]), stale=float(sys.argv[2])) as lock:
    print("held", flush=True)
    while True:
        time.sleep(0.05)
        try:
            lock.check()
        except OSError as error:
            print(error, flush=True)
            break
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "cell" / ".lock"


def holder(path: Path, *, stale: float = 60) -> subprocess.Popen:
    """A process that holds the lock until it loses it, which it then tells."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, str(stale)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def ended(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def moved_to_another_machine(path: Path, *, stale: float) -> None:
    """Makes a held lock one that a process on another machine holds, under the library's form."""
    lines = path.read_text().splitlines()
    changed = {"pid": "4711", "host": "node7", "duration": repr(float(stale))}
    lines = [f"{key}={changed.get(key, value)}" if equals else key
             for key, equals, value in (line.partition("=") for line in lines)]  # fmt: skip
    path.write_text("".join(f"{line}\n" for line in lines))


def test_a_second_one_is_kept_out_and_told_who_holds_it(path):
    process = holder(path)
    who = rf"{path.parent}: process {process.pid} on \S+ trains here, and has not ended in 0 s"
    with pytest.raises(TimeoutError, match=who), only_one(path, patience=0):
        pass
    ended(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_dies_on_this_machine_is_succeeded_without_waiting(path, number):
    process = holder(path)
    process.send_signal(number)
    process.communicate()
    assert f"pid={process.pid}\n" in path.read_text()
    with only_one(path, patience=1) as lock:
        lock.check()
        assert f"pid={os.getpid()}\n" in path.read_text()
    assert not path.exists()


def test_a_waiting_one_goes_on_when_the_holder_is_killed(path, caplog):
    process = holder(path)
    killer = threading.Timer(0.5, ended, [process])
    killer.start()
    with only_one(path, patience=50):
        assert process.returncode == -signal.SIGKILL
    assert f"process {process.pid} on" in caplog.text and "waiting up to 50 s for it" in caplog.text


def test_of_many_that_start_at_once_one_holds_it_at_a_time(path):
    """Each adds one to a number, in steps that others would fall into."""
    number = path.with_name("number")
    number.parent.mkdir()
    number.write_text("0")
    code = """
import sys, time
from pathlib import Path
from tlw.runtime.locks import only_one

path, number = map(Path, sys.argv[1:])
for _ in range(3):
    with only_one(path):
        value = int(number.read_text())
        time.sleep(0.02)
        number.write_text(str(value + 1))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, path, number]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert number.read_text() == "12"


def test_a_holder_on_another_machine_that_gives_signs_of_life_is_waited_for(path):
    process = holder(path, stale=2)
    moved_to_another_machine(path, stale=2)
    ended(process)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.05):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    with (
        pytest.raises(TimeoutError, match=r"process 4711 on node7 trains here"),
        only_one(path, patience=3, stale=2),
    ):
        pass
    over.set()
    thread.join()
    with only_one(path, patience=50, stale=2):
        assert f"pid={os.getpid()}\n" in path.read_text()


def test_one_that_was_suspended_for_too_long_is_told_and_leaves_the_lock_to_the_other(path):
    process = holder(path, stale=0.6)
    process.send_signal(signal.SIGSTOP)
    with only_one(path, patience=50, stale=0.6) as lock:
        process.send_signal(signal.SIGCONT)
        told = process.communicate()[0]
        assert f"{path.parent}: taken over by process {os.getpid()} on" in told
        assert f"pid={os.getpid()}\n" in path.read_text()
        lock.check()


def test_a_lock_that_somebody_deleted_is_told(path):
    process = holder(path, stale=0.6)
    path.unlink()
    told = process.communicate()[0]
    assert f"{path}: the lock of this process is lost" in told


def test_a_heartbeat_touches_the_file(path):
    with only_one(path, beat=0.05):
        os.utime(path, (0, 0))
        until = time.monotonic() + 60
        while path.stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.parametrize("whole", [True, False], ids=["to a file", "to nothing"])
def test_a_link_in_its_place_is_neither_followed_nor_written(path, tmp_path, whole):
    precious = tmp_path / "precious"
    if whole:
        precious.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(precious)
    with only_one(path, patience=50):
        assert not path.is_symlink()
    assert precious.read_text() == "mine" if whole else not precious.exists()


@pytest.mark.parametrize("content", [b'{"pid": 1, "host": [', b"\xff" * 5000])
def test_a_lock_file_of_another_form_stops_nobody(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with only_one(path, patience=50):
        assert f"pid={os.getpid()}\n" in path.read_text()


def test_an_empty_lock_file_is_left_alone_and_told_what_to_do_about(path):
    path.parent.mkdir()
    path.touch()
    with (
        pytest.raises(TimeoutError, match=rf"unknown process .* if there is none, delete {path}"),
        only_one(path, patience=0.5),
    ):
        pass


def test_a_lock_that_cannot_be_written_is_told_by_name(tmp_path):
    with small_disk(tmp_path / "disk", kilobytes=64) as disk:
        fill(disk)
        path = disk / ".lock"
        with (
            pytest.raises(OSError, match=rf"{path}: could not be written \(No space left"),
            only_one(path),
        ):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), only_one(tmp_path / "file" / ".lock"):
        pass


def test_two_trainings_of_a_cell_the_first_killed_end_with_the_weights_of_one(tmp_path):
    pairs, cell, folder = toy_pairs(tmp_path), toy_cell(backbone=FRAGILE_VDSR), tmp_path / "cell"
    write_cell(cell, folder)
    command = tlw_train(folder, pairs, "--checkpoint-seconds", 0)
    with only_one(folder / ".lock"):
        refused = run([*command, "--patience", "0"])
        assert refused.returncode == 1 and "Traceback" not in refused.stderr
        assert f"tlw: error: {folder}: process {os.getpid()} on " in refused.stderr
        assert {path.name for path in folder.iterdir()} == {"cell.json", ".lock"}
    first = subprocess.Popen(command, env=environment(TOYS_SIGNAL="SIGKILL@4"))
    threading.Thread(target=first.wait).start()  # so that it leaves nothing when it is killed
    while not (folder / ".lock").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = run(command)
    assert first.wait() == -signal.SIGKILL
    assert second.returncode == 0 and "goes on at step 3 of 6" in second.stderr
    train(cell, [pairs], tmp_path / "whole", device="cpu")
    weights = [(at / "weights.safetensors").read_bytes() for at in (folder, tmp_path / "whole")]
    assert weights[0] == weights[1]


POSIX_ONLY = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty")


def test_a_system_without_posix_modules_and_signals_imports_the_whole_package():
    """As Windows is: torch and what else it needs bear with it."""
    package = Path(tlw_package.__file__).parent
    modules = [
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in sorted(package.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    code = (
        "import importlib, os, signal, sys\n"
        f"sys.modules.update(dict.fromkeys({POSIX_ONLY}))\n"
        "del os.getuid, os.fork, os.killpg, signal.SIGHUP\n"
        "for module in sys.argv[1:]: importlib.import_module(module)\n"
        "import tlw.runtime.stopping as stopping\n"
        "with stopping.stop_signal() as received: assert received == []"
    )
    assert len(modules) > 80
    done = run([sys.executable, "-c", code, *modules])
    assert done.returncode == 0, done.stderr
