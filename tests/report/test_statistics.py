"""Intervals of differences: against scipy, enumeration, plain loops, and how often they hold."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tlw.report.statistics import FEWEST, RESAMPLES, Against, differences, interval, twins

MODERATE = st.floats(-50, 50, allow_subnormal=False).map(lambda x: round(x, 3))
SAMPLES = arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(5, 12), st.just(2)),
                 elements=MODERATE)  # fmt: skip


def quick(sample: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    return interval(sample, confidence, resamples=500)


def monte_carlo_error(spread: float, confidence: float = 0.95) -> float:
    """Four standard errors of the difference of two quantiles, each of 10,000 normal draws."""
    tail = (1 - confidence) / 2
    density = stats.norm.pdf(stats.norm.ppf(tail)) / spread
    return 4 * math.sqrt(2 * tail * (1 - tail) / RESAMPLES) / density


# --- properties -------------------------------------------------------------------------------


@given(SAMPLES)
def test_an_interval_lies_within_the_differences(sample):
    low, high = quick(sample)
    assert (low <= high).all()
    assert (low >= sample.min(axis=(0, 1)) - 1e-9).all()
    assert (high <= sample.max(axis=(0, 1)) + 1e-9).all()


@given(SAMPLES, MODERATE, st.floats(0.01, 100))
def test_it_moves_and_scales_with_the_differences(sample, shift, scale):
    expected = scale * quick(sample) + shift
    assert quick(scale * sample + shift) == pytest.approx(expected, abs=1e-7 * (1 + scale))


@given(SAMPLES)
def test_exchanging_the_two_networks_turns_it_over(sample):
    assert quick(-sample) == pytest.approx(-quick(sample)[::-1], abs=1e-9)


@given(SAMPLES, st.floats(0.5, 0.98))
def test_more_confidence_is_a_longer_interval(sample, confidence):
    (low, high), (lower, higher) = quick(sample, confidence), quick(sample, confidence + 0.01)
    assert (lower <= low + 1e-12).all() and (high <= higher + 1e-12).all()


@given(SAMPLES)
def test_it_is_the_same_at_every_call_and_for_every_number_by_itself(sample):
    both = quick(sample)
    assert np.array_equal(both, quick(sample))
    assert both[:, :1] == pytest.approx(quick(sample[..., :1]), abs=1e-12)


@given(st.integers(1, 4), st.integers(1, 9), MODERATE)
def test_equal_differences_leave_nothing_open(seeds, images, value):
    assert quick(np.full((seeds, images, 1), value)) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_differences_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="needs finite differences"):
        interval(np.array([[[1.0], [value]]]))


# --- independent ways to the same interval ----------------------------------------------------


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("images", [5, 14, 100])
def test_it_is_scipys_percentile_interval_of_paired_samples(images, confidence):
    random = np.random.default_rng(images)
    theirs = random.normal(30, 4, images)
    ours = theirs + random.gamma(2, 0.1, images)
    found = interval((ours - theirs)[None, :, None], confidence)[:, 0]
    expected = stats.bootstrap(
        (ours, theirs),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        random_state=np.random.default_rng(1),
    )
    error = monte_carlo_error(np.std(ours - theirs) / math.sqrt(images), confidence)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=error)


def test_it_is_what_all_resamples_of_four_images_give():
    sample = [0.1, -0.3, 0.7, 1.6]
    means = [sum(drawn) / 4 for drawn in itertools.product(sample, repeat=4)]
    expected = np.quantile(means, [0.05, 0.95], method="inverted_cdf")
    found = interval(np.array(sample)[None, :, None], 0.9)[:, 0]
    # One atom of the 256 beside the right one at most: there the distribution steps.
    atoms = sorted(set(np.round(means, 12)))
    for end, right in zip(found, expected, strict=True):
        place = atoms.index(round(right, 12))
        assert atoms[max(place - 1, 0)] - 1e-12 <= end <= atoms[place + 1] + 1e-12


def test_seeds_and_images_are_drawn_independently_of_each_other():
    random = np.random.default_rng(2)
    sample = random.normal(0, 1, (5, 1)) + random.normal(0, 1, 5) + random.normal(0, 0.5, (5, 5))
    means = [
        sample[np.ix_(random.integers(0, 5, 5), random.integers(0, 5, 5))].mean()
        for _ in range(RESAMPLES)
    ]
    found = interval(sample[..., None])[:, 0]
    expected = np.quantile(means, [0.025, 0.975])
    assert found == pytest.approx(expected, abs=monte_carlo_error(float(np.std(means))))


# --- how often it holds -----------------------------------------------------------------------


def coverage(sample: np.ndarray) -> float:
    """In which share of the numbers, whose true mean is 0, the interval holds it."""
    low, high = interval(sample, resamples=1000)
    return float(((low <= 0) & (high >= 0)).mean())


@pytest.mark.parametrize(("images", "promised"), [(100, 0.95), (14, 0.92), (5, 0.84)])
def test_it_holds_the_truth_as_often_as_the_documentation_says(images, promised):
    trials = 1500
    sample = np.random.default_rng(images).normal(0, 1, (1, images, trials))
    # Theory for the mean of normal numbers: z sigma / sqrt(n) with n, not n - 1, under the root.
    z = stats.norm.ppf(0.975) * math.sqrt((images - 1) / images)
    expected = 1 - 2 * stats.t.sf(z, images - 1)
    assert promised == pytest.approx(expected, abs=0.01)
    error = 4 * math.sqrt(expected * (1 - expected) / trials)
    assert coverage(sample) == pytest.approx(expected, abs=error)


def test_seeds_that_differ_are_respected_and_would_be_missed_by_images_alone():
    trials, random = 300, np.random.default_rng(4)
    of_images = random.normal(0, 0.5, (1, 60, trials))
    sample = of_images + random.normal(0, 0.3, (20, 1, trials))
    sample += random.normal(0, 0.5, (20, 60, trials))
    error = 4 * math.sqrt(0.95 * 0.05 / trials)
    assert coverage(sample) == pytest.approx(0.95, abs=error)
    assert coverage(sample[:5]) > coverage(sample[:5].mean(axis=0, keepdims=True)) + error


# --- of scores --------------------------------------------------------------------------------

OURS, TWIN = (2, "vdsr", "l1-tlw"), (2, "vdsr", "l1")
TO_TWIN = {OURS: Against(TWIN, "l1")}


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


def test_more_psnr_is_better_and_more_lpips_is_worse():
    gain = np.array([0.1, 0.2, 0.3, 0.2, 0.1])
    found = by_metric(differences(scores({
        (*OURS, "0"): {"psnr_y": 30 + gain, "lpips_vgg": 0.2 + gain, "ssim_y": [0.9] * 5},
        (*TWIN, "0"): {"psnr_y": [30.0] * 5, "lpips_vgg": [0.2] * 5, "ssim_y": [0.9] * 5},
    }), TO_TWIN))  # fmt: skip
    assert {name: row["real"] for name, row in found.items()} == {
        **{"psnr_y": "better", "ssim_y": "no", "lpips_vgg": "worse"}
    }
    psnr = found["psnr_y"]
    assert psnr["change"] == pytest.approx(0.18)
    assert [psnr["low"], psnr["high"]] == pytest.approx(list(quick_of(gain)), abs=1e-12)
    assert (psnr["against"], psnr["images"], psnr["pairs"]) == ("l1", 5, 1)
    assert math.isnan(psnr["change_std"])


def quick_of(values: np.ndarray) -> np.ndarray:
    return interval(values[None, :, None])[:, 0]


def test_the_order_of_rows_has_no_effect():
    random = np.random.default_rng(0)
    table = scores({
        (*row, seed): {"psnr_y": random.normal(30, 1, 8), "lpips_vgg": random.random(8)}
        for row in (OURS, TWIN) for seed in ("0", "1")
    })  # fmt: skip
    shuffled = table.sample(frac=1, random_state=1)
    keys = ["benchmark", "metric"]
    pd.testing.assert_frame_equal(
        differences(table, TO_TWIN).sort_values(keys, ignore_index=True),
        differences(shuffled, TO_TWIN).sort_values(keys, ignore_index=True),
    )


def test_a_seed_is_paired_with_itself_and_one_without_a_partner_is_left():
    base = np.arange(6.0)
    found = differences(scores({
        (*OURS, "0"): {"psnr_y": base + 1}, (*OURS, "1"): {"psnr_y": base + 12},
        (*OURS, "2"): {"psnr_y": base + 99},
        (*TWIN, "1"): {"psnr_y": base + 10}, (*TWIN, "0"): {"psnr_y": base},
    }), TO_TWIN).iloc[0]  # fmt: skip
    assert (found["pairs"], found["change"]) == (2, pytest.approx(1.5))
    assert found["change_std"] == pytest.approx(math.sqrt(0.5))
    assert (found["low"], found["high"]) == pytest.approx((1, 2))  # both seeds may be either
    alone = scores({(*OURS, "0"): {"psnr_y": base}, (*TWIN, "1"): {"psnr_y": base}})
    assert differences(alone, TO_TWIN).empty


def test_one_cell_stands_against_every_seed():
    base = np.arange(6.0)
    table = scores({
        (*OURS, "0"): {"psnr_y": base + 1}, (*OURS, "1"): {"psnr_y": base + 2},
        (2, "bicubic", "", ""): {"psnr_y": base},
    })  # fmt: skip
    against = {OURS: Against((2, "bicubic", ""), "bicubic_x2", seed="")}
    found = differences(table, against).iloc[0]
    assert (found["against"], found["pairs"], found["change"]) == ("bicubic_x2", 2, 1.5)


def test_too_few_images_have_no_interval():
    for images, given_one in ((FEWEST - 1, False), (FEWEST, True)):
        found = differences(scores({
            (*OURS, "0"): {"psnr_y": [31.0] * images}, (*TWIN, "0"): {"psnr_y": [30.0] * images}
        }), TO_TWIN).iloc[0]  # fmt: skip
        assert found["change"] == 1 and found["images"] == images
        assert math.isfinite(found["low"]) == given_one
        assert found["real"] == ("better" if given_one else "")


@pytest.mark.filterwarnings("error")
def test_an_image_that_both_give_exactly_makes_no_difference():
    inf = math.inf
    found = differences(scores({
        (*OURS, "0"): {"psnr_y": [31.0, 31, 31, 31, inf]},
        (*TWIN, "0"): {"psnr_y": [30.0, 30, 30, 30, inf]},
    }), TO_TWIN).iloc[0]  # fmt: skip
    assert found["change"] == pytest.approx(0.8) and math.isfinite(found["low"])


@pytest.mark.filterwarnings("error")
def test_an_image_that_one_gives_exactly_is_told_and_leaves_no_interval(caplog):
    inf = math.inf
    found = by_metric(differences(scores({
        (*OURS, "0"): {"psnr_y": [31.0, 31, 31, 31, inf], "lpips_vgg": [0.1] * 5},
        (*TWIN, "0"): {"psnr_y": [30.0, 30, 30, 30, 30], "lpips_vgg": [0.2] * 5},
    }), TO_TWIN))  # fmt: skip
    assert found["psnr_y"]["change"] == inf and found["psnr_y"]["real"] == ""
    assert math.isnan(found["psnr_y"]["low"]) and found["lpips_vgg"]["real"] == "better"
    [told] = caplog.messages
    assert told.startswith("vdsr x2 l1-tlw against l1, Set: one of the two gives 4.png exactly")


# --- twins ------------------------------------------------------------------------------------


def folder(root, backbone, scale, loss, settings):
    cell = root / f"{backbone}_x{scale}_{loss}_seed0"
    cell.mkdir(parents=True)
    content = {"backbone_name": backbone, "scale": scale, "loss_name": loss, "loss": settings}
    (cell / "cell.json").write_text(json.dumps(content))
    return cell


def test_the_twin_of_a_loss_is_the_unweighted_one_of_its_base(tmp_path):
    kinds = {
        "l1-tlw": {"kind": "tlw", "base": "l1"},
        "strange": {"kind": "tlw", "base": "mse"},
        "l1-udl": {"kind": "udl"},
        "mine": {"kind": "custom", "path": "my:Mine"},
        "plain": {"kind": "pixel", "base": "l1"},
        "mse": {"kind": "pixel", "base": "mse"},
        "l1": {"kind": "pixel", "base": "l1"},
    }
    cells = [folder(tmp_path, "vdsr", 2, loss, settings) for loss, settings in kinds.items()]
    cells.append(folder(tmp_path, "edsr", 2, "l1-tlw", kinds["l1-tlw"]))
    cells.append(folder(tmp_path, "vdsr", 3, "l1-tlw", kinds["l1-tlw"]))
    found = twins([*cells, tmp_path / "bicubic_x2"])
    assert {row[2]: other for row, other in found.items()} == {
        "l1-tlw": Against((2, "vdsr", "plain"), "plain"),
        "strange": Against((2, "vdsr", "mse"), "mse"),
        "l1-udl": Against((2, "vdsr", "plain"), "plain"),
    }
    assert {row[:2] for row in found} == {(2, "vdsr")}


def test_the_twins_of_the_shipped_losses_are_read_from_their_cells(tmp_path):
    from toys import toy_cells, write_cell

    losses = ("l1-tlw", "mse-tlw", "l1-udl", "l1", "mse")
    cells = [write_cell(cell, tmp_path / cell.name).parent for cell in toy_cells(losses)]
    found = {row[2]: other.name for row, other in twins(cells).items()}
    assert found == {"l1-tlw": "l1", "mse-tlw": "mse", "l1-udl": "l1"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scale": 2, "loss": "l1"}', "\x80"])
def test_a_damaged_cell_is_refused_by_name(tmp_path, content):
    (tmp_path / "cell.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=r"cell\.json: no cell of `tlw cell`"):
        twins([tmp_path])
