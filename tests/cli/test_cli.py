"""The command `tlw`: its help, its words to mistakes, and what it leaves when it is stopped."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from png_files import write_image
from toys import photograph, run, tlw, toy_cell, toy_pairs
from typer.testing import CliRunner

import tlw as tlw_package
from tlw.cli import app
from tlw.config.config import Config, read_cell
from tlw.data.pairs import Pairs

ROOT = Path(__file__).parents[2]
VERBS = [
    "fetch",
    "fetch-weights",
    "pairs",
    "cell",
    "train",
    "evaluate",
    "import",
    "score",
    "tables",
    "upscale",
    "compare",
    "cite",
    "verify",
    "schema",
    "doctor",
]


def image_set(folder: Path, images: list[np.ndarray]) -> Path:
    """A folder like one that `tlw fetch` leaves."""
    folder.mkdir(parents=True)
    with (folder / "manifest.tsv").open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["file", "bytes", "sha256"])
        for index, image in enumerate(images):
            path = folder / f"{index}.png"
            write_image(path, np.ascontiguousarray(image))
            table.writerow([path.name, path.stat().st_size, ""])
    return folder


def mistake(*words: str | Path) -> str:
    """What is told of a mistake, by the verb inside this process."""
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 1 and isinstance(result.exception, ValueError | OSError)
    return str(result.exception)


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_for_itself_and_all_its_options(verb):
    help_of_all = CliRunner().invoke(app, ["--help"])
    assert help_of_all.exit_code == 0 and verb in help_of_all.output
    result = CliRunner().invoke(app, [verb, "--help"], terminal_width=200)
    assert result.exit_code == 0 and "Usage: " in result.output
    rows = [row for row in result.output.splitlines() if row.startswith("│") and " --" in row]
    assert rows and all(row.rstrip(" │").split()[-1][:2] != "--" for row in rows)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["schema"],
        ["cell", "{}", "--output", "unwritten.json"],
        ["train", "absent.json", "--pairs", "absent.h5"],
        ["tables", "absent", "--output", "unwritten"],
        ["import", "x.pth", "--backbone", "edrs", "--scale", "2", "--output", "unwritten"],
        ["score", "absent", "absent", "--scale", "2", "--protocol", "papr"],
        ["compare", "absent"],
        ["evaluate", "bicubic", "x.safetensors", "--pairs", "absent.h5"],
    ],
)
def test_help_and_mistakes_come_without_torch(words):
    program = (
        "import sys\n"
        "from tlw.cli import main\n"
        f"sys.argv = ['tlw', *{words}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "raise SystemExit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_schema_is_the_configs():
    result = CliRunner().invoke(app, ["schema"])
    assert json.loads(result.output) == Config.model_json_schema()


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "absent.json", "--pairs", "x.h5"], "absent.json: No such file or directory"),
        (["cell", "{}", "-o", "cell.json"], "cell: backbone_name: missing; it has no default"),
        (["pairs", ".", "-o", "x.h5", "--scale", "2", "--use", "test"], "no complete image set"),
        (["tables", "nowhere", "-o", "t"], "nowhere/scores.csv: no such file; `tlw evaluate`"),
        (["import", "x.pth", "--backbone", "edrs", "--scale", "2", "-o", "w"], "mean 'edsr'?"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_without_a_traceback(tmp_path, words, told):
    done = subprocess.run(tlw(*words), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("tlw: error: ") and told in done.stderr
    assert "Traceback" not in done.stderr and "[Errno" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_debug_tells_the_traceback_too(tmp_path):
    done = run(tlw("--debug", "train", tmp_path / "absent.json", "--pairs", "x.h5"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "in read_cell" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("tlw: error: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pairs", ".", "-o", "x", "--scale", "5", "--use", "test"], "--scale"),
        (["pairs", ".", "-o", "x", "--scale", "2", "--use", "tset"], "--use"),
        (["evaluate", "bicubic", "-o", "x"], "--pairs"),
        (["tables", ".", "-o", "x", "--number", "3"], "--number"),
        (["upscale", ".", "--weights", "x", "-o", "y", "--tile", "-1"], "--tile"),
        (["compare", ".", "--confidence", "1"], "--confidence"),
        (["upscael"], "upscael"),
    ],
)
def test_a_wrong_option_is_named(words, told):
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and told in result.output


def test_an_image_set_that_is_not_known_is_told_with_the_ones_that_are(tmp_path):
    told = mistake("fetch", "set5", "--folder", tmp_path)
    assert told.startswith("image set: expected one of ")
    assert told.endswith("found 'set5'; did you mean 'Set5'?")
    assert "nosuchset" in mistake("fetch", "nosuchset", "--folder", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_registry_that_is_not_there_is_named(tmp_path):
    done = run(tlw("fetch", "Set5", "--registry", tmp_path / "absent.yaml"))
    assert done.returncode == 1
    assert done.stderr == f"tlw: error: {tmp_path}/absent.yaml: No such file or directory\n"


def test_a_folder_that_was_not_fetched_says_how_to(tmp_path):
    (tmp_path / "Set5").mkdir()
    words = ("-o", tmp_path / "x.h5", "--scale", "2", "--use", "test")
    assert "`tlw fetch Set5`" in mistake("pairs", tmp_path / "Set5", *words)
    assert "`tlw fetch Set14`" in mistake("pairs", tmp_path / "Set14", *words)
    assert not (tmp_path / "x.h5").exists()


def test_an_unknown_protocol_is_refused(tmp_path):
    folder = image_set(tmp_path / "Mine", [photograph()])
    words = ("-o", tmp_path / "x.h5", "--scale", "2", "--use", "test", "--protocol", "papr")
    assert "protocol: expected one of paper, standard, standard-grey-as-rgb," in mistake(
        "pairs", folder, *words
    )


def test_evaluate_names_the_file_that_is_missing(tmp_path):
    pairs, output = toy_pairs(tmp_path, use="test"), tmp_path / "scores.csv"
    here = ("-o", output, "--device", "cpu")
    assert "absent.h5: no such pairs file" in mistake(
        *("evaluate", "bicubic", "--pairs", tmp_path / "absent.h5", *here)
    )
    assert "absent.safetensors: " in mistake(
        *("evaluate", tmp_path / "absent.safetensors", "--pairs", pairs, *here)
    )
    assert "device 'gpu' cannot be used" in mistake(
        *("evaluate", "bicubic", "--pairs", pairs, "-o", output, "--device", "gpu")
    )
    assert not output.exists()


def test_several_networks_have_no_output_in_common(tmp_path):
    output = tmp_path / "scores.csv"
    rest = ("--pairs", tmp_path / "absent.h5", "--device", "cpu")
    told = mistake("evaluate", "a.safetensors", "b.safetensors", *rest, "-o", output)
    assert told.startswith(f"--output: expected one weights file to score into {output}, found 2;")
    for words in (["bicubic"], ["bicubic", "b.safetensors"], ["bicubic", "bicubic", "-o", output]):
        told = mistake("evaluate", *words, *rest)
        assert told == "evaluate: bicubic is scored by itself, and into a file named by --output"
    assert not list(tmp_path.iterdir())


def test_upscale_names_the_image_that_is_missing_and_the_folder_that_has_none(tmp_path):
    words = ("--weights", "w.safetensors", "-o", tmp_path / "out", "--device", "cpu")
    assert "absent.png: expected an image" in mistake("upscale", tmp_path / "absent.png", *words)
    assert "expected images (.png, " in mistake("upscale", tmp_path, *words)
    assert not (tmp_path / "out").exists()


def test_weights_of_an_unknown_judge_are_refused(tmp_path):
    told = mistake("fetch-weights", "vgf", "--judge-folder", tmp_path)
    assert "vgg, alex" in told and "vgf" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scale": 5}, "cell: scale: expected 2, 3 or 4, found 5"),
        ({"sede": 1}, "cell: sede: unknown key; did you mean 'seed'?"),
        ({"loss": {"kind": "pixel", "base": "l3"}}, "loss.pixel.base: expected 'l1' or 'mse'"),
    ],
)
def test_a_bad_cell_is_not_written(tmp_path, change, told):
    content = {**toy_cell().model_dump(mode="json"), **change}
    output = tmp_path / "cell.json"
    assert told in mistake("cell", json.dumps(content), "-o", output)
    assert "expected JSON, found '{scale" in mistake("cell", "{scale: 2}", "-o", output)
    assert "expected keys and values, found [1]" in mistake("cell", "[1]", "-o", output)
    assert not output.exists()


def test_what_a_file_is_called_cannot_steer_a_terminal(tmp_path):
    done = run(tlw("fetch", "Set5", "--registry", tmp_path / "\x1b[2J.yaml"))
    assert done.returncode == 1 and r"\x1b[2J.yaml: No such file" in done.stderr
    (tmp_path / "\x1b[2J").write_text("")
    words = ("--folder", tmp_path, "--from", tmp_path / "\x1b[2J")
    done = run(tlw("fetch", "Set5", *words))
    assert done.returncode == 1 and r"\x1b[2J: expected a folder of images" in done.stderr
    assert "\x1b" not in done.stderr


def test_the_version_is_told_without_torch():
    code = "import sys; from tlw.cli import app; app(['--version'], standalone_mode=False); "
    done = run([sys.executable, "-c", f"{code}sys.exit('torch' in sys.modules)"])
    assert done.returncode == 0 and done.stdout == f"tlw {tlw_package.__version__}\n"


def test_a_shell_completes_the_verbs():
    code = "import sys; sys.argv[0] = 'tlw'; from tlw.cli import main; main()"
    asked = {"_TLW_COMPLETE": "complete_bash", "COMP_WORDS": "tlw fet", "COMP_CWORD": "1"}
    done = run([sys.executable, "-c", code], **asked)
    assert done.stdout.split() == ["fetch", "fetch-weights"]


# --- what it does -----------------------------------------------------------------------------


def test_a_cell_is_written_as_it_is(tmp_path):
    cell, output = toy_cell("l1-tlw"), tmp_path / "new" / "cell.json"
    result = CliRunner().invoke(app, ["cell", cell.model_dump_json(), "-o", str(output)])
    assert result.exit_code == 0 and read_cell(output) == cell


@pytest.mark.parametrize("named", ["as a path", "from inside"])
def test_pairs_take_their_name_from_the_folder(tmp_path, monkeypatch, named):
    folder = image_set(tmp_path / "Mine", [photograph()])
    monkeypatch.chdir(folder)
    images = "." if named == "from inside" else str(folder)
    words = ["-o", str(tmp_path / "x.h5"), "--scale", "2", "--use", "test", "--threads", "1"]
    result = CliRunner().invoke(app, ["pairs", images, *words])
    assert result.exit_code == 0
    assert Pairs(tmp_path / "x.h5").image_set == "Mine"


def test_from_images_to_a_table_verb_by_verb(tmp_path):
    images = image_set(tmp_path / "Mine", [photograph(), photograph("coffee")])
    pairs, row = tmp_path / "mine.h5", tmp_path / "bicubic_x2"
    verbs = [
        ("-q", "pairs", images, "-o", pairs, "--scale", 2, "--use", "test", "--threads", 1),
        ("-q", "evaluate", "bicubic", "--pairs", pairs, "-o", row / "scores.csv", "--device", "cpu",
         "--threads", 1),
        ("tables", row, "-o", tmp_path / "table", "--title", "Mine & bicubic"),
    ]  # fmt: skip
    for words in verbs:
        done = run(tlw(*words))
        assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.startswith("# Mine & bicubic\n") and "| bicubic | – |" in " ".join(
        done.stdout.split()
    )
    assert done.stdout.strip() == (tmp_path / "table.md").read_text().strip()
    assert {path.name for path in tmp_path.glob("table*")} == {
        *("table.csv", "table.md", "table.tex", "table_cells.csv")
    }


# --- being stopped ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_a_stopped_verb_leaves_no_half_file(tmp_path, number, code):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    images = image_set(tmp_path / "Mine", [image] * 2)
    for copy in range(2, 60):  # by name only, each is read anew
        os.link(images / "0.png", images / f"{copy}.png")
    with (images / "manifest.tsv").open("a") as file:
        size = (images / "0.png").stat().st_size
        file.writelines(f"{copy}.png\t{size}\t\n" for copy in range(2, 60))
    made = tmp_path / "made"
    made.mkdir()
    words = ("pairs", images, "-o", made / "x.h5", "--scale", 4, "--use", "test", "--threads", 1)
    verb = subprocess.Popen(tlw(*words), stderr=subprocess.PIPE, text=True)
    while not any(path.stat().st_size > 1_000_000 for path in made.iterdir()):
        assert verb.poll() is None
        time.sleep(0.01)
    verb.send_signal(number)
    told = verb.communicate(timeout=60)[1]
    assert verb.returncode == code, told
    assert "Traceback" not in told
    assert not list(made.iterdir())
