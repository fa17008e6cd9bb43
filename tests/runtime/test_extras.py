"""A verb that needs a package of an extra says which, before any work."""

import subprocess
import sys

import pytest
from toys import environment, toy_cell, write_cell

from tlw.runtime.extras import require


def test_what_is_installed_is_passed_without_being_imported():
    require(["tlw", "numpy"], extra="train", does="a training")


def test_every_missing_package_is_named_with_the_extra_that_brings_it():
    told = (
        r"nosuch_one and nosuch_two: not installed, and the export needs it; "
        r"pip install 'tlw\[export\]'"
    )
    with pytest.raises(ValueError, match=told):
        require(["numpy", "nosuch_one", "nosuch_two"], extra="export", does="the export")


def test_a_training_without_tensorboard_ends_before_torch_with_what_to_install(tmp_path):
    cell = write_cell(toy_cell(), tmp_path)
    program = (
        "import sys; sys.modules['tensorboard'] = None; sys.argv[0] = 'tlw'\n"
        "import importlib.util as util; real = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'tensorboard' else real(name)\n"
        "from tlw.cli import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    words = [sys.executable, "-c", program, "train", cell, "--pairs", tmp_path / "absent.h5"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("tlw: error: tensorboard: not installed, and a training needs it")
    assert "'.[train]'" in done.stderr and sorted(tmp_path.iterdir()) == [cell]
