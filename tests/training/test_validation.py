"""Validation: PSNR on images that are neither trained nor tested on, and what it may choose."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import (
    CROPS,
    FRAGILE_VDSR,
    SMALL_VDSR,
    photograph,
    run,
    tlw_train,
    toy_cell,
    toy_pairs,
    write_cell,
)
from trainings import assert_same_results, last_step, train_here

from tlw.data.pairs import Pairs
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import to_uint8, to_unit
from tlw.networks.sr_net import build_network, load_network
from tlw.scoring.metrics import psnr_y
from tlw.training.validation import Validation

EVERY_OTHER = {"image_set": "watched", "every": 2, "images": 2, "size": 48}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    images = [
        photograph("rocket"),
        photograph("chelsea", size=(40, 56)),
        photograph("coffee"),
    ]
    folder = tmp_path_factory.mktemp("watched")
    return toy_pairs(folder, images, name="watched", use="test")


def middle(image, size=48):
    """What is watched of an image, which the protocol crops to multiples of 12 before."""
    height, width = (side // 12 * 12 for side in image.shape[:2])
    top, left = ((side - size) // 4 * 2 for side in (height, width))
    return image[top : top + size, left : left + size]


def tensors(path):
    return {key: value.tolist() for key, value in load_file(path).items()}


def watched_cell(loss="l1", **options):
    return toy_cell(loss, **{"validation": EVERY_OTHER, **options})


@pytest.mark.parametrize("protocol", ["paper", "standard"])
def test_it_is_the_protocols_psnr_of_the_middles_of_the_first_images(tmp_path, protocol):
    images = [photograph("rocket"), photograph("chelsea", size=(40, 56)), photograph("coffee")]
    path = toy_pairs(tmp_path, images, name="watched", use="test", protocol=protocol)
    cell = watched_cell(protocol=protocol)
    torch.manual_seed(0)
    net = build_network(cell.backbone, 2)
    expected = []
    for index in (0, 1):
        lr, hr = Pairs(path)[index]
        size = min(48, *hr.shape[1:])  # the second one is smaller
        top, left = ((side - size) // 4 * 2 for side in hr.shape[1:])
        hr = hr[:, top : top + size, left : left + size]
        with torch.no_grad():
            sr = net(lr[:, top // 2 :, left // 2 :][None, :, : size // 2, : size // 2]).clamp(0, 1)
        border = 0
        if protocol == "standard":
            sr, border = (sr * 255).round() / 255, 2
        expected.append(float(psnr_y(sr, hr[None], border=border)))
    found = Validation(cell, path, torch.device("cpu")).psnr(net.train())
    assert found == pytest.approx(sum(expected) / 2, abs=1e-4)
    assert net.training


def test_an_image_without_any_error_counts_for_a_hundred_decibel(tmp_path):
    flat = photograph() * 0
    path = toy_pairs(tmp_path, [flat], name="watched", use="test", protocol="standard")
    cell = watched_cell(protocol="standard")

    class Black(torch.nn.Module):
        def forward(self, lr):
            return torch.zeros(1, 3, *(2 * side for side in lr.shape[2:]))

    assert Validation(cell, path, torch.device("cpu")).psnr(Black()) == 100


def test_a_training_looks_every_so_many_steps_and_at_its_end_and_is_the_same_without(
    tmp_path, pairs, watched
):
    folder = train_here(
        watched_cell(recipe=CROPS | {"steps_per_epoch": 5, "epochs": 1}),
        pairs, tmp_path / "watched", validation=watched,
    )  # fmt: skip
    record = json.loads((folder / "record.json").read_text())
    assert list(record["validation"]) == ["2", "4", "5"] and record["scored_step"] == 5
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    shown = {event.step: event.value for event in board.Scalars("validation/psnr")}
    found = {int(step): psnr for step, psnr in record["validation"].items()}
    assert shown == pytest.approx(found, abs=1e-3)
    assert record["pairs"]["watched"] == Pairs(watched).digest()
    net, cell = load_network(folder / "weights.safetensors")
    assert found[5] == pytest.approx(
        Validation(cell, watched, torch.device("cpu")).psnr(net), abs=1e-4
    )
    alone = train_here(
        toy_cell(recipe=CROPS | {"steps_per_epoch": 5, "epochs": 1}), pairs, tmp_path / "alone"
    )
    weights = [load_network(f / "weights.safetensors")[0].state_dict() for f in (folder, alone)]
    assert all(torch.equal(weights[0][key], value) for key, value in weights[1].items())


def test_the_best_weights_are_saved_when_asked_for_and_the_last_beside(tmp_path, pairs, watched):
    """A rate so high that the network gets worse: the best step is not the last."""
    recipe = CROPS | {"learning_rate": 0.3, "steps_per_epoch": 4}
    cell = watched_cell(recipe=recipe, validation=EVERY_OTHER | {"keep": "best"})
    folder = train_here(cell, pairs, tmp_path, validation=watched)
    record = json.loads((folder / "record.json").read_text())
    looks = {int(step): psnr for step, psnr in record["validation"].items()}
    assert record["scored_step"] == max(looks, key=looks.get) < 8
    validation = Validation(cell, watched, torch.device("cpu"))
    for name, step in (("weights", record["scored_step"]), ("weights_last", 8)):
        net, _ = load_network(folder / f"{name}.safetensors")
        assert validation.psnr(net) == pytest.approx(looks[step], abs=1e-4)


def test_killed_and_resumed_it_ends_with_the_same_weights_and_looks(tmp_path, pairs, watched):
    recipe = CROPS | {"learning_rate": 0.3, "steps_per_epoch": 4, "ema": 0.5}
    options = {"recipe": recipe, "validation": EVERY_OTHER | {"keep": "best"}}
    cell = watched_cell(backbone=FRAGILE_VDSR, **options)
    whole = train_here(cell, pairs, tmp_path / "whole", validation=watched)
    write_cell(cell, tmp_path / "killed")
    command = tlw_train(tmp_path / "killed", pairs, "--validation", watched)
    command += ["--checkpoint-seconds", "0"]
    assert run(command, TOYS_SIGNAL="SIGKILL@6").returncode == -9
    assert last_step(tmp_path / "killed") == 5
    done = run(command)
    assert done.returncode == 0, done.stderr
    assert_same_results(tmp_path / "killed", whole)
    records = [json.loads((tmp_path / n / "record.json").read_text()) for n in ("whole", "killed")]
    assert records[0]["validation"] == records[1]["validation"]
    assert records[0]["scored_step"] == records[1]["scored_step"]


def test_what_a_training_without_the_best_does_not_need_goes(tmp_path, pairs, watched):
    best = watched_cell(validation=EVERY_OTHER | {"keep": "best"})
    train_here(best, pairs, tmp_path, validation=watched)
    assert (tmp_path / "weights_last.safetensors").exists()
    train_here(watched_cell(), pairs, tmp_path, validation=watched)
    assert not (tmp_path / "weights_last.safetensors").exists()


def test_pairs_that_are_missing_in_vain_or_others_are_told(tmp_path, pairs, watched):
    with pytest.raises(ValueError, match=r"--validation: expected pairs of watched.*found none"):
        train_here(watched_cell(), pairs, tmp_path / "cell")
    with pytest.raises(ValueError, match=r"--validation: expected none, as the cell has no"):
        train_here(toy_cell(), pairs, tmp_path / "cell", validation=watched)
    with pytest.raises(ValueError, match=r"expected pairs of watched, .*found toy, use train"):
        train_here(watched_cell(), pairs, tmp_path / "cell", validation=pairs)


def test_a_set_that_is_trained_or_tested_on_chooses_nothing():
    for name, use in (("toy", "train"), ("tested", "test")):
        with pytest.raises(ValueError, match=f"grids.toy: validation.image_set.*is in {use}"):
            watched_cell(validation=EVERY_OTHER | {"image_set": name}, test=["tested"])


def test_images_to_show_are_kept_at_each_look_with_their_weights_and_change_nothing(
    tmp_path, pairs, watched
):
    shown = {"shown": ["0.png"], "every": 3}
    looks = {}
    for name, change in (("shown", shown), ("not", {})):
        cell = watched_cell("l1-tlw", validation=EVERY_OTHER | change)
        folder = train_here(cell, pairs, tmp_path / name, validation=watched)
        looks[name] = sorted(path.name for path in folder.glob("looks/*.png"))
    kinds = ("hr", "sr", "weights")
    assert looks["shown"] == [f"step-{n:08d}_0_{kind}.png" for n in (3, 6) for kind in kinds]
    assert looks["not"] == []
    for name in ("weights", "weight_net"):
        one, other = (tmp_path / n / f"{name}.safetensors" for n in ("shown", "not"))
        assert tensors(one) == tensors(other)

    def picture(kind):
        return read_image(tmp_path / "shown" / "looks" / f"step-00000006_0_{kind}.png")

    assert picture("hr").tolist() == middle(photograph("rocket")).tolist()
    net, _ = load_network(tmp_path / "shown" / "weights.safetensors")
    assert picture("weights").mean() / 255 == pytest.approx(0.3, abs=0.02)  # k
    lr, _ = Validation(cell, watched, torch.device("cpu"))._middle(0)
    with torch.no_grad():
        sr = to_uint8(net(to_unit(lr)[None])[0].clamp(0, 1))
    assert abs(picture("sr").astype(int) - sr).max() <= 1
    board = EventAccumulator(str(tmp_path / "shown" / "tensorboard")).Reload()
    assert "validation/0_weights" in board.Tags()["images"]
    train_here(toy_cell("l1-tlw"), pairs, tmp_path / "shown")
    assert not (tmp_path / "shown" / "looks").exists()  # it was of another training


def test_an_image_to_show_that_is_not_there_is_told_with_those_that_are(tmp_path, pairs, watched):
    cell = watched_cell(validation=EVERY_OTHER | {"shown": ["butterfly.png"]})
    with pytest.raises(ValueError, match=r"validation\.shown: expected one of 0\.png, 1\.png"):
        train_here(cell, pairs, tmp_path, validation=watched)


# --- starting from another network ------------------------------------------------------------


def test_a_training_starts_from_the_weights_of_another_scale(tmp_path, pairs):
    first = train_here(toy_cell(), pairs, tmp_path / "x2") / "weights.safetensors"
    threes = toy_pairs(tmp_path, scale=3)
    start = "results/toy/{backbone}_x2_{loss}_seed{seed}/weights.safetensors"
    cell = toy_cell(scale=3, start=start, recipe=CROPS | {"size": 36})
    assert cell.start == "results/toy/toy_x2_l1_seed0/weights.safetensors"
    folder = train_here(cell, threes, tmp_path / "x3", start=first)
    record = json.loads((folder / "record.json").read_text())
    assert len(record["start"]) == 64

    still = toy_cell(scale=3, start=start, recipe=CROPS | {"size": 36, "learning_rate": 1e-12})
    near = train_here(still, threes, tmp_path / "near", start=first)
    states = [load_network(p)[0].state_dict() for p in (first, near / "weights.safetensors")]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, atol=1e-9, rtol=0)


def test_what_does_not_fit_another_scale_begins_afresh_and_is_named(tmp_path, pairs, caplog):
    edsr = {"path": "edsr", "arguments": {"features": 4, "blocks": 1}}
    first = train_here(toy_cell(backbone=edsr), pairs, tmp_path / "x2") / "weights.safetensors"
    threes = toy_pairs(tmp_path, scale=3)
    recipe = CROPS | {"size": 36}
    cell = toy_cell(backbone=edsr, scale=3, start="elsewhere/edsr.safetensors", recipe=recipe)
    with caplog.at_level("INFO"):
        train_here(cell, threes, tmp_path / "x3", start=first)
    [told] = [line for line in caplog.messages if "starts from the weights" in line]
    assert told.endswith("of its own start: upsample.0.bias, upsample.0.weight")


def test_a_start_that_is_missing_in_vain_or_of_another_network_is_told(tmp_path, pairs):
    first = train_here(toy_cell(), pairs, tmp_path / "x2") / "weights.safetensors"
    cell = toy_cell(start="w.safetensors", seeds=[1])
    with pytest.raises(ValueError, match=r"--start: expected w\.safetensors, found none"):
        train_here(cell, pairs, tmp_path / "cell")
    with pytest.raises(ValueError, match="--start: expected none"):
        train_here(toy_cell(), pairs, tmp_path / "cell", start=first)
    wider = {"path": "vdsr", "arguments": {**SMALL_VDSR["arguments"], "features": 6}}
    cell = toy_cell(start="w.safetensors", backbone=wider)
    with pytest.raises(
        ValueError, match=r"weights of the config's vdsr\(features=6, .*found vdsr\(f"
    ):
        train_here(cell, pairs, tmp_path / "cell", start=first)


def test_another_start_is_another_training(tmp_path, pairs):
    weights = []
    for seed in (1, 2):
        cell = toy_cell(seeds=[seed], backbone=FRAGILE_VDSR)
        weights.append(train_here(cell, pairs, tmp_path / f"{seed}") / "weights.safetensors")
    write_cell(toy_cell(start="w.safetensors", backbone=FRAGILE_VDSR), tmp_path / "cell")
    command = tlw_train(tmp_path / "cell", pairs, "--checkpoint-seconds", "0", "--start")
    assert run([*command, weights[0]], TOYS_SIGNAL="SIGKILL@4").returncode == -9
    done = run([*command, weights[1]])
    assert done.returncode == 1
    assert "a checkpoint of another training: expected start" in done.stderr


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ("results/{grid}/w.safetensors", "expected no braces but {backbone}, {scale}"),
        ("results/toy/{backbone}_x{scale}_{loss}_seed{seed}/w.safetensors", "its own weights"),
        ("$NOWHERE/w.safetensors", "expected variables that are set"),
    ],
)
def test_a_start_that_no_cell_can_have_is_told_with_its_key(start, told):
    with pytest.raises(ValueError, match=r"grids\.toy: start: ") as raised:
        toy_cell(start=start)
    assert told in str(raised.value)
