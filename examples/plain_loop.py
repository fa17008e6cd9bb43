"""TLWLoss in a loop of plain PyTorch, with autocast, a gradient scaler and a checkpoint."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tlw import TLWLoss


def fit(
    net: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor]],
    loss_fn: TLWLoss,
    checkpoint: Path,
    *,
    epochs: int,
    device: str = "cpu",
    half: torch.dtype | None = None,
) -> None:
    """Trains `net` on (lr, hr) in [0, 1], and goes on from `checkpoint` where there is one.

    `loss_fn` is a module like the network: it moves to the device, and is saved and loaded. `half`
    is for the network alone: the loss computes in float32 whatever autocast it is called in.
    """
    net.to(device)
    loss_fn.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.9, 0.99))
    scaler = torch.amp.GradScaler(device, enabled=half == torch.float16)
    parts = {"net": net, "loss": loss_fn, "optimizer": optimizer, "scaler": scaler}
    done = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        done = saved.pop("epochs")
        for name, part in parts.items():
            part.load_state_dict(saved[name])

    for epoch in range(done, epochs):
        loss_fn.start_epoch(epoch)  # k
        for lr, hr in batches:
            lr, hr = lr.to(device), hr.to(device)
            with torch.autocast(device, half, enabled=half is not None):
                loss = loss_fn(net(lr), hr)  # phi takes its step here
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save(states | {"epochs": epoch + 1}, checkpoint)
