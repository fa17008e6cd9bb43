"""What a network has come to while it is trained: PSNR, and pictures, on images of their own.

The images are neither trained nor tested on, so that something may be chosen by them.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from tlw.config.config import Cell
from tlw.data.pairs import Pairs
from tlw.data.protocols import protocol
from tlw.imaging.ranges import to_unit
from tlw.losses.tlw import TLWLoss
from tlw.networks.sr_net import SRNet
from tlw.runtime.errors import at, one_of
from tlw.scoring.scorer import Scorer

_MOST = 100.0  # dB of one image: a flat one may come out without any error


class Validation:
    """The middles of a set's first images, and how near a network comes to them.

    As on a benchmark, PSNR is taken on luma by the cell's protocol; it is the mean over images, of
    which none counts for more than 100 dB.

    Args:
        cell: whose `validation` says how many images and of which size; a smaller image gives what
            it has.
        path: the pairs file of its image set, made as for a benchmark.
        device: where it is computed.

    Raises:
        ValueError: for pairs of another set, use or protocol, or images to show that are not there.
    """

    def __init__(self, cell: Cell, path: Path, device: torch.device) -> None:
        assert cell.validation is not None
        self.settings, self.pairs = cell.validation, Pairs(path, scale=cell.scale)
        _refuse_other_pairs(self.pairs, cell)
        only_psnr = replace(self.pairs.protocol, lpips_nets=(), metrics=("psnr_y",))
        scorer = Scorer(only_psnr, cell.scale, device=device)
        self._looks = []
        for index in range(min(self.settings.images, len(self.pairs))):
            lr, hr = (to_unit(image).to(device) for image in self._middle(index))
            grey = bool(self.pairs.grey[index])
            self._looks.append((lr[None], scorer.against(hr, grey=grey)))
        self._shown: dict[str, tuple[Tensor, Tensor]] = {}  # lr and hr by the name's stem
        for name in self.settings.shown:
            if name not in self.pairs.names:
                with at(f"{path}: validation.shown"):
                    raise ValueError(one_of(name, self.pairs.names))
            lr, hr = (to_unit(x)[None] for x in self._middle(self.pairs.names.index(name)))
            self._shown[Path(name).stem] = lr.to(device), hr.to(device)

    def is_due(self, step: int, steps: int) -> bool:
        """Whether there is a look after so many steps of all."""
        return step % self.settings.every == 0 or step == steps

    @torch.no_grad()
    def psnr(self, net: SRNet) -> float:
        """Of the network in eval mode, in float32; the mode that it had comes back."""
        was_training = net.training
        net.eval()
        found = [min(scores(net(lr)[0])["psnr_y"], _MOST) for lr, scores in self._looks]
        net.train(was_training)
        return sum(found) / len(found)

    @torch.no_grad()
    def pictures(self, net: SRNet, loss: nn.Module) -> dict[str, Tensor]:
        """Of the images to show hr, sr and, of a weighted loss, the mean of their weights.

        Returns:
            (3, H, W) in [0, 1], by names as bird_hr, bird_sr, bird_weights; of weights the mean
            over the channels.
        """
        found: dict[str, Tensor] = {}
        was_training = net.training
        net.eval()
        for name, (lr, hr) in self._shown.items():
            sr = net(lr).clamp(0, 1)
            found |= {f"{name}_hr": hr[0], f"{name}_sr": sr[0]}
            if isinstance(loss, TLWLoss):
                w = loss.mean_weights(sr, hr).mean(dim=1, keepdim=True)
                found[f"{name}_weights"] = w[0].expand(3, -1, -1)
        net.train(was_training)
        return found

    def _middle(self, index: int) -> tuple[Tensor, Tensor]:
        height, width = (side // self.pairs.scale for side in self.pairs.sizes[index])
        size = min(self.settings.size // self.pairs.scale, height, width)
        return self.pairs.crop(index, (height - size) // 2, (width - size) // 2, size)


def _refuse_other_pairs(pairs: Pairs, cell: Cell) -> None:
    assert cell.validation is not None
    expected = (cell.validation.image_set, "test", protocol(cell.protocol))
    if (pairs.image_set, pairs.use, pairs.protocol) != expected:
        raise ValueError(
            f"{pairs.path}: expected pairs of {cell.validation.image_set}, use test, protocol "
            f"{cell.protocol} of this version; found {pairs.image_set}, use {pairs.use}, protocol "
            f"{pairs.protocol.name}; name the right file, or build it again"
        )
