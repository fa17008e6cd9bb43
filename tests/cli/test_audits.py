"""`tlw audit` and `tlw downscale` as commands: the page's example, JSON, and refusals."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_files import write_image
from toys import photograph, run, tlw
from typer.testing import CliRunner, Result

from tlw.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()


def block(kind: str) -> str:
    [found] = re.findall(rf"^```{kind}\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
    return found


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


def output(*words: str | Path) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.exception
    return result.stdout


def refused(*words: str | Path) -> str:
    result = call(*words)
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("audit")
    for name, size in {"a": (45, 40), "b": (40, 52)}.items():
        hr = np.ascontiguousarray(photograph("coffee", size=size))
        write_image(root / "hr" / f"{name}.png", hr)
        write_image(root / "sr" / f"{name}.png", (hr // 8 * 8).astype(np.uint8))
    return root


def test_the_example_of_the_page_gives_what_it_shows(shared, tmp_path, monkeypatch):
    (tmp_path / "resources" / "images").mkdir(parents=True)
    (tmp_path / "resources" / "images" / "Set5").symlink_to(shared / "datasets" / "Set5")
    monkeypatch.chdir(tmp_path)

    def shown(kind: str) -> str:
        return output(*block(f"sh {kind}").split()[1:])

    assert shown("make") == ""
    exec(block("python"), {})
    for made in sorted((tmp_path / "lanczos").iterdir()):
        recorded = shared / "audit" / "lanczos_x4_set5" / made.name
        assert np.array_equal(np.array(Image.open(made)), np.array(Image.open(recorded)))
    assert shown("claims") == block("text claims")
    head, _, table = shown("lr").partition("\n\n")
    assert head + "\n" == block("text lr") and table.count("\n| ") == 9


def test_json_has_every_reading_and_the_claims_that_they_give(folders):
    words = ["audit", folders / "sr", folders / "hr", "--scale", 2, "--json"]
    content = json.loads(output(*words))
    readings = content["readings"]
    assert {r["metric"] for r in readings} == {"psnr", "ssim"} and content["claims"] == []
    usual = {"channel": "Y", "crop": 2, "border": 2, "peak": "255", "mean": "of PSNRs"}
    [found] = [r for r in readings if r | usual == r]
    [claim] = json.loads(output(*words, "--claim", f"psnr={found['value']:.3f}"))["claims"]
    assert claim["given_by"][0] == found and claim["nearest"] == found
    assert claim["claimed"] == f"{found['value']:.3f}"
    exact = json.loads(output("audit", folders / "hr", folders / "hr", "--scale", 2, "--json"))
    assert {r["value"] for r in exact["readings"] if r["metric"] == "psnr"} == {None}


@pytest.mark.parametrize(("form", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_figure_is_written_in_the_form_of_its_name(folders, tmp_path, form, begins):
    words = ["audit", folders / "sr", folders / "hr", "--scale", 2]
    figure = tmp_path / f"a.b.{form}"
    assert output(*words, "--figure", figure) == output(*words)
    assert figure.read_bytes().startswith(begins) and list(tmp_path.iterdir()) == [figure]


def test_a_figure_that_there_is_none_of_is_told_before_any_work(folders, tmp_path):
    words = ["audit", folders / "sr", folders / "hr", "--scale", 2, "--figure"]
    assert "expected a .pdf, .png, .webp or .svg file" in refused(*words, tmp_path / "a.jpg")
    alone = ["audit", folders / "hr", "--lr", folders / "sr", "--figure", tmp_path / "a.png"]
    assert "leave it out, --lr has none" in refused(*alone)
    equal = ["audit", folders / "hr", folders / "hr", "--scale", 2, "--figure"]
    assert "images that are equal" in refused(*equal, tmp_path / "a.png")
    assert not [*tmp_path.iterdir()]


def test_json_of_lr_names_who_made_it(folders, tmp_path):
    output("downscale", folders / "hr", "-o", tmp_path, "--scale", 2, "--border", "replicate")
    content = json.loads(output("audit", "--lr", tmp_path, folders / "hr", "--json"))
    assert content["made_by"] == ["matlab-old"] and content["images"] == content["scale"] == 2
    first = content["candidates"][0]
    assert first == {"origin": "matlab-old", "equal": 1, "mean": 0, "largest": 0, "images": 2}


def test_a_stranger_s_bicubic_is_told_with_the_likest(folders, tmp_path):
    for path in (folders / "hr").iterdir():
        image = Image.open(path)
        size = (image.width // 2, image.height // 2)
        image.resize(size, Image.Resampling.LANCZOS).save(tmp_path / path.name)
    told = output("audit", "--lr", tmp_path, folders / "hr")
    assert told.startswith("None of these made this lr. The likest is ")


def test_the_command_prints_its_table_to_standard_output_and_mistakes_in_one_line(folders):
    done = run(tlw("audit", folders / "sr", folders / "hr", "--scale", 2))
    assert done.returncode == 0 and done.stdout.startswith("psnr: ")
    assert "\n| Y, border 2, sr in 8 bits " in done.stdout and "usual" in done.stdout
    done = run(tlw("audit", folders / "sr", folders / "hr", "--scale", 2, "--claim", "psnr=good"))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("tlw: error: --claim: expected psnr, ssim or lpips, = and")


# --- refusals ---------------------------------------------------------------------------------


def test_folders_that_are_too_many_too_few_or_not_there_are_told(folders, tmp_path):
    sr, hr = folders / "sr", folders / "hr"
    assert "expected 2 folders, SR and HR, found 1" in refused("audit", sr, "--scale", 2)
    assert "found 3" in refused("audit", sr, hr, hr, "--scale", 2)
    told = refused("audit", "--lr", sr, sr, hr)
    assert "expected 1 folder, HR, behind --lr LR, found 2" in told
    none = tmp_path / "none"
    assert refused("audit", sr, none, "--scale", 2) == f"{none}: expected a folder of images, " + (
        "found none"
    )


def test_what_does_not_go_together_is_told(folders):
    sr, hr = folders / "sr", folders / "hr"
    assert "expected --scale 2, 3 or 4" in refused("audit", sr, hr)
    told = refused("audit", "--lr", sr, hr, "--claim", "psnr=20.00")
    assert "--claim and --lpips are about sr" in told
