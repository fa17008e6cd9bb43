"""The paper's claims: its own numbers of them, and what made-up trainings decide."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tlw.report.claims import CLAIMS, compared, verdict
from tlw.report.tables import PUBLISHED

C1, C2, C3 = CLAIMS
SPREAD = 0.002  # of an image's difference


def scores_with(gains: dict[str, float], seeds: int = 5, noise: float = SPREAD) -> pd.DataFrame:
    """Made-up scores of two networks; a loss's PSNR is higher, and LPIPS lower, by its gain."""
    rng = np.random.default_rng(1)
    rows = [
        {
            **{"scale": 4, "backbone": backbone, "loss": loss, "seed": str(seed)},
            **{"benchmark": benchmark, "image": f"{image}.png"},
            "psnr_y": 30 + image + gain + rng.normal(0, noise),
            "lpips_vgg": 0.2 + image / 100 - gain + rng.normal(0, noise),
        }
        for backbone in ("edsr", "vdsr")
        for loss, gain in gains.items()
        for seed in range(seeds)
        for benchmark in ("Set5", "Set14")
        for image in range(6)
    ]
    return pd.DataFrame(rows)


def test_the_paper_s_own_counts_are_those_of_the_page():
    table = pd.read_csv(PUBLISHED, keep_default_na=False)
    wide = table.pivot(
        index=["table", "scale", "backbone", "dataset"], columns="loss", values=["psnr_y", "lpips"]
    )

    def gains(claim, metric):
        parts = [wide[metric][loss] - wide[metric][other] for loss, other in claim.pairs]
        return pd.concat(parts).dropna() * (1 if metric == "psnr_y" else -1)

    lpips, psnr = gains(C1, "lpips"), gains(C2, "psnr_y")
    assert f"{(lpips > 0).sum()} of {len(lpips)} pairs" == C1.published == "79 of 95 pairs"
    assert f"{(psnr > 0).sum()} of {len(psnr)} pairs" == C2.published == "72 of 95 pairs"
    assert round(lpips.median(), 4) == 0.0014 and round(psnr.median(), 3) == 0.046
    assert round(psnr.abs().median(), 3) == 0.066
    for metric in ("lpips", "psnr_y"):
        assert (gains(C3, metric) > 0).tolist() == [True] * 5
    assert C3.published == "5 of 5 pairs, in both"


@pytest.mark.parametrize(
    ("gain", "expected"), [(0.05, "reproduced"), (-0.05, "not reproduced"), (0.0, "not reproduced")]
)
def test_clear_gains_reproduce_a_claim_and_losses_or_none_do_not(gain, expected):
    scores = scores_with({"l1": 0, "mse": 0, "l1-tlw": gain, "mse-tlw": gain}, noise=1e-4)
    for claim in (C1, C2):
        table = compared(scores, claim.pairs, claim.metrics)
        assert len(table) == 2 * 2 * 2 and verdict(table) == expected
        assert set(table["outcome"]) == {"better" if gain > 0 else "worse" if gain else "no gain"}


def test_noise_two_seeds_and_no_cells_leave_a_claim_undecided():
    gains = {"l1": 0, "mse": 0, "l1-tlw": 0.05, "mse-tlw": 0.05}
    for scores in (scores_with(gains, noise=1), scores_with(gains, seeds=2)):
        assert verdict(compared(scores, C2.pairs, C2.metrics)) == "undecided"
    empty = compared(scores_with({"l1": 0}), C3.pairs, C3.metrics)
    assert empty.empty and verdict(empty) == "undecided"


def test_one_pair_that_is_worse_keeps_a_claim_from_being_reproduced():
    scores = scores_with({"l1": 0, "mse": 0, "l1-tlw": 0.05, "mse-tlw": 0.05}, noise=1e-3)
    turned = (scores["loss"] == "mse-tlw") & (scores["backbone"] == "vdsr")
    scores.loc[turned & (scores["benchmark"] == "Set5"), "psnr_y"] -= 0.1
    table = compared(scores, C2.pairs, C2.metrics)
    assert sorted(table["outcome"]) == ["better"] * 7 + ["worse"]
    assert verdict(table) == "undecided"


def test_p_values_are_corrected_over_the_pairs_of_a_claim_alone():
    scores = scores_with({"l1": 0, "mse": 0, "l1-tlw": 0.001, "mse-tlw": 0.001})
    table = compared(scores, C2.pairs, C2.metrics)
    expected = stats.false_discovery_control(table["p"].astype(float))
    np.testing.assert_allclose(table["p_corrected"].astype(float), expected)
