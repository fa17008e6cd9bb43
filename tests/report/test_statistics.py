"""Differences of scores: which are significant, what stands against what, and corrections."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tlw.report.intervals import interval
from tlw.report.statistics import (
    FEWEST,
    Against,
    Smallest,
    baselines,
    by_chance,
    differences,
)

OURS, BASE = (2, "vdsr", "l1-tlw"), (2, "vdsr", "l1")
TO_BASE = {OURS: Against(BASE, "l1")}


def scores(values: dict[tuple, dict[str, list[float]]]) -> pd.DataFrame:
    """Scores by (scale, backbone, loss, seed) and metric, a number for each image of Set."""
    return pd.concat([
        pd.DataFrame({
            **dict(zip(("scale", "backbone", "loss", "seed"), cell, strict=True)),
            **{"protocol": "paper", "benchmark": "Set"},
            "image": [f"{i}.png" for i in range(len(next(iter(metrics.values()))))],
            **metrics,
        })
        for cell, metrics in values.items()
    ], ignore_index=True)  # fmt: skip


def by_metric(found: pd.DataFrame) -> dict[str, pd.Series]:
    return {row["metric"]: row for _, row in found.iterrows()}


SEEDS = ("0", "1", "2")
NEAR = np.array([0.1, 0.2, 0.3, 0.2, 0.1])


def gained(gain: np.ndarray, **metrics: float) -> pd.DataFrame:
    """Three seeds of a loss and its baseline, which is better by `gain` of each metric's start."""
    return scores({
        (*row, seed): {
            name: start + (row == OURS) * gain * (1 + 0.01 * place)
            for name, start in metrics.items()
        }
        for row in (OURS, BASE) for place, seed in enumerate(SEEDS)
    })  # fmt: skip


def test_more_psnr_is_better_and_more_lpips_is_worse():
    table = gained(NEAR, psnr_y=30, lpips_vgg=0.2)
    table["ssim_y"] = 0.9
    found = by_metric(differences(table, TO_BASE))
    assert {name: row["significant"] for name, row in found.items()} == {
        **{"psnr_y": "better", "ssim_y": "no", "lpips_vgg": "worse"}
    }
    psnr = found["psnr_y"]
    assert psnr["change"] == pytest.approx(0.18 * 1.01)
    low, high = interval(np.stack([NEAR, 1.01 * NEAR, 1.02 * NEAR])[..., None])
    assert [psnr["low"], psnr["high"]] == pytest.approx([low[0], high[0]])
    assert (psnr["against"], psnr["common_images"], psnr["pairs"], psnr["against_seeds"]) == (
        *("l1", 5, 3, 3),
    )
    assert psnr["change_std"] == pytest.approx(0.18 * 0.01)


def test_with_one_seed_on_a_side_nothing_is_significant():
    table = gained(NEAR, psnr_y=30)
    one = table[table["seed"] == "0"]
    found = differences(one, TO_BASE).iloc[0]
    assert (found["significant"], found["on_other_images"]) == ("", "better")
    assert math.isnan(found["change_std"]) and found["p"] == pytest.approx(
        stats.ttest_1samp(NEAR, 0).pvalue
    )
    to_one = {OURS: Against(BASE, "l1_seed0", tuple((seed, "0") for seed in SEEDS))}
    found = differences(table, to_one).iloc[0]
    assert (found["pairs"], found["against_seeds"]) == (3, 1)
    assert (found["significant"], found["on_other_images"]) == ("", "better")


def test_what_was_not_trained_here_has_no_seeds_to_be_uncertain_of():
    table = gained(NEAR, psnr_y=30)
    table = pd.concat([table[table["loss"] == "l1-tlw"],
                       scores({(2, "bicubic", "", ""): {"psnr_y": [29.0] * 5}})])  # fmt: skip
    against = {OURS: Against((2, "bicubic", ""), "bicubic_x2", tuple((s, "") for s in SEEDS))}
    found = differences(table, against).iloc[0]
    assert (found["significant"], found["pairs"], found["against_seeds"]) == ("better", 3, 0)


def test_a_significant_difference_below_the_smallest_of_interest_is_small():
    for scale, word in ((1, "better"), (1e-4, "small")):
        table = gained(scale * NEAR, psnr_y=30)
        assert differences(table, TO_BASE).iloc[0]["significant"] == word
    found = differences(gained(NEAR, psnr_y=30), TO_BASE, smallest=Smallest(0.2, 0))
    assert found.iloc[0]["significant"] == "small"
    found = differences(gained(NEAR, lpips_vgg=0.2), TO_BASE, smallest=Smallest(0.2, 0))
    assert found.iloc[0]["significant"] == "worse"


# --- corrections ------------------------------------------------------------------------------


def many(random: np.random.Generator, numbers: int, gain: float) -> pd.DataFrame:
    """As many losses of three seeds, of which the first half gains on the baseline."""
    losses = {
        f"loss{k}": gain * (k < numbers / 2) + random.normal(0, 0.1, (3, 8)) for k in range(numbers)
    }
    return scores({
        (2, "vdsr", loss, seed): {"psnr_y": 30 + values[place]}
        for loss, values in {"l1": np.zeros((3, 8)), **losses}.items()
        for place, seed in enumerate(SEEDS)
    })  # fmt: skip


def test_the_correction_is_that_of_benjamini_and_hochberg():
    table = many(np.random.default_rng(0), 20, 0.15)
    against = {(2, "vdsr", f"loss{k}"): Against(BASE, "l1") for k in range(20)}
    found = differences(table, against)
    p = sorted(found["p"])
    for value, corrected in zip(found["p"], found["p_corrected"], strict=True):
        step_up = min(20 * q / (place + 1) for place, q in enumerate(p) if q >= value)
        assert corrected == pytest.approx(min(step_up, 1))
    assert (found["p_corrected"] >= found["p"]).all()
    marked = found[found["significant"] == "better"]
    assert 0 < by_chance(marked) <= 20 * 0.05
    assert by_chance(marked.iloc[:0]) == 0


def test_numbers_of_one_seed_are_corrected_by_themselves():
    table = many(np.random.default_rng(0), 4, 0.2)
    table = table[(table["loss"] != "loss3") | (table["seed"] == "0")]
    against = {(2, "vdsr", f"loss{k}"): Against(BASE, "l1") for k in range(4)}
    found = differences(table, against).set_index("loss")
    assert found.loc["loss3", "p_corrected"] == found.loc["loss3", "p"]
    assert (found["p_corrected"] > found["p"]).drop("loss3").any()


# --- what is paired with what -----------------------------------------------------------------


def test_the_order_of_rows_has_no_effect():
    random = np.random.default_rng(0)
    table = scores({
        (*row, seed): {"psnr_y": random.normal(30, 1, 8), "lpips_vgg": random.random(8)}
        for row in (OURS, BASE) for seed in ("0", "1")
    })  # fmt: skip
    shuffled = table.sample(frac=1, random_state=1)
    keys = ["benchmark", "metric"]
    pd.testing.assert_frame_equal(
        differences(table, TO_BASE).sort_values(keys, ignore_index=True),
        differences(shuffled, TO_BASE).sort_values(keys, ignore_index=True),
    )


def test_a_seed_is_paired_with_itself_and_one_without_a_partner_is_left():
    base = np.arange(6.0)
    found = differences(scores({
        (*OURS, "0"): {"psnr_y": base + 1}, (*OURS, "1"): {"psnr_y": base + 12},
        (*OURS, "2"): {"psnr_y": base + 99},
        (*BASE, "1"): {"psnr_y": base + 10}, (*BASE, "0"): {"psnr_y": base},
    }), TO_BASE).iloc[0]  # fmt: skip
    assert (found["pairs"], found["change"]) == (2, pytest.approx(1.5))
    assert found["change_std"] == pytest.approx(math.sqrt(0.5))
    alone = scores({(*OURS, "0"): {"psnr_y": base}, (*BASE, "1"): {"psnr_y": base}})
    assert differences(alone, TO_BASE).empty


def test_too_few_images_have_no_interval():
    for images, given_one in ((FEWEST - 1, False), (FEWEST, True)):
        found = differences(gained(np.ones(images), psnr_y=30), TO_BASE).iloc[0]
        assert found["change"] == pytest.approx(1.01) and found["common_images"] == images
        assert math.isfinite(found["low"]) == math.isfinite(found["p"]) == given_one
        assert found["significant"] == ("better" if given_one else "")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("theirs", [30, math.inf])
def test_an_image_that_a_network_gives_exactly_is_no_part_of_a_difference(theirs):
    found = by_metric(differences(scores({
        (*OURS, "0"): {"psnr_y": [31.1, 31, 31, 31, 31, math.inf], "lpips_vgg": [0.1] * 6},
        (*BASE, "0"): {"psnr_y": [30.0, 30, 30, 30, 30, theirs], "lpips_vgg": [0.2] * 6},
    }), TO_BASE))  # fmt: skip
    psnr, lpips = found["psnr_y"], found["lpips_vgg"]
    assert psnr["change"] == pytest.approx(1.02) and psnr["on_other_images"] == "better"
    assert (psnr["common_images"], psnr["left_out"]) == (5, "5.png")
    assert (lpips["common_images"], lpips["left_out"]) == (6, "")


@pytest.mark.filterwarnings("error")
def test_where_every_image_is_given_exactly_there_is_no_difference_to_tell():
    table = scores({(*row, "0"): {"psnr_y": [math.inf] * 6} for row in (OURS, BASE)})
    found = differences(table, TO_BASE).iloc[0]
    assert math.isnan(found["change"]) and found["on_other_images"] == ""


# --- baselines --------------------------------------------------------------------------------


def folder(root, backbone, scale, loss, settings):
    cell = root / f"{backbone}_x{scale}_{loss}_seed0"
    cell.mkdir(parents=True)
    content = {"backbone_name": backbone, "scale": scale, "loss_name": loss, "loss": settings}
    (cell / "cell.json").write_text(json.dumps(content))
    return cell


def test_the_baseline_of_a_loss_is_the_unweighted_one_of_its_base(tmp_path):
    kinds = {
        "l1-tlw": {"kind": "tlw", "base": "l1"},
        "strange": {"kind": "tlw", "base": "mse"},
        "l1-udl": {"kind": "udl"},
        "mine": {"kind": "custom", "path": "my:Mine"},
        "louder": {"kind": "pixel", "base": "l1", "factor": 9.0},
        "plain": {"kind": "pixel", "base": "l1", "factor": 1.0},
        "mse": {"kind": "pixel", "base": "mse"},
        "l1": {"kind": "pixel", "base": "l1"},
    }
    cells = [folder(tmp_path, "vdsr", 2, loss, settings) for loss, settings in kinds.items()]
    cells.append(folder(tmp_path, "edsr", 2, "l1-tlw", kinds["l1-tlw"]))
    cells.append(folder(tmp_path, "vdsr", 3, "l1-tlw", kinds["l1-tlw"]))
    assert {row[:2] for row in baselines(cells)} == {(2, "vdsr")}
    found = baselines([*cells, tmp_path / "bicubic_x2", tmp_path / "vdsr_x2_l1_seed0+"])
    assert {row[:2] for row in found} == {(2, "vdsr"), (2, "vdsr+")}
    for row, other in found.items():  # ensembles have the same baselines, as ensembles
        if row[1] == "vdsr+":
            scale, backbone, loss = found[2, "vdsr", row[2]].row
            assert other == Against((scale, f"{backbone}+", loss), loss)
    assert {row[2]: other for row, other in found.items() if row[1] == "vdsr"} == {
        "l1-tlw": Against((2, "vdsr", "plain"), "plain"),
        "strange": Against((2, "vdsr", "mse"), "mse"),
        "l1-udl": Against((2, "vdsr", "plain"), "plain"),
        "louder": Against((2, "vdsr", "plain"), "plain"),
    }


def test_the_baselines_of_the_shipped_losses_are_read_from_their_cells(tmp_path):
    from toys import toy_cells, write_cell

    losses = ("l1-tlw", "mse-tlw", "l1-udl", "l1", "mse")
    cells = [write_cell(cell, tmp_path / cell.name).parent for cell in toy_cells(losses)]
    found = {row[2]: other.name for row, other in baselines(cells).items()}
    assert found == {"l1-tlw": "l1", "mse-tlw": "mse", "l1-udl": "l1"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scale": 2, "loss": "l1"}', "\x80"])
def test_a_damaged_cell_is_refused_by_name(tmp_path, content):
    (tmp_path / "cell.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"cell\.json: no cell of `tlw cell`"):
        baselines([tmp_path])
