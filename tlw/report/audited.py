"""An audit in words: readings and claims, and which bicubic made an lr folder."""

import math
from collections.abc import Sequence

from tlw.report.plain_table import markdown_table
from tlw.scoring.audit import Claim, Match, Values
from tlw.scoring.known_calls import known_call
from tlw.scoring.lr_origin import ORIGINS, Origins, makers
from tlw.scoring.readings import MetricName, Reading, departures, usual

_SHOWN = 8  # of the readings that give a claim
_NEAREST = 3  # where none does
_DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4}
_UNITS = {"psnr": " dB", "ssim": "", "lpips": ""}
_CHANNELS = {
    "Y in 8 bits": "Y rounded to 8 bits",
    "full-range Y in 8 bits": "full-range Y rounded to 8 bits",
}
_WINDOWS = {
    "gaussian": "Gaussian windows",
    "cut": "negative contrast cut off",
    "mirrored": "windows over mirrored edges",
    "uniform": "uniform 7 x 7 windows",
}
_MEANS = {
    "of PSNRs": "mean of the images' PSNRs",
    "of errors": "PSNR of the images' mean error",
    "of pixels": "PSNR of the error of all pixels",
}


def in_words(axis: str, choice: int | str) -> str:
    """A choice on an axis of `Reading`, as a sentence has it."""
    match axis:
        case "sr":
            return "sr in 8 bits" if choice == "8 bits" else "sr not rounded to 8 bits"
        case "crop":
            return "nothing cropped" if choice == 1 else f"a crop to a multiple of {choice}"
        case "border":
            return f"border {choice}"
        case "grey":
            return "the levels of grey files as Y" if choice == "as stored" else "grey as RGB"
        case "channel":
            return _CHANNELS.get(str(choice), str(choice))
        case "peak":
            return f"{choice} as the peak"
        case "mean":
            return _MEANS[str(choice)]
        case "window":
            return _WINDOWS[str(choice)]
        case "pooled":
            return "images averaged down to 256 pixels" if choice == "yes" else "no averaging"
        case "order":
            return f"{choice} channels"
        case "range":
            return f"{choice} given for [-1, 1]" if choice == "[0, 1]" else f"values in {choice}"
    return str(choice)


def usual_in_words(metric: MetricName, scale: int, net: str = "alex") -> str:
    """The usual reading of a metric, as in "Y, border 4, sr in 8 bits"."""
    reading = usual(metric, scale, net)._asdict()
    axes = {
        "psnr": ("channel", "border", "sr"),
        "ssim": ("channel", "border", "window", "sr"),
        "lpips": ("net", "order", "range", "border", "sr"),
    }
    return ", ".join(in_words(axis, reading[axis]) for axis in axes[metric])


def claim_in_words(claim: Claim, found: Sequence[Match], values: Values, scale: int) -> str:
    """What a claimed number is, in a line, and a line for each other reading that gives it."""
    fitting = _told_apart([match for match in found if match.fits])
    if not fitting:
        nearest = _told_apart(found[: 4 * _NEAREST])[:_NEAREST]
        lines = [
            f"  {_number(match)} with {_with(match.reading, scale)}, "
            f"{_apart(match.value - claim.value, claim.metric)} the claim"
            for match in nearest
        ]
        head = f"{claim} is none of the {len(found)} readings of {claim.metric}; the nearest:"
        return "\n".join([head, *lines])
    first, *others = fitting
    lines = [_headline(claim, first, values, scale, alone=not others)]
    if others:
        give = "readings that give" if len(others) > 1 else "reading that gives"
        lines.append(f"  {len(others)} other {give} it:")
    lines += [f"  {_number(m)} with {_with(m.reading, scale)}" for m in others[:_SHOWN]]
    if len(others) > _SHOWN:
        lines.append(f"  and {len(others) - _SHOWN} more: --json lists them")
    return "\n".join(lines)


def of_metric(values: Values, metric: MetricName, net: str) -> Values:
    """The readings of one metric, and of LPIPS of one net."""
    return {r: value for r, value in values.items() if (r.metric, r.net) == (metric, net)}


def choices(values: Values, scale: int) -> dict[str, float]:
    """What each choice alone gives, all others being as usual, by its words."""
    found = {}
    for reading, value in values.items():
        away = departures(reading, scale)
        if len(away) == 1:
            found[in_words(*next(iter(away.items())))] = value
    return found


def table_in_words(values: Values, scale: int) -> str:
    """What each choice moves, when all others are as usual: a Markdown table for each metric."""
    blocks = []
    for metric, net in dict.fromkeys((r.metric, r.net) for r in values):
        mine = of_metric(values, metric, net)
        as_usual = values[usual(metric, scale, net or "alex")]
        rows: list[tuple[str, float, float | None]]
        rows = [(usual_in_words(metric, scale, net), as_usual, None)]
        for words, value in choices(mine, scale).items():
            moved = 0.0 if value == as_usual else value - as_usual  # equal images: both inf
            rows.append((words, value, moved))
        digits = _DIGITS[metric]
        head = (
            f"{metric}{f' ({net})' if net else ''}: {len(mine)} readings, from "
            f"{min(mine.values()):.{digits}f} to {max(mine.values()):.{digits}f}{_UNITS[metric]}"
        )
        cells = [
            [words, f"{value:.{digits}f}", "usual" if moved is None else _signed(moved, digits)]
            for words, value, moved in rows
        ]
        blocks.append(head + "\n\n" + markdown_table(["reading", metric, "moves it by"], cells))
    return "\n\n".join(blocks)


def origin_in_words(found: Origins) -> str:
    """Who made lr, and every candidate in a table."""
    made = makers(found.likenesses)
    if not made:
        first = found.likenesses[0]
        head = (
            "None of these made this lr. "
            f"The likest is {ORIGINS[first.origin].words}: {first.equal:.2%} of its samples are "
            f"equal, others differ by up to {first.largest} levels."
        )
    else:
        exact = made[0].equal == 1
        names = " or ".join(ORIGINS[one.origin].words for one in made)
        kind = "every sample is equal" if exact else "all samples within one level, 99 % equal"
        head = f"This lr was made by {names}: {kind}."
    cells = [
        [
            *(ORIGINS[one.origin].words, f"{one.equal:.2%}", f"{one.mean:.3f}"),
            *(str(one.largest), f"{one.images} of {found.images}"),
        ]
        for one in found.likenesses
    ]
    heads = ["candidate", "equal samples", "mean levels apart", "most", "equal images"]
    return head + "\n\n" + markdown_table(heads, cells)


def _headline(claim: Claim, match: Match, values: Values, scale: int, *, alone: bool) -> str:
    reading = match.reading
    away = departures(reading, scale)
    if not away:
        words = usual_in_words(reading.metric, scale, reading.net)
        return f"{claim} is {words}: the usual protocol"
    moved = match.value - values[usual(reading.metric, scale, reading.net or "alex")]
    return (
        f"{claim} {'only ' if alone else ''}with {_with(reading, scale)}: "
        f"{_apart(moved, reading.metric)} the usual protocol"
    )


def _with(reading: Reading, scale: int) -> str:
    """A reading by its departures; of LPIPS with its net."""
    away = departures(reading, scale)
    call = known_call(reading, scale)
    words = [reading.net] * bool(reading.net)
    words += [in_words(axis, choice) for axis, choice in away.items()] or ["the usual protocol"]
    *most, last = words
    joined = f"{', '.join(most)} and {last}" if most else last
    return f"{joined} (as {call})" if call else joined


def _told_apart(found: Sequence[Match]) -> list[Match]:
    """Without readings that give, bit by bit, the number of one before them."""
    first: dict[float, Match] = {}
    for match in found:
        first.setdefault(match.value, match)
    return list(first.values())


def _number(match: Match) -> str:
    return f"{match.value:.{_DIGITS[match.reading.metric] + 2}f}"


def _apart(difference: float, metric: MetricName) -> str:
    if difference == 0 or not math.isfinite(difference):
        return "as"
    size = f"{abs(difference):.{_DIGITS[metric]}f}{_UNITS[metric]}"
    return f"{size} {'above' if difference > 0 else 'below'}"


def _signed(difference: float, digits: int) -> str:
    return f"{difference:+.{digits}f}"
