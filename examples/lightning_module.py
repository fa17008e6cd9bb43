"""TLWLoss in Lightning: `pip install lightning`, `lightning.Trainer(...).fit(module, loader)`."""

import lightning
import torch
from torch import Tensor, nn

from tlw import TLWLoss, psnr_y

Batch = tuple[Tensor, Tensor]


class SuperResolution(lightning.LightningModule):
    """A network and its loss. Lightning moves both, and both are in its checkpoints.

    `self.parameters()` would do as well in `configure_optimizers`: phi is left to its own Adam.
    """

    def __init__(self, net: nn.Module, loss_fn: TLWLoss) -> None:
        super().__init__()
        self.net, self.loss_fn = net, loss_fn

    def on_train_epoch_start(self) -> None:
        self.loss_fn.start_epoch(self.current_epoch)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        lr, hr = batch
        loss = self.loss_fn(self.net(lr), hr)
        self.log_dict({"loss": loss.detach(), **self.loss_fn.last})
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        lr, hr = batch
        self.log("psnr", psnr_y(self.net(lr).float().clamp(0, 1), hr).mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=1e-4, betas=(0.9, 0.99))
