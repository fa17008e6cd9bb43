"""bf16-mixed beside float32, part by part; benchmarks/precision.py does it on many pairs."""

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from toys import photograph, run

from tlw import Judge, TLWLoss, WeightNet
from tlw.imaging.ranges import to_tensor
from tlw.runtime.precision import HALF, full_float32, has_bf16_units, twice, two_halves


@given(st.floats(-1000, 1000, width=32))
def test_two_halves_keep_sixteen_bits(value):
    x = torch.full((1, 1, 1, 1), value)
    high, low = two_halves(x).double().unbind(1)
    assert abs(high + low - value) <= 2**-16 * abs(value) + 1e-37


def test_a_kernel_twice_takes_two_halves_as_it_takes_the_image():
    image, kernel = torch.rand(1, 3, 9, 9, requires_grad=True), torch.randn(4, 3, 3, 3)
    kernel = kernel.to(HALF).float()
    halves = two_halves(image)
    ours = F.conv2d(halves.float(), twice(kernel))
    theirs = F.conv2d(image, kernel)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    gradients = [torch.autograd.grad(out.sum(), image)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=2**-7, atol=2**-7)  # the gradient passes HALF


def test_within_full_float32_a_gpu_may_not_use_tf32_and_afterwards_as_before():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

    def switches() -> tuple:
        return cudnn.conv.fp32_precision, matmul.fp32_precision, cudnn.deterministic

    before = switches()
    assert before[0] != "ieee"  # torch's own choice
    for deterministic in (False, True):
        with full_float32(deterministic=deterministic):
            assert switches() == ("ieee", "ieee", deterministic)
        assert switches() == before


ASKED = """
import logging, sys, torch
from tlw.runtime.precision import has_bf16_units, usable
logging.basicConfig(format="%(message)s")
twice = [usable("bf16-mixed", "cpu") for _ in range(2)]
print(has_bf16_units("cpu"), twice, usable("float32", "cpu"))
"""


@pytest.mark.parametrize(
    "limit", [{"ATEN_CPU_CAPABILITY": "avx2"}, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}]
)
def test_a_cpu_without_bf16_units_computes_in_float32_and_warns_once(limit):
    done = run([sys.executable, "-c", ASKED], **limit)
    assert done.stdout.split("\n")[0] == "False ['float32', 'float32'] float32"
    assert done.stderr.count("no units for bfloat16, so it computes in float32") == 1


def test_a_device_that_is_neither_cpu_nor_gpu_has_no_bf16_units():
    assert not has_bf16_units("meta")


with_units = pytest.mark.skipif(
    not has_bf16_units("cpu"), reason="this CPU has no units for bfloat16 (AVX512_BF16 or AMX)"
)


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph and what is left of it after going down and up by 4."""
    hr = to_tensor(photograph(size=(96, 96)))[None]
    down = F.interpolate(hr, scale_factor=0.25, mode="bicubic", antialias=True)
    return F.interpolate(down, scale_factor=4, mode="bicubic").clamp(0, 1), hr


@with_units
@pytest.mark.parametrize("remaining", [1.0, 0.3])
@pytest.mark.parametrize("calibrated", [True, False])
def test_a_bf16_judge_s_ratios_are_right_to_a_percent(images, calibrated, remaining):
    sr, hr = images
    sr = hr + remaining * (sr - hr)
    w = (torch.rand_like(hr, generator=None) < 0.6).float()
    x_w, x_rest = (1 - w) * sr + w * hr, w * sr + (1 - w) * hr
    criteria = []
    for precision in ("float32", "bf16-mixed"):
        distance = Judge("vgg", calibrated=calibrated, precision=precision).against(hr)
        criteria.append((distance(x_rest) + 1e-3) / (distance(x_w) + 1e-3))
    full, mixed = criteria
    assert mixed != full and mixed.item() == pytest.approx(full.item(), rel=0.01)


def test_a_bf16_judge_takes_and_gives_float32(images):
    sr, hr = images
    sr = sr.clone().requires_grad_()
    distance = Judge("alex", precision="bf16-mixed").against(hr)(sr)
    distance.sum().backward()
    assert distance.dtype == sr.grad.dtype == torch.float32 and sr.grad.isfinite().all()


@with_units
def test_a_bf16_weighting_network_keeps_the_share_and_float32_parameters(images):
    sr, hr = images
    torch.manual_seed(0)
    full, mixed = WeightNet(), WeightNet(precision="bf16-mixed")
    mixed.load_state_dict(full.state_dict())
    one, other = (net(hr * 2 - 1, sr * 2 - 1, 0.5) for net in (full, mixed))
    assert other.dtype == torch.float32
    assert other.mean().item() == pytest.approx(0.5, abs=1e-5)
    assert 0 < (one - other).abs().max() < 0.05
    other.square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in mixed.parameters())


def test_losses_in_both_precisions_go_the_same_way(images):
    sr, hr = images
    results = {}
    for precision in ("float32", "bf16-mixed"):
        torch.manual_seed(0)
        loss_fn = TLWLoss("l1", precision=precision)
        torch.manual_seed(1)
        output = sr.clone().requires_grad_()
        loss = loss_fn(output, hr)
        loss.backward()
        results[precision] = loss.item(), output.grad.flatten(), loss_fn.last["phi_loss"].item()
    (loss, gradient, phi), (other, other_gradient, other_phi) = results.values()
    assert other == pytest.approx(loss, rel=0.02) and other_phi == pytest.approx(phi, abs=0.02)
    assert F.cosine_similarity(gradient, other_gradient, dim=0) > 0.99


def test_an_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"precision: .*float32, bf16-mixed"):
        TLWLoss("l1", precision="bf16")
