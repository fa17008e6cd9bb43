"""The page of the reproduction: its generated part is what the command makes from the scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scored_cells import sections
from test_claims import scores_with
from typer.testing import CliRunner

from tlw.cli import app
from tlw.report.claims import CLAIMS, compared, verdict
from tlw.report.reproduced import in_study, read_reproduced
from tlw.report.reproduction import BEGIN, END, results, summary, write_page
from tlw.report.tables import PUBLISHED

ROOT = Path(__file__).parents[2]


def test_the_page_that_is_shipped_is_what_the_command_makes_of_the_scores_that_are_shipped():
    page = (ROOT / "docs" / "reproduction.md").read_text()
    made = page.split(BEGIN)[1].split(END)[0].strip()
    scores = read_reproduced(ROOT / "resources" / "reproduced.csv")
    assert made == results(scores, "reproduction")


def study():
    gains = {"l1": 0, "mse": 0, "l1-udl": 0, "l1-tlw": 0.05, "mse-tlw": 0.05, "l1-random": 0.05}
    record = {"parameters": 100, "steps": 500, "settings": "a", "commit": "b", "device": "CPU"}
    scores = scores_with(gains, noise=1e-3).assign(
        study="made-up", preset="paper", protocol="paper", seconds=10.0, **record
    )
    return scores.assign(seconds=scores["seconds"].where(scores["loss"] != "l1-tlw", 200.0))


def test_means_verdicts_and_pairs_are_those_of_the_scores():
    scores = study()
    tables = sections(results(scores, "figures"))
    [counts] = tables["The made-up study"]
    for line, claim in zip(counts[2:], CLAIMS, strict=True):
        table = compared(in_study(scores, "made-up"), claim.pairs, claim.metrics)
        assert line[0] == claim.name and line[-1] == verdict(table) == "reproduced"
        assert [line[1], line[3]] == [str(len(table)), str((table["outcome"] == "better").sum())]
    means, c1, *_ = tables["The numbers"]
    one = scores.query("backbone == 'edsr' and loss == 'l1' and benchmark == 'Set5'")
    seeds = one.groupby("seed")["psnr_y"].mean()
    line = next(x for x in means if x[:3] == ["edsr x4", "l1", "Set5"])
    assert line[3] == f"{seeds.mean():.3f} ± {np.std(seeds, ddof=1):.3f}"
    assert len(c1) == 2 + 8
    [trained] = tables["What was trained"]
    assert {line[1]: line[-1] for line in trained[2:]}["l1-tlw"] == "20.0"
    [controls] = tables["Controls"]
    assert [line[0] for line in controls[2:]] == 2 * ["l1-random against l1"] + 2 * [
        "l1-tlw against l1-random"
    ]


def test_the_gate_sets_unweighted_networks_of_the_papers_size_beside_its_numbers():
    published = pd.read_csv(PUBLISHED)
    row = published.query(
        "scale == 4 and backbone == 'edsr' and loss == 'l1' and dataset == 'Set5'"
    )
    scores = study()
    is_ours = scores.eval("backbone == 'edsr' and loss == 'l1' and benchmark == 'Set5'")
    scores.loc[is_ours, "psnr_y"] = row["psnr_y"].item() + 0.1
    scores.loc[is_ours, "lpips_vgg"] = row["lpips"].item() - 0.011
    [gate] = sections(results(scores, "figures"))["The unweighted networks and the paper's"]
    psnr, lpips = [line for line in gate if line[:3] == ["edsr x4", "l1", "Set5"]]
    assert psnr[-2:] == ["+0.100", "within"] and lpips[-2:] == ["-0.0110", "outside"]
    assert {line[1] for line in gate[2:]} == {"l1", "mse"}
    small = scores.assign(backbone=scores["backbone"] + "-small")
    assert "The unweighted networks" not in results(small, "figures")


def test_metrics_that_only_some_cells_were_scored_with_stand_beside_and_change_nothing_else():
    scores = study()
    some = scores.assign(dists=1 - scores["psnr_y"] / 100)
    some.loc[~some["loss"].isin(["l1", "l1-tlw"]), "dists"] = float("nan")
    made, before = results(some, "figures"), results(scores, "figures")
    [beside] = sections(made)["Other metrics"]
    gain = compared(scores, [("l1-tlw", "l1")], ["psnr_y"])
    [line] = beside[2:]
    assert line[:2] == ["l1-tlw against l1", "DISTS"]
    assert line[2] == f"{-gain['change'].mean() / 100:+.4f}"
    assert int(line[4]) == (gain["outcome"] == "better").sum() > 0
    start = made.index("#### Other metrics")
    end = made.index("#### What was trained")
    assert made[:start] + made[end:] == before


def test_trainings_done_again_tell_how_much_that_changes_and_decide_nothing():
    scores = study()
    again = scores[scores["loss"] == "l1"].assign(study="made-up-again", device="GPU")
    again["psnr_y"] += np.where(again["seed"].astype(int) % 2, 0.01, -0.02)
    told = sections(results(pd.concat([scores, again]), "figures"))
    assert list(told) == list(sections(results(scores, "figures")))
    _, table = told["What was trained"]
    line = next(x for x in table if x[:2] == ["edsr x4", "Set5"])
    assert line[2:5] == ["5", "-0.008", "0.017"]  # of -.02 three times, .01 twice
    l1 = scores.query("backbone == 'edsr' and benchmark == 'Set5' and loss == 'l1'")
    assert line[5] == f"{l1.groupby('seed')['psnr_y'].mean().std():.3f}"


def test_the_command_adds_nothing_twice_and_keeps_what_people_wrote(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"above\n\n{BEGIN}\nold\n{END}\n\nbelow\n")
    write_page(study(), page, tmp_path / "pictures")
    once = page.read_text()
    assert once.startswith("above\n") and once.endswith("\nbelow\n") and "old" not in once
    assert "](pictures/made-up-claims.svg)" in once
    picture = (tmp_path / "pictures" / "made-up-claims.svg").read_bytes()
    write_page(study(), page, tmp_path / "pictures")
    assert page.read_text() == once
    assert (tmp_path / "pictures" / "made-up-claims.svg").read_bytes() == picture


def test_a_front_page_gets_the_verdicts_of_each_study_and_ours_has_those_of_the_scores(tmp_path):
    told = summary(study())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in told.splitlines()]
    assert rows[0] == ["Claim", "In the paper", "Made-up study here, pairs"]
    for claim, row in zip(CLAIMS, rows[2:], strict=True):
        table = compared(in_study(study(), "made-up"), claim.pairs, claim.metrics)
        assert row[:2] == [claim.words, claim.published]
        assert row[2].startswith(f"**{verdict(table)}** (")
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    made = summary(read_reproduced(ROOT / "resources" / "reproduced.csv"))
    assert front.partition(BEGIN)[2].partition(END)[0].strip() == made.strip()


def test_a_page_without_marks_is_refused_and_kept(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    command = ["reproduce", "--page", str(page), "--scores", str(tmp_path / "none.csv")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and page.read_text() == "nothing here\n"
    with pytest.raises(ValueError, match="expected the lines"):
        write_page(study(), page, tmp_path)
