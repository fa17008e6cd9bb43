"""What trainings ask a cluster for."""

from pathlib import Path

import pytest
import yaml
from configs import read_config

from tlw.config.config import Config
from tlw.config.resources import ANY, KNOWN, Request, request_for

ROOT = Path(__file__).parents[2]


def config(**changes) -> Config:
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    return Config.parse(content | changes, "config")


def asked(entries: dict, backbone: str, scale: int, *, path: str | None = None, **options) -> dict:
    requests = {name: Request(**entry) for name, entry in entries.items()}
    return request_for(requests, backbone, path or backbone, scale, **options)


def test_a_deep_network_on_large_maps_asks_for_more():
    rcan, vdsr = asked({}, "rcan", 2), asked({}, "vdsr", 4)
    assert rcan["runtime"] > vdsr["runtime"] and rcan["mem_mb"] > vdsr["mem_mb"]


def test_the_narrower_entry_counts_key_by_key():
    entries = {"edsr": {"runtime": 7, "gpu": 2}, "edsr_x3": {"runtime": 5}}
    assert asked(entries, "edsr", 3) == {"runtime": 5, "mem_mb": ANY["mem_mb"], "gpu": 2}
    assert asked(entries, "edsr", 2) == {
        "runtime": 7,
        "mem_mb": KNOWN["edsr_x2"]["mem_mb"],
        "gpu": 2,
    }
    assert asked(entries, "rcan", 3) == {**ANY, **KNOWN["rcan"]}


def test_a_network_under_another_name_asks_for_what_its_kind_does():
    assert asked({}, "edsr-small", 2, path="edsr") == asked({}, "edsr", 2)
    assert asked({}, "mine", 2, path="my_networks:Mine") == ANY


def test_no_gpu_is_asked_for_by_who_computes_on_the_cpu():
    assert asked({"vdsr": {"gpu": 4}}, "vdsr", 2, device="cpu")["gpu"] == 0
    assert asked({"vdsr": {"gpu": 0}}, "vdsr", 2)["gpu"] == 0


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        (720, 720),
        ("720", 720),
        ("24:00:00", 1440),
        ("00:30:00", 30),
        ("30:00", 30),
        ("10:30", 11),  # ten and a half, as `sbatch --time=10:30` has it
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-12:00:00", 2160),
    ],
)
def test_a_time_may_be_written_as_slurm_has_it(written, minutes):
    found = config(resources={"rcan": {"runtime": written}})
    assert found.resources["rcan"].runtime == minutes


def test_a_time_in_a_file_needs_no_quotes(tmp_path):
    path = tmp_path / "mine.yaml"
    text = (ROOT / "config" / "config.yaml").read_text()
    path.write_text(text + "\nresources:\n  rcan: {runtime: 24:00:00}\n")
    assert read_config(path).resources["rcan"].runtime == 1440


def test_they_are_no_part_of_a_cell():
    changed = config(resources={"rcan": {"runtime": 1}, "vdsr_x4": {"mem_mb": 1, "gpu": 0}})
    for grid in changed.grids:
        assert changed.cells(grid) == config().cells(grid)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"rcn": {"runtime": 1}}, r"resources: .*found 'rcn'; did you mean 'rcan'"),
        ({"rcan_x5": {"runtime": 1}}, r"resources: .*found 'rcan_x5'"),
        ({"rcan": {"runtim": 1}}, r"resources\.rcan\.runtim: unknown key; did you mean 'runtime'"),
        (
            {"rcan": {"runtime": "1h"}},
            r"resources\.rcan\.runtime: expected minutes, or a time as SLURM has it .*found '1h'",
        ),
        ({"rcan": {"runtime": "24h"}}, r"runtime: expected minutes, or a time as SLURM .*'24h'"),
        ({"rcan": {"runtime": "0:0"}}, r"rcan\.runtime: expected greater than or equal to 1"),
        ({"rcan": {"runtime": "9999-0"}}, r"rcan\.runtime: expected less than or equal to 525600"),
        ({"rcan": {"mem_mb": 0}}, r"resources\.rcan\.mem_mb: expected greater than or equal to 1"),
    ],
)
def test_a_mistake_is_told_by_its_key(entries, words):
    with pytest.raises(ValueError, match=words):
        config(resources=entries)
