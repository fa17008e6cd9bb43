"""Intervals and p-values: against scipy, by their properties, and how often they hold."""

import math
import sys
from pathlib import Path

import coverage
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tlw.report.intervals import interval, p_value

DOCUMENT = Path(__file__).parents[2] / "docs" / "statistics.md"
MODERATE = st.floats(-50, 50, allow_subnormal=False).map(lambda x: round(x, 3))
SAMPLES = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 12), st.just(2)),
                 elements=MODERATE)  # fmt: skip
confidences = st.floats(0.5, 0.99)


# --- properties -------------------------------------------------------------------------------


@given(SAMPLES, MODERATE, st.floats(0.01, 100))
def test_an_interval_moves_and_scales_with_the_differences(sample, shift, scale):
    for end, moved in zip(interval(sample), interval(scale * sample + shift), strict=True):
        assert moved == pytest.approx(scale * end + shift, abs=1e-6 * (1 + scale))


@given(SAMPLES)
def test_exchanging_the_two_networks_turns_it_over_and_keeps_p(sample):
    low, high = interval(sample)
    assert interval(-sample) == (pytest.approx(-high), pytest.approx(-low))
    assert p_value(-sample) == pytest.approx(p_value(sample))


@given(SAMPLES, confidences)
def test_seeds_and_images_count_alike(sample, confidence):
    turned = interval(sample.swapaxes(0, 1), confidence)
    assert turned == tuple(pytest.approx(end) for end in interval(sample, confidence))


@given(SAMPLES, confidences)
def test_more_confidence_is_a_longer_interval(sample, confidence):
    (low, high), (lower, higher) = interval(sample, confidence), interval(sample, confidence + 0.01)
    assert (lower <= low).all() and (high <= higher).all()


@given(SAMPLES, confidences)
def test_p_is_below_a_where_the_interval_leaves_0_out(sample, confidence):
    low, high = interval(sample, confidence)
    clear = np.minimum(np.abs(low), np.abs(high)) > 1e-6
    outside = (low > 0) | (high < 0)
    assert ((p_value(sample) < 1 - confidence) == outside)[clear].all()


@given(SAMPLES)
def test_an_interval_of_confidence_1_minus_p_touches_0(sample):
    for k, p in enumerate(p_value(sample)):
        assert 0 <= p <= 1
        if 1e-6 < p < 1 - 1e-6:
            low, high = interval(sample[..., [k]], 1 - p)
            assert min(abs(low[0]), abs(high[0])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("value", "p"), [(0.25, 0), (-3, 0), (0, 1)])
@pytest.mark.parametrize("shape", [(1, 6), (3, 6), (3, 1)])
def test_equal_differences_leave_nothing_open(shape, value, p):
    sample = np.full((*shape, 1), value)
    assert interval(sample) == ([value], [value]) and p_value(sample) == [p]


def test_one_seed_and_one_image_tell_nothing():
    sample = np.ones((1, 1, 1))
    assert all(map(math.isnan, [*interval(sample)[0], *interval(sample)[1], *p_value(sample)]))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_differences_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="needs finite differences"):
        interval(np.array([[[1.0], [value]]]))


# --- independent ways to the same numbers -----------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [2, 5, 14])
def test_with_one_axis_it_is_scipys_t_test(count, axis):
    sample = np.random.default_rng(count).gamma(2, 0.1, count)
    found = stats.ttest_1samp(sample, 0)
    cube = np.expand_dims(sample, (axis, 2))
    assert p_value(cube) == pytest.approx(found.pvalue, rel=1e-9)
    expected = found.confidence_interval(0.9)
    assert [*interval(cube, 0.9)[0], *interval(cube, 0.9)[1]] == pytest.approx(list(expected))


def test_with_two_axes_the_half_widths_are_added_in_quadrature():
    sample = np.random.default_rng(0).normal(0.3, 1, (3, 7))
    half = [
        stats.ttest_1samp(sample.mean(axis=other), 0).confidence_interval(0.95)
        for other in (1, 0)
    ]  # fmt: skip
    expected = math.hypot(*((high - low) / 2 for low, high in half))
    low, high = interval(sample[..., None])
    assert (high - low) / 2 == pytest.approx(expected)
    assert (high + low) / 2 == pytest.approx(sample.mean())


def test_a_difference_beyond_any_doubt_has_a_p_of_almost_nothing():
    sample = 1e6 + np.random.default_rng(0).normal(0, 1e-3, (5, 100, 1))
    assert 0 <= p_value(sample)[0] < 1e-30


# --- how often it holds -----------------------------------------------------------------------


def documented(title: str) -> dict[tuple[int, int, str], float]:
    """A table of docs/statistics.md: percent by seeds, images and the column's head."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(title)[2]
    table = next(part for part in text.split("\n\n") if part.startswith("| seeds |"))
    head, _, *rows = (line.strip("|").split("|") for line in table.splitlines())
    heads = [name.strip() for name in head[2:]]
    return {
        (int(seeds), int(images), name): float(share)
        for seeds, images, *shares in rows
        for name, share in zip(heads, shares, strict=True)
    }


CASES = [
    *[(1, 5, "normal 1"), (1, 14, "skewed 0"), (2, 14, "normal 0.1"), (3, 14, "outlier 1")],
    *[(3, 100, "skewed 10"), (5, 100, "normal 10"), (5, 100, "outlier 10")],
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_holds_the_truth_as_often_as_the_documentation_says(case):
    seeds, images, (shape, ratio) = *case[:2], case[2].split()
    found = coverage.coverage(seeds, images, float(ratio), shape)
    assert f"{100 * found:.1f}" == str(documented("hold the truth")[case])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_losses_that_do_not_differ_are_marked_as_often_as_the_documentation_says(case):
    seeds, images, (shape, ratio) = *case[:2], case[2].split()
    found = coverage.marked(seeds, images, float(ratio), shape)
    assert f"{100 * found:.1f}" == str(documented("do not differ")[case])


def test_a_loss_against_itself_is_marked_as_often_as_the_documentation_says():
    text = DOCUMENT.read_text(encoding="utf-8").split("though it is one loss")[1]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| Set")]
    shares = {name.strip(): [float(share) for share in row] for name, _, *row in rows}
    for name, psnr in coverage.read_scores(coverage.SCORES).items():
        found = [100 * coverage.marked_against_itself(psnr, seeds) for seeds in coverage.SEEDS]
        assert shares[name] == pytest.approx(found, abs=0.06)


def test_the_script_prints_the_tables_of_the_documentation(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["coverage.py", "--trials", "20"])
    coverage.main()
    printed = capsys.readouterr().out
    heads = [line for line in printed.splitlines() if line.startswith(("| seeds", "| benchmark"))]
    page = DOCUMENT.read_text(encoding="utf-8")
    assert len(heads) == 4 and all(f"\n{head}\n" in page for head in heads)
    measured = printed.partition("though it is one loss")[2].partition("\n\n")[2].strip()
    assert measured in page  # no draw of it hangs on the number of trials
