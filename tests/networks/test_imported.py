"""The authors' checkpoints made ours: from every form of file, scored like a cell, refused by name.

That the networks give the authors' outputs is in tests/networks/test_authors.py.
"""

import contextlib
import hashlib
import io
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor
from toys import authors_state_dict, toy_pairs

from tlw.config.config import Checkpoint, Imported
from tlw.data.pairs import Pairs
from tlw.data.protocols import PROTOCOLS
from tlw.networks.imported import import_network, read_state
from tlw.networks.sr_net import load_network
from tlw.scoring.evaluate import evaluate_cells
from tlw.scoring.metrics import psnr_y

HERE = {"device": "cpu", "judge_folder": None}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A VDSR under the authors' keys."""
    return authors_state_dict("vdsr", 2)


def checkpoint(path: Path, **changes: object) -> Checkpoint:
    content = {"name": "vdsr-authors", "backbone": "vdsr", "scale": 2, "loss": "l1-tlw"}
    return Checkpoint(**content | {"checkpoint": str(path)} | changes)


def imported(path: Path, **changes: object) -> Path:
    """The weights file that is made of a checkpoint."""
    output = path.with_name("weights.safetensors")
    import_network(checkpoint(path, **changes), output)
    return output


def bytes_of(content: object, *, new: bool = True) -> bytes:
    """The content of a file of torch's own format, or of the one before it."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


# --- what is imported -------------------------------------------------------------------------


def test_the_weights_file_tells_where_it_comes_from(state, tmp_path):
    path = tmp_path / "x2 best.pth"
    torch.save(state, path)
    net, told = load_network(imported(path))
    assert told == Imported(
        backbone_name="vdsr-authors",
        backbone={"path": "vdsr", "images": "signed-bgr"},
        scale=2,
        loss_name="l1-tlw",
        source="x2 best.pth",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    assert (net.signed, net.bgr, net.training) == (True, True, False)
    assert torch.equal(net.net.head.weight, state["conv1.0.weight"])
    assert torch.equal(net.net.tail.weight, state["conv2.weight"])


@pytest.mark.parametrize(
    "form", ["torch", "older torch", "nested", "parallel", "both", "compiled", "compiled parallel"]
)
def test_a_state_dict_is_found_in_every_form_of_file(state, form):
    parallel = {f"module.{key}": value for key, value in state.items()}
    content = {
        "nested": {"epoch": 3, "state_dict": state},
        "parallel": parallel,
        "both": {"state_dict": parallel},
        "compiled": {f"_orig_mod.{key}": value for key, value in state.items()},
        "compiled parallel": {f"module._orig_mod.{key}": value for key, value in state.items()},
    }.get(form, state)
    found = read_state(bytes_of(content, new=form != "older torch"))
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_safetensors_are_read_whatever_the_file_is_called(state, tmp_path):
    save_file(state, tmp_path / "model.bin")
    net, _ = load_network(imported(tmp_path / "model.bin"))
    assert torch.equal(net.net.head.weight, state["conv1.0.weight"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_imported_network_is_scored_like_a_cell_without_a_seed(state, tmp_path, protocol):
    torch.save(state, tmp_path / "x2.pth")
    weights, output = imported(tmp_path / "x2.pth"), tmp_path / "scores.csv"
    pairs = toy_pairs(tmp_path, use="test", protocol=protocol)
    evaluate_cells({weights: output}, [pairs], **HERE)
    scores = pd.read_csv(output, keep_default_na=False)
    named = scores[["backbone", "scale", "loss", "seed", "protocol"]].drop_duplicates()
    assert named.values.tolist() == [["vdsr-authors", 2, "l1-tlw", "", protocol]]
    if protocol == "paper":
        net, _ = load_network(weights)
        for (lr, hr), value in zip(Pairs(pairs), scores["psnr_y"], strict=True):
            with torch.no_grad():
                assert value == psnr_y(net(lr[None]).clamp(0, 1), hr[None]).item()


# --- refusals ---------------------------------------------------------------------------------


def test_every_missing_and_unknown_key_is_named_with_the_file(state, tmp_path):
    wrong = {key: value for key, value in state.items() if key != "conv2.weight"}
    torch.save(wrong | {"conv9.weight": torch.zeros(1)}, tmp_path / "x2.pth")
    with pytest.raises(ValueError, match=r"x2\.pth: .*missing: conv2\.w.*unknown: conv9\.weight"):
        imported(tmp_path / "x2.pth")
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_checkpoint_of_another_scale_is_refused(tmp_path):
    torch.save(authors_state_dict("edsr", 2), tmp_path / "x2.pth")
    with pytest.raises(ValueError, match=r"x2\.pth: .*edsr x3 .*is the name or the scale another"):
        imported(tmp_path / "x2.pth", backbone="edsr", scale=3)


def test_a_file_that_is_not_there_is_told_as_such(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        imported(tmp_path / "absent.pth")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("form", ["torch", "older torch", "safetensors"])
def test_a_truncated_file_is_refused(state, form, share):
    content = save(state) if form == "safetensors" else bytes_of(state, new=form == "torch")
    with pytest.raises(ValueError, match="cannot be read as"):
        read_state(content[: int(share * len(content))])


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=100)
@given(data=st.data(), form=st.sampled_from(["torch", "older torch", "safetensors"]))
def test_a_damaged_file_is_refused_as_a_mistake_if_it_is_not_read(data, form):
    state = {"a.weight": torch.ones(4, 4), "b": torch.zeros(3)}
    content = bytearray(
        save(state) if form == "safetensors" else bytes_of(state, new=form == "torch")
    )
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        read_state(bytes(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "found a list"),
        (torch.zeros(3), "found a Tensor"),
        ({"epoch": 3, "lr": 0.1}, "found a dict with the keys epoch, lr"),
        ({"state_dict": {0: torch.zeros(1)}}, "found a dict with the keys 0"),
        (torch.nn.Conv2d(3, 3, 3), r"tensors alone.*net\.state_dict\(\)"),
    ],
)
def test_what_is_no_state_dict_is_refused_with_what_to_do(content, words):
    with pytest.raises(ValueError, match=words):
        read_state(bytes_of(content))


def test_integers_in_place_of_weights_are_refused(state, tmp_path):
    torch.save({key: value.to(torch.int32) for key, value in state.items()}, tmp_path / "x2.pth")
    with pytest.raises(ValueError, match=r"x2\.pth: .*expected torch\.float32, found torch\.int32"):
        imported(tmp_path / "x2.pth")


class Program:
    """What a hostile checkpoint holds: it runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_program_in_a_checkpoint_is_not_run(tmp_path):
    content = bytes_of({"w": Program(tmp_path / "made")})
    assert b"mkdir" in content
    with pytest.raises(ValueError, match="nothing else is read"):
        read_state(content)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"backbone": "edrs"}, r"import: backbone: expected one of .*did you mean 'edsr'"),
        ({"name": "of the authors"}, r"import: name: expected a name of letters"),
        ({"loss": "l1_tlw"}, r"import: loss: expected a name of letters"),
        ({"scale": 5}, r"import: scale: expected 2, 3 or 4, found 5"),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_its_key(changes, told):
    content = {"name": "n", "backbone": "edsr", "scale": 2, "checkpoint": "x.pth"} | changes
    with pytest.raises(ValueError) as caught:
        Checkpoint.parse(content, "import")
    assert re.match(told, str(caught.value))
