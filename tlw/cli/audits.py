"""Verbs about images from elsewhere, or for there: what is a number, who made lr, lr as files."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tlw.cli.options import Device, JudgeFolder, Threads, set_threads
from tlw.config.settings import SCALES


def audit(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of sr and of hr; with --lr that of hr alone.", metavar="SR HR"
        ),
    ],
    scale: Annotated[
        int | None, typer.Option(help="2, 3 or 4; with --lr found from the sizes.", min=2, max=4)
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            help="A number as it is printed, as psnr=27.40, ssim=0.7801 or lpips=0.2855; "
            "repeatable.",
            show_default="none: the table of readings",
        ),
    ] = None,
    lr: Annotated[
        Path | None, typer.Option(help="Folder of lr: which bicubic made it from hr?")
    ] = None,
    lpips: Annotated[
        bool, typer.Option("--lpips", help="LPIPS in the table, too; it takes far longer.")
    ] = False,
    suffix: Annotated[
        str, typer.Option(help="What names of sr, or lr, have behind the image's, as _x4.")
    ] = "",
    hr_suffix: Annotated[str, typer.Option(help="The same for hr, as _HR.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    figure: Annotated[
        Path | None,
        typer.Option(help="Gets a figure of it: a .pdf, .png, .webp or .svg file."),
    ] = None,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Tells under which reading images have a claimed PSNR, SSIM or LPIPS, or who made lr.

    LPIPS is that of alex and vgg; and of squeeze after `tlw fetch-weights squeeze`.
    """
    _check(folders, scale, claim or [], lr, lpips)
    if figure is not None:
        _check_figure(figure, lr)
    from tlw.scoring.audit import parse_claim  # mistakes in a claim before any work

    claims = [parse_claim(words) for words in claim or []]
    set_threads(threads)
    names = {"suffix": suffix, "hr_suffix": hr_suffix}
    if lr is not None:
        content, text = _lr(lr, folders[0], scale, names)
    else:
        options = {"device": device, "judge_folder": judge_folder, **names}
        sr, hr = folders
        assert scale is not None  # checked above
        values, content, text = _sr(sr, hr, scale, claims, lpips, options)
    print(json.dumps(content, indent=2, allow_nan=False) if as_json else text)  # noqa: T201
    if figure is not None:  # behind the words, which must not be lost to it
        from tlw.report.figures.audit import audit as audit_figure
        from tlw.report.figures.style import save, styled

        assert scale is not None  # checked above
        with styled():
            save(audit_figure(values, claims, scale), figure.with_suffix(""), _form(figure))


def downscale(
    images: Annotated[Path, typer.Argument(help="Folder of hr images.", metavar="FOLDER")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that gets a PNG of each.")],
    scale: Annotated[int, typer.Option(help="2, 3 or 4.", min=2, max=4)],
    border: Annotated[
        Literal["mirror", "replicate"],
        typer.Option(
            help="Beyond the image: mirror as newer MATLAB and `tlw pairs` have it, replicate as "
            "the MATLAB that made most lr images on the net."
        ),
    ] = "mirror",
) -> None:
    """Makes lr images as MATLAB's imresize(..., 'bicubic') does, in 8 bits."""
    from tlw.data.downscale import downscale_folder

    downscale_folder(images, output, scale=scale, border=border)


def _check(
    folders: list[Path], scale: int | None, claim: list[str], lr: Path | None, lpips: bool
) -> None:
    wanted = ["HR"] if lr is not None else ["SR", "HR"]
    if len(folders) != len(wanted):
        raise ValueError(
            f"audit: expected {len(wanted)} folder{'s' * (len(wanted) > 1)}, "
            f"{' and '.join(wanted)}{', behind --lr LR' if lr is not None else ''}, "
            f"found {len(folders)}: {', '.join(map(str, folders))}"
        )
    if lr is not None and (claim or lpips):
        raise ValueError("audit: --claim and --lpips are about sr; --lr takes neither")
    if lr is None and scale is None:
        raise ValueError(
            "audit: expected --scale 2, 3 or 4, found none; crop and border hang on it"
        )
    for folder in [*folders, *([lr] if lr is not None else [])]:
        if not folder.is_dir():
            raise ValueError(f"{folder}: expected a folder of images, found none")


def _check_figure(figure: Path, lr: Path | None) -> None:
    from tlw.runtime.extras import require

    if lr is not None:
        raise ValueError("audit: --figure is about sr; leave it out, --lr has none")
    if not _form(figure):
        raise ValueError(f"--figure {figure}: expected a .pdf, .png, .webp or .svg file")
    require(["matplotlib"], extra="report", does="a figure")


def _form(figure: Path) -> tuple[str, ...]:
    """The format that a file's name asks for, if it is one that there is."""
    form = figure.suffix.lower().removeprefix(".")
    return (form,) if form in ("pdf", "png", "webp", "svg") else ()


def _sr(
    sr: Path, hr: Path, scale: int, claims: list, lpips: bool, options: dict[str, Any]
) -> tuple[dict, dict[str, Any], str]:
    """The readings' values, all of the audit for JSON, and its words."""
    from tlw.report.audited import claim_in_words, table_in_words
    from tlw.runtime.devices import pick_device
    from tlw.scoring.audit import audit_folders, claimed_metrics, matches
    from tlw.scoring.readings import MetricName

    metrics: Sequence[MetricName] = claimed_metrics(claims)
    if not metrics:
        metrics = ("psnr", "ssim", "lpips") if lpips else ("psnr", "ssim")
    options["device"] = pick_device(options["device"])
    values = audit_folders(sr, hr, scale=scale, metrics=metrics, **options)
    found = {claim: matches(claim, values, scale) for claim in claims}
    texts = [claim_in_words(claim, rows, values, scale) for claim, rows in found.items()]
    content = {
        "sr": str(sr),
        "hr": str(hr),
        "scale": scale,
        "readings": [_row(reading, value) for reading, value in values.items()],
        "claims": [
            {
                "metric": claim.metric,
                "claimed": str(claim),
                "given_by": [_row(match.reading, match.value) for match in rows if match.fits],
                "nearest": _row(rows[0].reading, rows[0].value),
            }
            for claim, rows in found.items()
        ],
    }
    return values, content, "\n\n".join(texts or [table_in_words(values, scale)])


def _lr(lr: Path, hr: Path, scale: int | None, names: dict[str, str]) -> tuple[dict[str, Any], str]:
    from tlw.report.audited import origin_in_words
    from tlw.scoring.lr_origin import makers, origins_of

    found = origins_of(lr, hr, scale=scale, **names)
    content = {
        "lr": str(lr),
        "hr": str(hr),
        "made_by": [one.origin for one in makers(found.likenesses)],
        "candidates": [one._asdict() for one in found.likenesses],
    }
    return content | {"images": found.images, "scale": found.scale}, origin_in_words(found)


def _row(reading: Any, value: float) -> dict[str, Any]:
    """A reading without the axes that do not concern it; equal images have no finite PSNR: null."""
    axes = {axis: choice for axis, choice in reading._asdict().items() if choice != ""}
    return axes | {"value": value if math.isfinite(value) else None}


def verify(
    images: Annotated[
        Path, typer.Argument(help="Folder of image sets, as `tlw fetch` leaves them.")
    ] = Path("resources/images"),
    scale: Annotated[
        list[int] | None,
        typer.Option(min=min(SCALES), max=max(SCALES), help="Repeatable.", show_default="all"),
    ] = None,
    judge_folder: JudgeFolder = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Prints the paper's bicubic numbers beside ours; exit code 1 where one differs."""
    set_threads(threads)
    from tlw.report.plain_table import markdown_table
    from tlw.report.verify import bicubic_cells
    from tlw.runtime.devices import pick_device

    table, missing = bicubic_cells(
        images, scales=scale or SCALES, device=str(pick_device(device)), judge_folder=judge_folder
    )
    for name in missing:
        print(f"{name}: images missing; `tlw fetch {name}` gets them, or says how")  # noqa: T201
    if table.empty:
        raise ValueError(f"{images}: expected a benchmark of the paper's, found none of them")
    rows = table.assign(equal=table["equal"].map({True: "", False: "differs"}))
    heads = ["benchmark", "scale", "metric", "paper", "ours", ""]
    print(markdown_table(heads, rows.astype(str).values.tolist()))  # noqa: T201
    if not table["equal"].all():
        raise typer.Exit(1)
