"""Scores of a network, or of bicubic upsampling, on benchmarks: one row for each image."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from tlw.config import Cell
from tlw.files import written_aside
from tlw.judge import Judge
from tlw.metrics import psnr_y, ssim_y
from tlw.pairs import Pairs
from tlw.protocols import Protocol
from tlw.protocols import protocol as protocol_named
from tlw.schema import at
from tlw.sr_net import load_network, super_resolve
from tlw.tiles import OVERLAP, TILE, check_tiles, tile_of

SuperResolve = Callable[[Tensor], Tensor]


class Scorer:
    """All metrics of a protocol for one image.

    LPIPS is taken in float32 and of the whole image, other metrics inside the protocol's border.

    Args:
        protocol: says which metrics, and how sr is finished before.
        scale: for the border.
        device: where LPIPS is computed.
        judge_folder: of LPIPS' weights, see `tlw.weights.judge_weights`.
    """

    def __init__(
        self,
        protocol: Protocol,
        scale: int,
        *,
        device: torch.device | str = "cpu",
        judge_folder: Path | None = None,
    ) -> None:
        self.protocol, self.device = protocol, device
        self.border = protocol.border(scale)
        self.judges = {
            net: Judge(net, channels=protocol.lpips_channels, weights=judge_folder).to(device)
            for net in protocol.lpips_nets
        }

    @torch.inference_mode()
    def __call__(self, sr: Tensor, hr: Tensor) -> dict[str, float]:
        """The metrics, by column name, of sr (3, H, W), as a network gives it, and hr (3, H, W)."""
        sr, hr = self.protocol.finish(sr)[None], hr[None]
        scores = {}
        for metric in self.protocol.metrics:
            if metric == "psnr_y":
                value = psnr_y(sr, hr, border=self.border)
            elif metric == "ssim_y":
                value = ssim_y(sr, hr, border=self.border)
            else:
                judge = self.judges[metric.removeprefix("lpips_")]
                value = judge(sr.to(self.device).float(), hr.to(self.device))
            scores[metric] = float(value)
        return scores


def score_pairs(
    sets: Sequence[Pairs], upscale: SuperResolve, *, device: str, judge_folder: Path | None
) -> pd.DataFrame:
    """Scores of every image of some benchmarks.

    Args:
        sets: pairs for testing, of one scale and protocol.
        upscale: from lr (3, H, W) to sr (3, sH, sW).

    Returns:
        Columns protocol, benchmark, image, and the protocol's metrics.

    Raises:
        ValueError: for an image that cannot be scored, by name: sr of another size than hr, not
            finite, or too small for a metric.
    """
    protocol, scale = sets[0].protocol, sets[0].scale
    scorer = Scorer(protocol, scale, device=device, judge_folder=judge_folder)
    rows = []
    for pairs in sets:
        for index, name in enumerate(
            tqdm(pairs.names, f"{pairs.image_set} x{scale}", disable=None)
        ):
            lr, hr = pairs[index]
            with at(f"{pairs.path}: {name}"), full_precision():
                scores = scorer(upscale(lr).cpu(), hr)
            rows.append(
                {"protocol": protocol.name, "benchmark": pairs.image_set, "image": name} | scores
            )
    return pd.DataFrame(rows)


def full_precision() -> AbstractContextManager:
    """Inside this a GPU convolves in float32; in TF32 the fourth decimal would be another."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def evaluate_cell(
    weights: Path,
    pairs: Iterable[Path],
    output: Path,
    *,
    device: str,
    judge_folder: Path | None,
    tile: int = TILE,
) -> None:
    """Scores a trained cell, or an imported network, into a CSV.

    Args:
        weights: file of the network, which names its cell; an imported one is scored under
            whichever protocol the pairs are of, and has no seed.
        pairs: pairs files of the benchmarks.
        output: the CSV: backbone, scale, loss, seed, then the columns of `score_pairs`. Where an
            image was run in tiles, which can change its score, also a column `tiled`: the tiles'
            side in lr pixels, 0 for whole images.
        tile: side of the tiles for images of more pixels than one of them, see `tlw.tiles`.

    Raises:
        ValueError: for pairs of another scale or protocol, made for training, or given twice.
    """
    net, cell = load_network(weights)
    check_tiles(tile, OVERLAP, net.window)
    net.to(device)
    paths, trained = list(pairs), isinstance(cell, Cell)
    protocol = cell.protocol if trained else Pairs(paths[0]).protocol.name
    sets = _benchmarks(paths, cell.scale, protocol)
    scores = score_pairs(
        sets, lambda lr: super_resolve(net, lr, tile=tile), device=device, judge_folder=judge_folder
    )
    s = cell.scale
    tiled = [tile_of(h // s, w // s, tile) for pairs in sets for h, w in pairs.sizes]
    if any(tiled):
        scores.insert(scores.columns.get_loc("image") + 1, "tiled", tiled)
    seed = cell.seed if trained else ""
    write_scores(scores, output, cell.backbone_name, cell.scale, cell.loss_name, seed)


def evaluate_bicubic(
    pairs: Iterable[Path], output: Path, *, device: str, judge_folder: Path | None
) -> None:
    """Scores the protocol's bicubic upsampling, into a CSV like a cell's, without loss and seed."""
    paths = list(pairs)
    first = Pairs(paths[0])
    sets = _benchmarks(paths, first.scale, first.protocol.name)
    scores = score_pairs(
        sets,
        lambda lr: first.protocol.upsample_bicubic(lr[None], first.scale)[0],
        device=device,
        judge_folder=judge_folder,
    )
    write_scores(scores, output, "bicubic", first.scale, "", "")


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


def write_scores(
    scores: pd.DataFrame, output: Path, backbone: str, scale: int, loss: str, seed: int | str
) -> None:
    """Writes the columns of `score_pairs` as a CSV, whose row of a table comes first.

    Without a seed (and a loss) the network was not trained here.
    """
    for place, (column, value) in enumerate(
        {"backbone": backbone, "scale": scale, "loss": loss, "seed": seed}.items()
    ):
        scores.insert(place, column, value)
    with written_aside(output) as aside:
        scores.to_csv(aside, index=False)
