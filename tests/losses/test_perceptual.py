"""The control that adds a perceptual distance to the error, against its two parts."""

import torch
import torch.nn.functional as F
from torch import nn

from tlw.config.settings import loss_settings
from tlw.losses.perceptual import PerceptualLoss


class MeanDifference(nn.Module):
    """A distance that one can compute in one's head, one number an image."""

    def forward(self, sr, hr):
        return (sr - hr).mean(dim=(1, 2, 3)).square()


def test_it_is_the_error_on_the_signed_range_and_the_share_of_the_mean_distance():
    sr = torch.tensor([0.5, 0.25]).view(2, 1, 1, 1).expand(2, 3, 4, 4).clone().requires_grad_()
    hr = torch.zeros(2, 3, 4, 4)
    settings = loss_settings("l1-lpips", kind="perceptual", base="l1", share=0.5)
    loss_fn = PerceptualLoss(settings, judge=MeanDifference())
    loss = loss_fn(sr, hr)
    # errors of 1 and 0.5 on [-1, 1]; distances of 1/4 and 1/16, half of whose mean is added
    torch.testing.assert_close(loss, torch.tensor(0.75 + 0.5 * (0.25 + 0.0625) / 2))
    assert loss_fn.last == {"error": 0.75, "distance": 0.15625}
    loss.backward()
    assert (sr.grad > 0).all()


def test_its_judge_is_the_settings_and_is_not_trained():
    settings = loss_settings("mine", kind="perceptual", base="mse", judge_net="alex")
    loss_fn = PerceptualLoss(settings)
    assert (loss_fn.judge.net, loss_fn.judge.channels) == ("alex", "bgr")
    assert not list(loss_fn.parameters()) and not loss_fn.state_dict()
    sr, hr = torch.rand(2, 1, 3, 32, 32)
    expected = F.mse_loss(2 * sr - 1, 2 * hr - 1) + settings.share * loss_fn.judge(sr, hr).mean()
    torch.testing.assert_close(loss_fn(sr, hr), expected)
