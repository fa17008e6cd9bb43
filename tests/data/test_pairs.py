"""The pairs file: written whole or not at all, read from anywhere, equal to what it was made of."""

import csv
import errno
import hashlib
import os
import pickle
import resource
import shutil
import signal
import subprocess
import time
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from png_files import write_image
from torch.utils.data import DataLoader

from tlw.data.pairs import Pairs, write_pairs
from tlw.data.protocols import PROTOCOLS, protocol
from tlw.imaging.image_files import read_image
from tlw.imaging.ranges import crop_to_multiple, to_tensor, to_unit
from tlw.report.tables import PUBLISHED
from tlw.scoring.metrics import psnr_y

PAPER, STANDARD = PROTOCOLS["paper"], PROTOCOLS["standard"]
CPU = torch.device("cpu")
SIZES = [(40, 52), (31, 30), (64, 37)]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    paths = [folder / f"image {i}.png" for i in range(len(SIZES))]
    for path, size in zip(paths, SIZES, strict=True):
        write_image(path, random.integers(0, 256, (*size, 3), dtype=np.uint8))
    return paths


@pytest.fixture(scope="module", params=["paper", "standard"])
def written(request, images, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("pairs") / f"{request.param}.h5"
    rules = protocol(request.param)
    write_pairs(images, target, name="toy", scale=2, protocol=rules, use="test")
    return target


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "pairs.h5"


def write(images, target, scale=2, protocol=PAPER, use="test", **options):
    write_pairs(images, target, name="toy", scale=scale, protocol=protocol, use=use, **options)


def test_pairs_are_what_the_protocol_makes_of_the_images(images, written):
    pairs = Pairs(written)
    rules = pairs.protocol
    assert len(pairs) == 3
    for path, (lr, hr) in zip(images, pairs, strict=True):
        expected = crop_to_multiple(read_image(path), rules.multiple("test", 2))
        assert lr.dtype == hr.dtype == torch.float32
        assert torch.equal(hr, to_tensor(expected))
        assert torch.equal(lr, to_tensor(rules.downsample(expected, 2)))


def test_a_file_says_what_it_is_made_of(images, written):
    pairs = Pairs(written, scale=2)
    assert pairs.names == ("image 0.png", "image 1.png", "image 2.png")
    assert pairs.hashes == tuple(hashlib.sha256(p.read_bytes()).hexdigest() for p in images)
    assert pairs.image_set == "toy" and pairs.scale == 2 and pairs.use == "test"
    assert pairs.protocol == protocol(written.stem)
    assert pairs.multiple == pairs.protocol.multiple("test", 2)
    assert pairs.sizes == tuple(tuple(hr.shape[1:]) for _, hr in pairs)
    with h5py.File(written, locking=False) as file:
        assert set(file) == {"grey", "hr", "lr", "names", "pixels", "sha256", "sizes"}
        assert {"tlw", "numpy", "h5py", "complete"} <= set(file.attrs)
        assert file["hr/0001"].dtype == np.uint8
        assert file["lr/0001"].dtype == pairs.protocol.lr_dtype


def test_a_file_says_which_images_have_a_single_channel(target, tmp_path):
    level = np.arange(84 * 84, dtype=np.uint8).reshape(84, 84)
    alike = np.stack(3 * [level], axis=-1)
    stored = {"L": level, "RGB": alike, "LA": np.stack([level, level], axis=-1), "1": level > 99}
    paths = [tmp_path / f"{mode}.png" for mode in stored]
    for path, samples in zip(paths, stored.values(), strict=True):
        Image.fromarray(samples).save(path)
    write(paths, target)
    pairs = Pairs(target)
    assert pairs.grey == (True, False, True, True)
    assert torch.equal(pairs[0][1], pairs[1][1])  # as pixels they are one


def test_the_same_images_give_the_same_bytes_with_any_number_of_workers(images, tmp_path):
    for workers in (1, 3):
        write(images, tmp_path / f"{workers}.h5", workers=workers)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


def test_the_digest_changes_with_every_ingredient_and_with_nothing_else(images, tmp_path):
    variants = [
        (images, {}),
        (images[:2], {}),
        (images[::-1], {}),
        (images, {"scale": 3}),
        (images, {"protocol": STANDARD}),
        (images, {"protocol": STANDARD, "use": "train"}),
    ]
    digests = []
    for index, (paths, options) in enumerate(variants):
        write(paths, tmp_path / f"{index}.h5", **options)
        digests.append(Pairs(tmp_path / f"{index}.h5").digest())
    assert len(set(digests)) == len(variants)
    shutil.copy(tmp_path / "0.h5", tmp_path / "copy.h5")
    assert Pairs(tmp_path / "copy.h5").digest() == digests[0]
    write(images, tmp_path / "elsewhere.h5", sources="another mirror")
    elsewhere = Pairs(tmp_path / "elsewhere.h5")
    assert elsewhere.sources == "another mirror" and elsewhere.digest() == digests[0]


def test_a_file_of_before_does_not_say_where_its_images_came_from_and_is_read(written):
    with h5py.File(written, "r+") as file:
        del file.attrs["sources"]
    assert Pairs(written).sources == "not on record" and len(Pairs(written)) == 3


def test_training_crops_to_its_own_multiple(images, target):
    write(images, target, use="train")
    assert Pairs(target).sizes == ((28, 28), (28, 28), (56, 28))


@pytest.mark.parametrize("device", [None, CPU])
def test_a_crop_is_that_part_of_the_pair_as_it_is_stored(written, device):
    pairs = Pairs(written, device=device)
    for index in range(len(pairs)):
        lr, hr = pairs.stored(index)
        height, width = lr.shape[1:]
        for y, x, size in [(0, 0, 5), (height - 7, width - 7, 7), (3, 1, 1)]:
            small_lr, small_hr = pairs.crop(index, y, x, size)
            assert torch.equal(small_lr, lr[:, y : y + size, x : x + size])
            assert torch.equal(small_hr, hr[:, 2 * y : 2 * (y + size), 2 * x : 2 * (x + size)])


@pytest.mark.parametrize("device", [None, CPU])
@pytest.mark.parametrize(("rules", "lr_type"), [(PAPER, torch.float32), (STANDARD, torch.uint8)])
def test_what_is_stored_are_the_levels_of_the_pair(images, target, rules, lr_type, device):
    write(images, target, protocol=rules)
    pairs = Pairs(target, device=device)
    for index, pair in enumerate(pairs):
        stored = pairs.stored(index)
        assert [image.dtype for image in stored] == [lr_type, torch.uint8]
        assert all(torch.equal(to_unit(s), image) for s, image in zip(stored, pair, strict=True))


def test_what_is_read_is_the_reader_s_own(written):
    pairs = Pairs(written, device=CPU)
    for image in (*pairs.stored(0), *pairs[0], *pairs.crop(0, 0, 0, 4)):
        before = content(pairs)
        image.fill_(1)
        assert content(pairs) == before


@pytest.mark.parametrize(("y", "x", "size"), [(-1, 0, 4), (0, -1, 4), (0, 0, 0), (9, 0, 12)])
def test_a_crop_outside_the_image_is_refused_with_its_size(written, y, x, size):
    with pytest.raises(ValueError, match=r"image 0\.png, whose lr has"):
        Pairs(written).crop(0, y, x, size)


def test_an_index_out_of_range_ends_an_iteration(written):
    pairs = Pairs(written)
    assert torch.equal(pairs[-1][0], pairs[2][0])
    for read in (lambda: pairs[3], lambda: pairs.crop(3, 0, 0, 1)):
        with pytest.raises(IndexError):
            read()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_set5_through_a_pairs_file_gives_the_papers_bicubic_row(shared, target, scale):
    write(sorted((shared / "datasets" / "Set5").iterdir()), target, scale=scale)
    pairs = Pairs(target)
    values = [
        psnr_y(PAPER.finish(PAPER.upsample_bicubic(lr[None], scale)), hr[None]).item()
        for lr, hr in pairs
    ]
    with PUBLISHED.open(newline="") as file:
        rows = {(r["backbone"], r["dataset"], r["scale"]): r for r in csv.DictReader(file)}
    assert f"{np.mean(values):.4f}" == rows["bicubic", "Set5", str(scale)]["psnr_y"]


def content(pairs: Pairs) -> str:
    digest = hashlib.sha256()
    for lr, hr in pairs:
        digest.update(lr.numpy().tobytes() + hr.numpy().tobytes())
    return digest.hexdigest()


def report_content(pairs: Pairs, queue) -> None:
    for _ in range(5):
        queue.put(content(pairs))


@pytest.mark.parametrize(("method", "device"), [("fork", None), ("fork", CPU), ("spawn", None)])
def test_processes_read_the_same_file_at_once(images, target, method, device):
    write(images, target)
    pairs = Pairs(target, device=device)
    expected = content(pairs)  # opened here before the others start
    context = get_context(method)
    queue = context.Queue()
    readers = [context.Process(target=report_content, args=(pairs, queue)) for _ in range(2)]
    for reader in readers:
        reader.start()
    found = [queue.get(timeout=60) for _ in range(10)]
    for reader in readers:
        reader.join()
    assert {*found, content(pairs)} == {expected}
    assert [reader.exitcode for reader in readers] == [0, 0]


def report_error(pairs: Pairs, queue) -> None:
    try:
        queue.put(content(pairs))
    except ValueError as error:
        queue.put(str(error))


def test_a_forked_process_opens_the_file_itself(images, target):
    write(images, target)
    pairs = Pairs(target)
    expected = content(pairs)
    target.unlink()  # the handle that is open here stays good, a new one cannot be had
    context = get_context("fork")
    queue = context.Queue()
    reader = context.Process(target=report_error, args=(pairs, queue))
    reader.start()
    assert "no such pairs file" in queue.get(timeout=60)
    reader.join()
    assert content(pairs) == expected


def test_a_data_loader_with_workers_reads_what_the_main_process_reads(written):
    pairs = Pairs(written)
    _ = pairs[0]
    loader = DataLoader(pairs, batch_size=1, num_workers=2, multiprocessing_context="fork")
    for (lr, hr), (expected_lr, expected_hr) in zip(loader, pairs, strict=True):
        assert torch.equal(lr[0], expected_lr) and torch.equal(hr[0], expected_hr)


def test_pairs_can_be_pickled_and_stay_small(written):
    for device in (None, CPU):
        pairs = Pairs(written, device=device)
        expected = content(pairs)
        pickled = pickle.dumps(pairs)
        assert len(pickled) < 2000
        assert content(pickle.loads(pickled)) == expected  # noqa: S301 - written two lines above


def test_pairs_kept_on_a_device_do_not_need_the_file_any_more(images, target):
    write(images, target)
    pairs = Pairs(target, device=CPU)
    expected = content(pairs)
    target.unlink()
    assert content(pairs) == expected


def hold_locked(target, held, done) -> None:
    with h5py.File(target, "r+", locking=True):
        held.set()
        done.wait(60)


def test_a_lock_held_by_another_process_is_no_obstacle(images, target):
    write(images, target)
    context = get_context("fork")
    held, done = context.Event(), context.Event()
    holder = context.Process(target=hold_locked, args=(target, held, done))
    holder.start()
    assert held.wait(60)
    with pytest.raises(OSError, match="lock"):
        h5py.File(target, "r", locking=True)
    assert len(Pairs(target)[0]) == 2
    done.set()
    holder.join()


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"none\.h5: no such pairs file; build it"):
        Pairs(tmp_path / "none.h5")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(images, target, share):
    write(images, target)
    os.truncate(target, int(share * target.stat().st_size))
    with pytest.raises(ValueError, match=r"pairs\.h5: expected a whole HDF5 file.*delete it"):
        Pairs(target)


def test_a_file_of_another_format_is_refused(images, target):
    with h5py.File(target, "w") as file:
        file["hr"] = [1, 2, 3]
    with pytest.raises(ValueError, match=r"pairs\.h5: expected format tlw-pairs.*delete it"):
        Pairs(target)
    write(images, target)
    for attribute, value in [("format_version", 99), ("complete", False)]:
        write(images, target)
        with h5py.File(target, "r+") as file:
            file.attrs[attribute] = value
        with pytest.raises(ValueError, match=r"99|not complete"):
            Pairs(target)


def test_a_protocol_with_other_fields_is_refused(images, target):
    write(images, target)
    with h5py.File(target, "r+") as file:
        file.attrs["protocol_fields"] = '{"name": "paper", "gamma": 2.2}'
    with pytest.raises(ValueError, match=r"pairs\.h5: .*its protocol has other fields"):
        Pairs(target)


def test_a_file_of_another_scale_is_refused(written):
    with pytest.raises(ValueError, match="expected pairs of scale 4, found scale 2"):
        Pairs(written, scale=4)


def test_an_image_smaller_than_the_multiple_is_refused_by_name_with_sizes(target, tmp_path):
    small = tmp_path / "sources" / "small.png"
    write_image(small, np.zeros((27, 60, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"small\.png.*27 x 60.*28.*protocol paper, x2"):
        write([small], target, scale=2, use="train")
    assert not target.exists()


def test_an_unreadable_or_missing_image_is_named_and_nothing_is_left(images, target, tmp_path):
    broken = tmp_path / "sources" / "broken.png"
    broken.parent.mkdir()
    broken.write_bytes(images[0].read_bytes()[:200])
    for path in (broken, broken.with_name("gone.png")):
        with pytest.raises(ValueError, match=rf"{path.name}: expected an image"):
            write([*images, path], target)
    assert [path.name for path in tmp_path.iterdir()] == ["sources"]


def test_no_images_are_refused(target):
    with pytest.raises(ValueError, match="toy has no images"):
        write([], target)


def test_a_killed_writer_leaves_no_file_and_a_second_one_succeeds(images, target):
    many = [images[0]] * 20_000  # some seconds of work
    writer = get_context("fork").Process(target=write, args=(many, target))
    writer.start()
    deadline = time.monotonic() + 30
    while not any(p.stat().st_size > 100_000 for p in target.parent.glob(".*.part")):
        assert writer.is_alive() and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert not target.exists()
    write(images, target)
    assert len(Pairs(target)) == 3


def write_with_little_space(images, target, allowed, queue) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, allowed))
    try:
        write(images, target)
    except OSError as error:
        queue.put((error.errno, str(error)))
    else:
        queue.put(None)


def test_a_write_that_fails_midway_is_one_clear_error_and_leaves_nothing(images, target):
    """With a limit on the file size, which needs no root; HDF5's own output crashes on some."""
    write(images, target)
    size = target.stat().st_size
    target.unlink()
    context = get_context("fork")
    for allowed in range(0, size, size // 25):
        queue = context.Queue()
        arguments = (images, target, allowed, queue)
        writer = context.Process(target=write_with_little_space, args=arguments)
        writer.start()
        writer.join(60)
        assert writer.exitcode == 0, f"after {allowed} bytes"
        code, message = queue.get(timeout=5)
        assert code == errno.EFBIG and "pairs.h5: could not be written" in message
        assert not list(target.parent.iterdir())


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 24 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a tiny file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(images, tiny_disk):
    target = tiny_disk / "pairs.h5"
    with pytest.raises(OSError, match=r"pairs\.h5: could not be written.*No space left") as caught:
        write(images, target)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tiny_disk.iterdir())
    write(images[:1], target, scale=4)  # the space is free again
    assert len(Pairs(target)) == 1


def test_names_that_are_no_utf_8_are_told_before_any_image_is_read(target, tmp_path):
    absent = [tmp_path / os.fsdecode(b"caf\xe9.png"), tmp_path / "absent.png"]
    with pytest.raises(ValueError, match="expected names in UTF-8, found 1 in another encoding"):
        write(absent, target)


def test_an_image_of_too_many_pixels_is_told_with_the_option(images, target):
    with pytest.raises(ValueError, match=r"image 0\.png: .* 2,079 pixels.*--max-pixels 2080"):
        write(images, target, max_pixels=2079)
    assert not target.exists()
