"""What a number is: every reading of two folders of images, and which of them give a number."""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from tqdm import tqdm

from tlw.imaging.pictures import Picture, read_picture
from tlw.judge.lpips import Judge
from tlw.judge.weights import weights_at_hand
from tlw.runtime.errors import at, shown
from tlw.runtime.precision import full_float32
from tlw.scoring import parts
from tlw.scoring.known_calls import known_call
from tlw.scoring.parts import Error, ImagePair
from tlw.scoring.readings import (
    MEANS,
    MULTIPLES,
    NAMES,
    NETS,
    NETS_AT_HAND,
    PEAKS,
    SMALLEST,
    Area,
    MetricName,
    Reading,
    areas,
    departures,
    leaves_enough,
    usual,
)
from tlw.scoring.score import counterparts

log = logging.getLogger(__name__)

Values = dict[Reading, float]


class Claim(NamedTuple):
    """A number as it was printed: that many decimals are claimed, and no more."""

    metric: MetricName
    value: float
    decimals: int

    @property
    def half_a_step(self) -> float:
        """How far from the number what was rounded to it may lie."""
        return 0.5 * 10.0**-self.decimals

    def __str__(self) -> str:
        return f"{self.value:.{self.decimals}f}"


class Match(NamedTuple):
    """A reading beside a claim."""

    reading: Reading
    value: float
    fits: bool  # it gives the claimed number to the printed precision


def parse_claim(words: str) -> Claim:
    """A claim written as `psnr=27.40`. Raises ValueError for anything else."""
    name, equals, number = (part.strip() for part in words.partition("="))
    if name.lower() not in NAMES or not equals or not re.fullmatch(r"\d+(\.\d+)?", number):
        raise ValueError(
            f"--claim: expected {', '.join(NAMES[:-1])} or {NAMES[-1]}, = and the number as it is "
            f"printed, as psnr=27.40, found {shown(words)}"
        )
    return Claim(cast(MetricName, name.lower()), float(number), len(number.partition(".")[2]))


def audit_folders(
    sr_folder: Path,
    hr_folder: Path,
    *,
    scale: int,
    metrics: Sequence[MetricName] = ("psnr", "ssim"),
    suffix: str = "",
    hr_suffix: str = "",
    device: torch.device | str = "cpu",
    judge_folder: Path | None = None,
) -> Values:
    """Every reading of the images of a folder against the hr images of the same names.

    sr has the size of hr, or of hr cropped to a multiple of the scale, 12 or 28. 16 bits are read.

    Args:
        metrics: LPIPS takes far longer than the others.
        suffix, hr_suffix: what names of sr, and of hr, have more than the image's, before the dot.
        judge_folder: of LPIPS' weights, see `tlw.judge.weights.judge_weights`.

    Raises:
        ValueError: for images without a counterpart, of sizes that do not fit, too small, or that
            cannot be read, each by name.
    """
    pairs = counterparts(sr_folder, hr_folder, suffix, hr_suffix)
    sizes: list[tuple[int, int]] = []
    grey, deep = False, False
    for files in tqdm(pairs, "sizes", disable=None):
        pair = _read(files.sr, files.hr, scale, tell=True)
        height, width = pair.hr.shape[1:]
        sizes.append((height, width))
        grey, deep = grey or pair.grey, deep or pair.deep
    places = {metric: _places(sizes, scale, metric, hr_folder) for metric in metrics}
    judges: dict[str, Judge] = {}
    if "lpips" in metrics:
        more = (net for net in NETS_AT_HAND if weights_at_hand(net, judge_folder))
        judges = {net: Judge(net, weights=judge_folder).to(device) for net in (*NETS, *more)}
    found: dict[Reading, list] = defaultdict(list)
    for files in tqdm(pairs, f"{hr_folder.name} x{scale}", disable=None):
        pair = _read(files.sr, files.hr, scale)
        values: dict = {}
        if "psnr" in metrics:
            values |= parts.errors(pair, places["psnr"], deep=deep, grey=grey)
        if "ssim" in metrics:
            values |= parts.similarities(pair, places["ssim"], deep=deep, grey=grey)
        if "lpips" in metrics:
            with full_float32(deterministic=True):
                values |= parts.distances(pair, places["lpips"], judges, deep=deep, device=device)
        for reading, value in values.items():
            found[reading].append(value)
    return _of_set(found)


def matches(claim: Claim, values: Values, scale: int) -> list[Match]:
    """All readings of a claim's metric, nearest first.

    What the printed number cannot tell apart is equally near: among the readings that give it,
    those come first that depart least from the usual one. A known tool's call counts as one
    departure, whatever it changes.
    """
    found = []
    for reading, value in values.items():
        if reading.metric == claim.metric:
            distance = abs(value - claim.value)
            fits = distance <= claim.half_a_step * (1 + 1e-9)
            away = len(departures(reading, scale))
            if away > 1 and known_call(reading, scale):
                away = 1
            order = (0.0 if fits else distance, away, distance)
            found.append((order, Match(reading, value, fits)))
    return [match for _, match in sorted(found, key=lambda entry: entry[0])]


def _places(
    sizes: Sequence[tuple[int, int]], scale: int, metric: MetricName, folder: Path
) -> list[Area]:
    every = areas(sizes, scale, metric)
    found = [area for area in every if leaves_enough(area, sizes, metric)]
    ordinary = usual(metric, scale)
    if Area(ordinary.crop, ordinary.border) not in found:
        raise ValueError(
            f"{folder}: expected images of which {SMALLEST[metric]} x {SMALLEST[metric]} pixels or "
            f"more are left for {metric}, cropped to a multiple of {scale} and without a border of "
            f"{ordinary.border} pixels; found one with a side of {min(map(min, sizes))}"
        )
    for area in every:
        if area not in found:
            log.info(
                "%s: the smallest image is too small for %s with a crop to a multiple of %d and a "
                "border of %d: that is left out",
                *(folder, metric, *area),
            )
    return found


def _of_set(found: dict[Reading, list]) -> Values:
    """The set's value of each reading, from those of its images."""
    values: Values = {}
    for reading, of_images in found.items():
        if reading.metric != "psnr":
            values[reading] = math.fsum(of_images) / len(of_images)
            continue
        for peak in PEAKS:
            for mean, value in zip(MEANS, _psnrs(of_images, peak), strict=True):
                values[reading._replace(peak=peak, mean=mean)] = value
    return values


def _psnrs(errors: Sequence[Error], peak: str) -> tuple[float, float, float]:
    """PSNR in dB of a set of images, pooled in the three ways of MEANS."""
    means = [error.squares / error.samples for error in errors]
    peaks = [error.peaks[peak] for error in errors]
    each = [_decibels(level, mean) for level, mean in zip(peaks, means, strict=True)]
    of_pixels = sum(error.squares for error in errors) / sum(error.samples for error in errors)
    return (
        sum(each) / len(each),
        _decibels(max(peaks), sum(means) / len(means)),
        _decibels(max(peaks), of_pixels),
    )


def _decibels(peak: float, mean_square: float) -> float:
    if mean_square == 0:
        return math.inf
    return 10 * math.log10(peak**2 / mean_square) if peak > 0 else -math.inf


def _read(sr_path: Path, hr_path: Path, scale: int, *, tell: bool = False) -> ImagePair:
    """sr and hr, cropped to sr's size; `tell` warns of alpha, which is left out."""
    sr, hr = read_picture(sr_path), read_picture(hr_path)
    for path, picture in ((sr_path, sr), (hr_path, hr)):
        if tell and picture.has_alpha:
            log.warning("%s: its alpha is dropped, and the colours under it are taken", path)
    expected: dict[tuple[int, int], int] = {}
    for crop in (1, scale, *MULTIPLES):
        expected.setdefault(Area(crop, 0).size(*hr.samples.shape[:2]), crop)
    size = sr.samples.shape[:2]
    if size not in expected or 0 in size:
        would = ", ".join(f"{h} x {w}" for h, w in expected if h and w)
        with at(f"{sr_path} and {hr_path}"):
            raise ValueError(
                f"expected sr of hr's size, or of hr cropped to a multiple of {scale}, 12 or 28 "
                f"({would}), found {size[0]} x {size[1]}"
            )
    samples = hr.samples[: size[0], : size[1]]
    return ImagePair(
        _unit(sr), _unit(Picture(samples)), _is_grey(sr) and _is_grey(hr), sr.samples.itemsize > 1
    )


def _is_grey(picture: Picture) -> bool:
    return picture.samples.shape[2] < 3


def _unit(picture: Picture) -> torch.Tensor:
    """A picture as float64 (3, H, W) in [0, 1], without its alpha."""
    samples = torch.from_numpy(picture.samples.astype("float64") / _largest(picture))
    colours = samples[..., :1].expand(-1, -1, 3) if _is_grey(picture) else samples[..., :3]
    return colours.permute(2, 0, 1).contiguous()


def _largest(picture: Picture) -> int:
    return 2 ** (8 * picture.samples.itemsize) - 1


def claimed_metrics(claims: Iterable[Claim]) -> tuple[MetricName, ...]:
    """The metrics that claims are about, in the order of NAMES."""
    claimed = {claim.metric for claim in claims}
    return tuple(name for name in NAMES if name in claimed)
