"""The paper's bicubic rows beside ours: what anybody with the benchmarks can check in minutes.

Bicubic upsampling has no weights, so its numbers test images, pairs, PSNR and LPIPS alone: where
they are the paper's, numbers of trained networks compare with the paper's, too.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from tlw.config.settings import SCALES
from tlw.data.fetch import images_of
from tlw.data.pairs import write_pairs
from tlw.data.protocols import PROTOCOLS
from tlw.data.registry import empty
from tlw.report.tables import PUBLISHED, read_published, read_scores
from tlw.scoring.evaluate import evaluate_bicubic


def bicubic_cells(
    images: Path,
    *,
    published: Path = PUBLISHED,
    scales: Sequence[int] = SCALES,
    device: str = "cpu",
    judge_folder: Path | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """The paper's bicubic numbers beside ours under the protocol `paper`, to four decimals.

    Args:
        images: the folder of the image sets' folders.
        published: CSV of the paper's numbers.
        scales: which of 2, 3, 4.
        device: where LPIPS is computed.
        judge_folder: of LPIPS' weights.

    Returns:
        The columns benchmark, scale, metric, paper, ours (text of four decimals) and equal, and
        the names of the benchmarks whose images are missing.

    Raises:
        ValueError: for a benchmark whose folder is there, but not complete.
    """
    known = read_published(published, 1)
    known = known[(known["backbone"] == "bicubic") & known["scale"].isin(scales)]
    names = list(known["benchmark"].unique())
    missing = [name for name in names if empty(images / name)]
    found = {name: images_of(images / name) for name in names if name not in missing}
    known = known[known["benchmark"].isin(found)].sort_values(["benchmark", "scale"], kind="stable")
    parts = []
    for (name, scale), cells in known.groupby(["benchmark", "scale"], sort=False):
        means = _means(name, found[name], scale, device, judge_folder)
        cells = cells[["benchmark", "scale", "metric", "paper"]].copy()
        cells["ours"] = cells["metric"].map(means).map("{:.4f}".format)
        cells["paper"] = cells["paper"].map("{:.4f}".format)
        parts.append(cells)
    if not parts:
        return pd.DataFrame(), missing
    table = pd.concat(parts, ignore_index=True)
    return table.assign(equal=table["paper"] == table["ours"]), missing


def _means(
    name: str, images: Sequence[Path], scale: int, device: str, judge_folder: Path | None
) -> dict[str, float]:
    """The means of a benchmark's PSNR and LPIPS, by column; nothing of it is kept."""
    with TemporaryDirectory() as folder:
        pairs, scores = Path(folder, "pairs.h5"), Path(folder, "scores.csv")
        rules = PROTOCOLS["paper"]
        write_pairs(images, pairs, name=name, scale=scale, protocol=rules, use="test", workers=1)
        evaluate_bicubic([pairs], scores, device=device, judge_folder=judge_folder)
        return read_scores(scores)[["psnr_y", "lpips_vgg"]].mean().to_dict()
