"""An audit in words."""

import math

import pytest

from tlw.report.audited import claim_in_words, table_in_words
from tlw.scoring.audit import matches, parse_claim
from tlw.scoring.readings import Reading, usual

PSNR, SSIM = usual("psnr", 4), usual("ssim", 4)
FULL = PSNR._replace(border=0, channel="full-range Y")
VALUES = {
    PSNR: 27.09,
    PSNR._replace(crop=12): 27.11,
    FULL: 27.402,
    FULL._replace(peak="hr's maximum"): 27.402,
    PSNR._replace(sr="as it is", mean="of errors"): 26.5,
    SSIM: 0.7712,
    SSIM._replace(window="uniform"): 0.79,
    usual("lpips", 4): 0.2,
    usual("lpips", 4, "vgg"): 0.3,
    usual("lpips", 4, "vgg")._replace(order="BGR", range="[0, 1]"): 0.2855,
}


def told(claim: str, values: dict[Reading, float] = VALUES) -> str:
    claim = parse_claim(claim)
    return claim_in_words(claim, matches(claim, values, 4), values, 4)


def test_the_usual_reading_is_told_by_its_choices():
    assert told("psnr=27.09") == "27.09 is Y, border 4, sr in 8 bits: the usual protocol"
    assert told("ssim=0.771") == (
        "0.771 is Y, border 4, Gaussian windows, sr in 8 bits: the usual protocol"
    )
    assert told("lpips=0.30") == (
        "0.30 is vgg, RGB channels, values in [-1, 1], border 0, sr in 8 bits: the usual protocol"
    )


def test_one_other_reading_is_told_by_what_it_departs_in_and_by_how_much():
    words = "border 0 and full-range Y (as piq in grey, or pyiqa on Y of YIQ)"
    assert told("psnr=27.40") == f"27.40 only with {words}: 0.31 dB above the usual protocol"
    assert told("psnr=26.50") == (
        "26.50 only with sr not rounded to 8 bits and PSNR of the images' mean error: "
        "0.59 dB below the usual protocol"
    )
    assert told("lpips=0.2855") == (
        "0.2855 only with vgg, BGR channels and [0, 1] given for [-1, 1]: 0.0145 below the usual "
        "protocol"
    )


def test_several_readings_are_listed_those_with_fewest_departures_first():
    lines = told("psnr=27.1").splitlines()
    assert lines[0] == "27.1 is Y, border 4, sr in 8 bits: the usual protocol"
    assert lines[1:] == [
        "  1 other reading that gives it:",
        "  27.1100 with a crop to a multiple of 12",
    ]


def test_a_long_list_is_cut_off_and_counted():
    many = {PSNR._replace(border=n): 27.09 + n / 1e5 for n in range(4, 16)}
    lines = told("psnr=27.09", many).splitlines()
    assert len(lines) == 2 + 8 + 1 and lines[-1] == "  and 3 more: --json lists them"


def test_a_number_that_none_gives_has_the_three_nearest_without_doubles():
    lines = told("psnr=29.00").splitlines()
    assert lines[0] == "29.00 is none of the 5 readings of psnr; the nearest:"
    assert [line.split(" with ")[0].strip() for line in lines[1:]] == [
        *("27.4020", "27.1100", "27.0900")
    ]
    assert lines[3].endswith("with the usual protocol, 1.91 dB below the claim")


def test_the_table_has_each_choice_alone_and_what_it_moves():
    table = table_in_words(VALUES, 4)
    assert table.count("| usual ") == 4  # psnr, ssim, and LPIPS of either net
    assert "psnr: 5 readings, from 26.50 to 27.40 dB" in table
    assert "| a crop to a multiple of 12 | 27.11 | +0.02       |" in table
    assert "| uniform 7 x 7 windows                       | 0.7900 | +0.0188     |" in table
    assert "full-range Y" not in table  # with border 0 it is two choices
    assert "lpips (vgg): 2 readings" in table


@pytest.mark.parametrize("value", [math.inf, 27.0])
def test_equal_images_are_told_without_a_difference(value):
    assert told("psnr=27.00", {PSNR: value}).startswith("27.00 is ")
    table = table_in_words({PSNR: math.inf, PSNR._replace(crop=12): math.inf}, 4)
    assert "| inf  | +0.00 " in table and "nan" not in table
