"""The paper's bicubic rows beside ours: equal ones, one that differs, and what is missing."""

import subprocess
from pathlib import Path

import pytest
from png_files import write_image
from toys import photograph, run, tlw

from tlw.judge.weights import judge_weights
from tlw.report.tables import PUBLISHED
from tlw.report.verify import bicubic_cells


@pytest.fixture(scope="module")
def images(shared, tmp_path_factory) -> Path:
    """A folder of image sets with Set5 alone."""
    folder = tmp_path_factory.mktemp("images")
    words = tlw("fetch", "Set5", "--from", shared / "datasets" / "Set5", "--folder", folder)
    subprocess.run(words, check=True, capture_output=True)
    return folder


def test_set5_at_x4_is_the_papers_and_what_is_missing_is_told(images):
    options = ("--scale", "4", "--device", "cpu", "--threads", "1")
    done = run(tlw("verify", images, *options, "--judge-folder", judge_weights("vgg").parent))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == [
        "Urban100",
        "Set14",
        "BSDS100",
        "Manga109",
    ]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[6:]]
    assert rows == [
        ["Set5", "4", "psnr_y", "28.5944", "28.5944", ""],
        ["Set5", "4", "lpips_vgg", "0.2838", "0.2838", ""],
    ]


def test_a_number_that_differs_in_the_fourth_decimal_is_found(images, tmp_path):
    other = tmp_path / "published.csv"
    other.write_text(PUBLISHED.read_text().replace("28.5944,0.2838", "28.5944,0.2839"))
    judge = judge_weights("vgg").parent
    table, _ = bicubic_cells(images, published=other, scales=[4], judge_folder=judge)
    assert list(table["equal"]) == [True, False]


def test_another_image_in_a_benchmark_ends_with_1_and_names_the_numbers(tmp_path):
    write_image(tmp_path / "Set5" / "a.png", photograph(size=(48, 48)).copy())
    path = tmp_path / "Set5" / "a.png"
    row = f"a.png\t{path.stat().st_size}\t{'0' * 64}\n"
    (tmp_path / "Set5" / "manifest.tsv").write_text(f"file\tbytes\tsha256\n{row}")
    options = ("--scale", "2", "--device", "cpu", "--threads", "1")
    done = run(tlw("verify", tmp_path, *options, "--judge-folder", judge_weights("vgg").parent))
    assert done.returncode == 1 and done.stdout.count("differs") == 2


def test_a_folder_without_benchmarks_and_one_with_half_of_one_are_told(tmp_path):
    done = run(tlw("verify", tmp_path, "--device", "cpu"))
    assert done.returncode == 1 and "expected a benchmark of the paper's, found none" in done.stderr
    write_image(tmp_path / "Set5" / "a.png", photograph(size=(48, 48)).copy())
    done = run(tlw("verify", tmp_path, "--device", "cpu"))
    assert done.returncode == 1 and "`tlw fetch Set5` makes or checks it" in done.stderr
