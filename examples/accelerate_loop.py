"""TLWLoss with Hugging Face Accelerate, two batches to a step: `pip install accelerate`."""

from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tlw import TLWLoss


def fit(
    net: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor]],
    loss_fn: TLWLoss,
    checkpoint: Path,
    accelerator: Accelerator,
) -> nn.Module:
    """One epoch on (lr, hr) in [0, 1]; `accelerator.load_state` takes its checkpoint up again.

    Phi takes a step at each call, so two in a step of the network; in several processes it is the
    same in all of them.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.9, 0.99))
    net, optimizer = accelerator.prepare(net, optimizer)
    loss_fn.to(accelerator.device)
    accelerator.register_for_checkpointing(loss_fn)
    for lr, hr in batches:
        lr, hr = lr.to(accelerator.device), hr.to(accelerator.device)
        with accelerator.accumulate(net), accelerator.autocast():
            accelerator.backward(loss_fn(net(lr), hr))
            optimizer.step()
            optimizer.zero_grad()
    accelerator.save_state(checkpoint)
    return net
