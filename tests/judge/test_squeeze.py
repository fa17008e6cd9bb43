"""LPIPS on SqueezeNet, file and distance, against the `lpips` package, with random weights.

The heads are the real ones, out of that package. torchvision's file is not to be had everywhere, so
one of its form stands for it; that the pinned hash refuses it is a test, too.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback import Page, serving
from oracles import let_torchvision_import, lpips_oracle
from png_files import write_image
from safetensors.numpy import load_file, save_file

from tlw.data.download import DownloadError
from tlw.imaging.image_files import read_image
from tlw.judge import convert
from tlw.judge.lpips import Judge
from tlw.judge.weights import judge_weights, weights_at_hand
from tlw.runtime.files import sha256_of
from tlw.scoring.audit import audit_folders
from tlw.scoring.readings import usual


def _stand_in(folder: Path) -> Path:
    """A file as torchvision's, of its own network with random weights."""
    let_torchvision_import()
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    file = folder / "squeezenet.pth"
    torch.save(squeezenet1_1(weights=None).state_dict(), file)
    return file


def _serve(patch: pytest.MonkeyPatch, server, file: Path) -> None:
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setattr(convert, "_TORCH_URL", server.url + "/")
    server.pages[f"/{convert._NETS['squeeze'].torch_file}"] = Page(file.read_bytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of a file that was made from the stand-in, whose hash takes the pinned one's place."""
    folder = tmp_path_factory.mktemp("squeeze")
    file = _stand_in(folder)
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        facts = convert._NETS["squeeze"]
        size = file.stat().st_size
        facts = replace(facts, torch_hash=sha256_of(file), torch_size=size)
        patch.setitem(convert._NETS, "squeeze", facts)
        _serve(patch, server, file)
        judge_weights("squeeze", folder)
    return folder


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("side", [17, 40, 63])
def test_distances_and_gradients_equal_those_of_the_lpips_package(folder, calibrated, side):
    generator = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 2, 3, side, side + 7, generator=generator)
    ours, theirs = one.clone().requires_grad_(), one.clone().requires_grad_()
    found = Judge("squeeze", calibrated=calibrated, weights=folder)(ours, other)
    expected = lpips_oracle("squeeze", calibrated, folder)(theirs * 2 - 1, other * 2 - 1).flatten()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.sum().backward()
    expected.sum().backward()
    scale = theirs.grad.abs().max()
    torch.testing.assert_close(ours.grad / scale, theirs.grad / scale, rtol=0, atol=1e-5)


def test_an_image_too_small_for_it_is_refused(folder):
    with pytest.raises(ValueError, match="17 pixels"):
        Judge("squeeze", weights=folder)(*torch.rand(2, 1, 3, 16, 64))


def test_bf16_mixed_is_near_float32(folder):
    images = torch.rand(2, 1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    half = Judge("squeeze", weights=folder, precision="bf16-mixed")(*images)
    torch.testing.assert_close(half, Judge("squeeze", weights=folder)(*images), rtol=0.02, atol=0)


def test_a_file_is_known_by_the_digest_that_it_was_made_with(folder, tmp_path):
    assert weights_at_hand("squeeze", folder)
    tensors = load_file(judge_weights("squeeze", folder))
    save_file(tensors, tmp_path / "lpips_squeeze.safetensors")  # without its metadata
    assert not weights_at_hand("squeeze", tmp_path)
    content = bytearray(judge_weights("squeeze", folder).read_bytes())
    content[-1] ^= 1
    (tmp_path / "lpips_squeeze.safetensors").write_bytes(content)
    assert not weights_at_hand("squeeze", tmp_path)


def test_another_file_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    file = _stand_in(tmp_path)
    with serving() as server:
        _serve(monkeypatch, server, file)
        with pytest.raises(DownloadError):
            judge_weights("squeeze", tmp_path / "new")
    assert not list((tmp_path / "new").glob("lpips_*"))


def test_an_audit_reads_it_where_its_weights_are_at_hand(folder, tmp_path):
    for net in ("alex", "vgg"):
        (tmp_path / f"lpips_{net}.safetensors").symlink_to(judge_weights(net).resolve())
    generator = np.random.default_rng(0)
    sr, hr = tmp_path / "sr", tmp_path / "hr"
    for path in (sr, hr):
        write_image(path / "a.png", generator.integers(0, 256, (40, 40, 3), np.uint8))
    asked = {"scale": 4, "metrics": ["lpips"], "judge_folder": tmp_path}
    without = audit_folders(sr, hr, **asked)
    (tmp_path / "lpips_squeeze.safetensors").symlink_to(judge_weights("squeeze", folder))
    found = audit_folders(sr, hr, **asked)
    assert {reading.net for reading in found.keys() - without.keys()} == {"squeeze"}
    images = [torch.from_numpy(read_image(path / "a.png")).permute(2, 0, 1) for path in (sr, hr)]
    one, other = (image[None] / 255 for image in images)
    expected = Judge("squeeze", weights=folder)(one, other).item()
    assert found[usual("lpips", 4, "squeeze")] == pytest.approx(expected, rel=1e-5)
