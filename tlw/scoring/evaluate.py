"""Scores of networks, or of bicubic upsampling, on benchmarks: one row for each image."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd
from torch import Tensor
from tqdm import tqdm

from tlw.config.config import Cell
from tlw.data.pairs import Pairs
from tlw.data.protocols import protocol as protocol_named
from tlw.imaging.tiles import OVERLAP, TILE, check_tiles, tile_of
from tlw.networks.sr_net import load_network, self_ensemble, super_resolve
from tlw.runtime.errors import at
from tlw.runtime.files import written_aside
from tlw.runtime.memory import enough_memory
from tlw.runtime.precision import full_float32
from tlw.scoring.columns import guarded
from tlw.scoring.scorer import Scorer

SuperResolve = Callable[[Tensor], Tensor]
Row = TypeVar("Row", str, Path)
Rule = TypeVar("Rule", int, str)


def score_pairs(
    sets: Sequence[Pairs],
    upscales: Mapping[Row, SuperResolve],
    *,
    device: str,
    judge_folder: Path | None,
    extra: Sequence[str] = (),
) -> dict[Row, pd.DataFrame]:
    """Scores of every image of some benchmarks, for several networks at once.

    Each image is read, and the judge looks at its hr, once for all networks. A score is the same,
    bit by bit, whichever others are taken beside it.

    Args:
        sets: pairs for testing, of one scale and protocol.
        upscales: from lr (3, H, W) to sr (3, sH, sW), by the name that errors call it.
        extra: metrics beside the protocol's, of `tlw.scoring.columns.EXTRA`.

    Returns:
        For each name columns protocol, benchmark, image, and the metrics.

    Raises:
        ValueError: for an image that cannot be scored, by name: sr of another size than hr, not
            finite, or too small for a metric.
    """
    protocol, scale = sets[0].protocol, sets[0].scale
    scorer = Scorer(protocol, scale, device=device, judge_folder=judge_folder, extra=extra)
    rows: dict[Row, list[dict]] = {row: [] for row in upscales}
    for pairs in sets:
        for index, name in enumerate(
            tqdm(pairs.names, f"{pairs.image_set} x{scale}", disable=None)
        ):
            image = {"protocol": protocol.name, "benchmark": pairs.image_set, "image": name}
            with full_float32(deterministic=True):
                scores = _score_image(pairs, index, upscales, scorer)
            for row, found in scores.items():
                rows[row].append(image | found)
    return {row: pd.DataFrame(found) for row, found in rows.items()}


def _score_image(
    pairs: Pairs, index: int, upscales: Mapping[Row, SuperResolve], scorer: Scorer
) -> dict[Row, dict[str, float]]:
    """Scores of one image; a function, so that nothing is left of its features behind it."""
    where = f"{pairs.path}: {pairs.names[index]}"
    lr, hr = pairs[index]
    images = {}
    for row, upscale in upscales.items():  # all before hr's features ask for memory, too
        with at(f"{row}: {where}"):
            images[row] = upscale(lr).cpu()
    with at(where), enough_for_metrics(hr, scorer):
        score = scorer.against(hr, grey=pairs.grey[index])
    scores = {}
    for row, sr in images.items():
        with at(f"{row}: {where}"), enough_for_metrics(hr, scorer):
            scores[row] = score(sr)
    return scores


def enough_for_metrics(hr: Tensor, scorer: Scorer) -> AbstractContextManager[None]:
    """Makes it a ValueError when the memory does not do for the metrics of an image (3, H, W)."""
    height, width = hr.shape[1:]
    return enough_memory(
        f"the metrics of {height} x {width} pixels on {scorer.device}",
        "score them on a device with more memory (--device), or fewer networks at once",
    )


def evaluate_cells(
    outputs: Mapping[Path, Path],
    pairs: Iterable[Path],
    *,
    device: str,
    judge_folder: Path | None,
    tile: int = TILE,
    networks: Collection[str] = (),
    extra: Sequence[str] = (),
    ensemble: bool = False,
) -> None:
    """Scores trained cells, or imported networks, of one scale and protocol, into a CSV each.

    Scored together they share what belongs to hr, see `score_pairs`; all networks are in memory at
    the same time. The files are written when everything is scored, each of them whole or not at
    all.

    Args:
        outputs: the CSV of each weights file, which names its cell; an imported one is scored under
            whichever protocol the pairs are of, and has no seed. Columns of a CSV: backbone, scale,
            loss, seed, then those of `score_pairs`. Where an image was run in tiles, which can
            change its score, also a column `tiled`: the tiles' side in lr pixels, 0 for whole
            images.
        pairs: pairs files of the benchmarks.
        tile: side of the tiles for images of more pixels than one of them, see `tlw.imaging.tiles`.
        networks: classes from elsewhere that the files may name, see `load_network`.
        extra: as for `score_pairs`.
        ensemble: scores the mean of eight turns, see `tlw.networks.sr_net.self_ensemble`; the
            backbone is then called as the cell's with a "+" behind it.

    Raises:
        ValueError: for networks of different scales or protocols, and for pairs of another one,
            made for training, or given twice.
    """
    loaded = {path: load_network(path, networks=networks) for path in outputs}
    cells = {path: cell for path, (_, cell) in loaded.items()}
    paths = list(pairs)
    s = _in_common("scale", {path: cell.scale for path, cell in cells.items()})
    trained = {path: cell.protocol for path, cell in cells.items() if isinstance(cell, Cell)}
    protocol = _in_common("protocol", trained or {paths[0]: Pairs(paths[0]).protocol.name})
    sets = _benchmarks(paths, s, protocol)
    upscales = {}
    for path, (net, _) in loaded.items():
        with at(str(path)):
            check_tiles(tile, OVERLAP, net.window)
        upscale = self_ensemble if ensemble else super_resolve
        upscales[path] = partial(upscale, net.to(device), tile=tile)
    scores = score_pairs(sets, upscales, device=device, judge_folder=judge_folder, extra=extra)
    tiled = [tile_of(h // s, w // s, tile) for pairs in sets for h, w in pairs.sizes]
    for path, cell in cells.items():
        if any(tiled):
            scores[path].insert(scores[path].columns.get_loc("image") + 1, "tiled", tiled)
        seed = cell.seed if isinstance(cell, Cell) else ""
        name = cell.backbone_name + "+" * ensemble
        row = of_row(scores[path], name, s, cell.loss_name, seed)
        write_scores(row, outputs[path])


def scores_beside(weights: Sequence[Path], *, ensemble: bool = False) -> dict[Path, Path]:
    """A scores.csv beside each weights file; ValueError for two of them in one folder.

    Those of an ensemble go into a folder beside that one, of its name with a "+".
    """
    outputs: dict[Path, Path] = {}
    for path in weights:
        beside = path.parent.resolve()
        folder = beside.with_name(beside.name + "+") if ensemble else path.parent
        output = folder / "scores.csv"
        for other in outputs:
            if other.parent.resolve() == path.parent.resolve():
                raise ValueError(
                    f"{other} and {path} would both be scored into {output}; score them one by "
                    "one, with --output"
                )
        outputs[path] = output
    return outputs


def _in_common(rule: str, found: Mapping[Path, Rule]) -> Rule:
    """The one scale, or protocol, of several files."""
    (first, expected), *others = found.items()
    for path, other in others:
        if other != expected:
            raise ValueError(
                f"{path}: expected {rule} {expected}, as {first} has, found {rule} {other}; what "
                "is scored together has one scale and one protocol"
            )
    return expected


def evaluate_bicubic(
    pairs: Iterable[Path],
    output: Path,
    *,
    device: str,
    judge_folder: Path | None,
    extra: Sequence[str] = (),
) -> None:
    """Scores the protocol's bicubic upsampling, into a CSV like a cell's, without loss and seed."""
    paths = list(pairs)
    first = Pairs(paths[0])
    sets = _benchmarks(paths, first.scale, first.protocol.name)
    scores = score_pairs(
        sets,
        {"bicubic": lambda lr: first.protocol.upsample_bicubic(lr[None], first.scale)[0]},
        device=device,
        judge_folder=judge_folder,
        extra=extra,
    )
    write_scores(of_row(scores["bicubic"], "bicubic", first.scale), output)


def _benchmarks(paths: Iterable[Path], scale: int, protocol: str) -> list[Pairs]:
    sets = [Pairs(path, scale=scale) for path in paths]
    for place, pairs in enumerate(sets):
        if (pairs.protocol.name, pairs.use) != (protocol, "test"):
            raise ValueError(
                f"{pairs.path}: expected pairs for testing under protocol {protocol}, found "
                f"protocol {pairs.protocol.name}, for use in {pairs.use}"
            )
        if pairs.protocol != protocol_named(protocol):
            raise ValueError(
                f"{pairs.path}: made when protocol {protocol} had other rules; delete it and build "
                "it again with `tlw pairs`"
            )
        if pairs.image_set in [other.image_set for other in sets[:place]]:
            raise ValueError(f"{pairs.path}: benchmark {pairs.image_set} is given twice")
    return sets


def of_row(
    scores: pd.DataFrame, backbone: str, scale: int, loss: str = "", seed: int | str = ""
) -> pd.DataFrame:
    """The columns of `score_pairs` behind those that name their row of a table.

    Without a seed (and a loss) the network was not trained here.
    """
    row = {"backbone": backbone, "scale": scale, "loss": loss, "seed": str(seed)}
    return pd.concat([pd.DataFrame(row, index=scores.index), scores], axis="columns")


def write_scores(scores: pd.DataFrame, output: Path) -> None:
    """Writes the columns of `of_row` as a CSV, which `tlw.report.tables.read_scores` reads."""
    with written_aside(output) as aside:
        guarded(scores).to_csv(aside, index=False)
