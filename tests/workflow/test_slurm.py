"""`snakemake --profile slurm` on a real SLURM: what happens to its jobs changes no result.

A cell for each fault, all of them in one run; each is waited for at a gate (see `gated`), then hit.
What must come out is what the package makes of the same cells without SLURM and Snakemake.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from clones import make_clone
from cluster import PATIENCE, Cluster, Job, Run, is_alive, kill, running
from png_files import write_image
from toys import environment, fill, photograph, small_disk

from tlw.config.config import Config
from tlw.judge.weights import judge_weights
from tlw.report.tables import write_tables
from tlw.scoring.evaluate import evaluate_bicubic, evaluate_cells, scores_beside
from tlw.training.trainer import train

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slurm

# Nearly all of a node's memory: who asks for it is alone there.
ALONE = {"mem_mb": 15000}

# The tables' cells, by what happens to them: their loss, and what they ask for besides.
FAULTS = {
    "cancelled": ("l1", {}),
    "killed": ("l1-tlw", {}),
    "node-lost": ("l1-tlw", ALONE),
    "warned": ("l1", {}),
    "late": ("l1", {}),
    "requeued": ("l1", {}),
    "preempted": ("l1-tlw", ALONE),
    "disk-full": ("l1", {}),
}
# And one of a grid of its own, for which Snakemake itself is killed.
ORPHAN = "orphaned"


def config() -> dict:
    names = [*FAULTS, ORPHAN]
    paths = {name: "gated:GatedVDSR" for name in names} | {"requeued": "gated:GatedEDSR"}
    depth = {name: {"layers": 1} for name in names} | {"requeued": {"blocks": 1}}
    asked = {name: {"runtime": 20, "mem_mb": 2000} for name in names}
    asked |= {name: asked[name] | changes for name, (_, changes) in FAULTS.items()}
    grid = {"title": "Faults", "train": ["tiny"], "recipe": "tiny", "scales": [2]}
    weighted = [name for name, (loss, _) in FAULTS.items() if loss == "l1-tlw"]
    plain = [name for name, (loss, _) in FAULTS.items() if loss == "l1"]
    return {
        "results": "results/faults",
        "test": ["tiny-test"],
        "registry": "sets.yaml",
        "device": "cpu",
        "threads": 1,
        "checkpoint_seconds": 0,  # after every step
        "grids": {
            "plain": {**grid, "backbones": plain, "losses": ["l1"]},
            "weighted": {**grid, "backbones": weighted, "losses": ["l1-tlw"]},
            "alone": {**grid, "backbones": [ORPHAN], "losses": ["l1"]},
        },
        "recipes": {
            "tiny": {
                **{"sampling": "crops", "size": 32, "batch": 1, "epochs": 2, "steps_per_epoch": 4},
                **{"learning_rate": 1.0e-3, "init": "pytorch"},
            }
        },
        "backbones": {
            name: {
                "path": paths[name],
                "arguments": {"gate": name, "deaf": name == "late", "features": 4, **depth[name]},
            }
            for name in names
        },
        "losses": {"l1-tlw": {"features": 4}},
        "resources": asked,
    }


def workspace(folder: Path) -> Path:
    """A clone with the config above as faults.yaml, and two image sets of a few small pictures."""
    make_clone(folder)
    (folder / "faults.yaml").write_text(yaml.safe_dump(config()))
    sets = {"tiny": ["astronaut", "coffee"], "tiny-test": ["chelsea"]}
    registry = folder / "sets.yaml"
    for name, images in sets.items():
        entry = {
            **{"use": "test" if "test" in name else "train", "images": len(images)},
            **{"terms": "As scikit-image.", "sources": [{"kind": "manual", "instructions": "-"}]},
        }
        with registry.open("a") as file:
            file.write("\n" + yaml.safe_dump({name: entry}))
        for image in images:
            path = folder / "resources" / "images" / name / f"{image}.png"
            write_image(path, photograph(image).copy())
    (folder / "resources" / "weights").symlink_to(judge_weights("vgg").parent)
    return folder


def of_cell(name: str) -> Path:
    grid, loss = ("alone", "l1") if name == ORPHAN else ("plain", "l1")
    if name in FAULTS and FAULTS[name][0] == "l1-tlw":
        grid, loss = "weighted", "l1-tlw"
    return Path("results/faults") / grid / f"{name}_x2_{loss}_seed0"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, shared) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with running(folder, shared, nodes=4, cpus=8, mem=16000, killwait=20) as found:
        yield found


GOING_ON = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}


@dataclass
class Faulted:
    """The folder in which a run goes on, and what was seen of the jobs while they were hit."""

    cluster: Cluster
    folder: Path
    gates: Path
    seen: dict[str, str] = field(default_factory=dict)
    run: Run | None = None

    def start(self, *words: str) -> Run:
        self.run = self.cluster.start(
            self.folder, *words, "--configfile", "faults.yaml",
            GATES=str(self.gates), PYTHONPATH=environment()["PYTHONPATH"],
        )  # fmt: skip
        return self.run

    def until(self, condition):
        return self.run.until(condition)

    def at_gate(self, name: str) -> int:
        """The process that stands at a gate; waits for it."""
        path = self.gates / f"{name}.pid"
        self.until(path.exists)
        return int(path.read_text())

    def open(self, name: str) -> None:
        (self.gates / f"{name}.open").touch()

    def job(self, name: str) -> Job:
        return self.cluster.job(f"{name}_x2_")

    def ended(self, job: Job) -> str:
        """The state in which a job ended; waits for it."""

        def state() -> str | None:
            [now] = [other for other in self.cluster.jobs() if other.id == job.id]
            return now.state if now.state not in GOING_ON else None

        return self.until(state)

    def starts_again(self, job: Job) -> None:
        """Waits until a job is back in the queue, and starts it now instead of in two minutes."""
        self.until(lambda: self.cluster.hurry(job))


def warn(faulted: Faulted, name: str) -> None:
    """Two minutes before its time limit, or less, a training is asked to save and stop."""
    faulted.cluster.limit(faulted.job(name), minutes_left=1)


def let_time_run_out(faulted: Faulted, name: str) -> None:
    """This one does not hear the warning, so the time limit ends it."""
    faulted.cluster.limit(faulted.job(name), minutes_left=0)


def cancel(faulted: Faulted, name: str) -> None:
    faulted.cluster("scancel", faulted.job(name).id)


def kill_process(faulted: Faulted, name: str) -> None:
    kill(faulted.at_gate(name))


def requeue(faulted: Faulted, name: str) -> None:
    job = faulted.job(name)
    faulted.cluster("scontrol", "requeue", job.id)
    faulted.starts_again(job)


def preempt(faulted: Faulted, name: str) -> None:
    """Somebody else's job in a partition that goes first, on the same node."""
    job = faulted.job(name)
    options = ["--partition", "urgent", "--nodelist", job.node, "--mem", "8000"]
    faulted.cluster("sbatch", *options, "--output", "/dev/null", "--wrap", "true")
    faulted.starts_again(job)


def fill_disk(faulted: Faulted, name: str) -> None:
    """Full when the next checkpoint is due; enlarged before the next attempt starts."""
    cluster, disk, job = faulted.cluster, faulted.folder / of_cell(name), faulted.job(name)
    fill(disk)
    cluster("scontrol", "update", "partitionname=main", "state=down")  # nothing new starts
    faulted.open(name)
    faulted.ended(job)
    faulted.seen["log"] = (disk / "logs" / "train.log").read_text()
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    cluster("scontrol", "update", "partitionname=main", "state=up")


def lose_node(faulted: Faulted, name: str) -> None:
    """The node's daemon dies, SLURM gives the node up and starts the job on another one.

    The first process is still there, as on a node that only the network has lost: until the daemon
    comes back and ends it.
    """
    cluster, job = faulted.cluster, faulted.job(name)
    kill(cluster.slurmd(job.node))
    # What the controller does itself, after some minutes without an answer.
    cluster("scontrol", "update", f"nodename={job.node}", "state=down", "reason=lost")
    faulted.starts_again(job)
    faulted.until(lambda: faulted.job(name).state == "RUNNING")
    assert faulted.job(name).node != job.node and is_alive(faulted.at_gate(name))
    cluster.up()


# In the order in which they happen.
HITS = {
    "warned": warn,
    "late": let_time_run_out,
    "cancelled": cancel,
    "killed": kill_process,
    "requeued": requeue,
    "preempted": preempt,
    "disk-full": fill_disk,
    "node-lost": lose_node,
}


def hit_all(faulted: Faulted) -> None:
    """Each in turn, when all have a checkpoint and stand at their gates.

    A gate opens when the first process is gone, for the next one to pass.
    """
    waiting = {name: faulted.at_gate(name) for name in HITS}
    for name, hit in HITS.items():
        hit(faulted, name)
        open_gates(faulted, waiting)
    faulted.until(lambda: open_gates(faulted, waiting))


def open_gates(faulted: Faulted, waiting: dict[str, int]) -> bool:
    for name in [name for name, process in waiting.items() if not is_alive(process)]:
        del waiting[name]
        faulted.open(name)
    return not waiting


@pytest.fixture(scope="module")
def faulted(cluster, tmp_path_factory) -> Iterator[Faulted]:
    """The run with all faults, at its end."""
    folder = workspace(tmp_path_factory.mktemp("faulted") / "clone")
    found = Faulted(cluster, folder, tmp_path_factory.mktemp("gates"))
    disk = folder / of_cell("disk-full")
    disk.parent.mkdir(parents=True)
    with small_disk(disk, kilobytes=512):
        run = found.start(*(f"results/faults/tables/{grid}.md" for grid in TABLES))
        try:
            hit_all(found)
            run.wait()
            yield found
        finally:
            found.run.kill()


TABLES = ("plain", "weighted")


@pytest.fixture(scope="module")
def undisturbed(faulted, tmp_path_factory) -> Path:
    """The same cells and tables, made in one go by the package, from the same pairs."""
    folder, settings = tmp_path_factory.mktemp("undisturbed"), Config.parse(config(), "config")
    results = folder / settings.results
    train_pairs, test_pairs = (
        faulted.folder / settings.results / "pairs" / path
        for path in ("train/tiny_x2.h5", "test/tiny-test_x2.h5")
    )
    judge = {"judge_folder": judge_weights("vgg").parent, "device": "cpu"}
    evaluate_bicubic([test_pairs], results / "bicubic_x2" / "scores.csv", **judge)
    for grid in settings.grids:
        rows = [results / grid / cell.name for cell in settings.cells(grid)]
        for row, cell in zip(rows, settings.cells(grid), strict=True):
            train(cell, [train_pairs], row, **judge)
        outputs = scores_beside([row / "weights.safetensors" for row in rows])
        ours = {cell.backbone.path for cell in settings.cells(grid)}
        evaluate_cells(outputs, [test_pairs], networks=ours, **judge)
        write_tables(
            [*rows, results / "bicubic_x2"], results / "tables" / grid, title="Faults", number=None
        )
    return folder


def went_on_at(folder: Path, name: str) -> int:
    """The step with which the last attempt at a cell began; 0 without a checkpoint."""
    log = (folder / of_cell(name) / "logs" / "train.log").read_text()
    return int(re.search(r"(?:starts|goes on) at step (\d) of 8", log)[1])


def weights(folder: Path, name: str) -> bytes:
    return (folder / of_cell(name) / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("name", FAULTS)
def test_a_training_that_was_hit_ends_with_the_weights_of_one_that_was_not(
    faulted, undisturbed, name
):
    assert went_on_at(faulted.folder, name) > 0
    assert weights(faulted.folder, name) == weights(undisturbed, name)


@pytest.mark.parametrize("name", ["warned", "cancelled", "requeued"])
def test_a_training_that_is_asked_to_stop_saves_the_step_it_is_in(faulted, name):
    assert went_on_at(faulted.folder, name) == 4


@pytest.mark.parametrize("name", ["killed", "late", "disk-full"])
def test_a_training_that_cannot_save_any_more_loses_the_step_it_is_in(faulted, name):
    assert went_on_at(faulted.folder, name) == 3


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("cancelled", "CANCELLED"),
        ("killed", "FAILED"),
        ("warned", "FAILED"),  # it said so itself, before its time was over
        ("late", "TIMEOUT"),
        ("disk-full", "FAILED"),
    ],
)
def test_the_faults_were_real_and_the_next_job_asks_for_more(faulted, name, state):
    first, second = faulted.cluster.jobs(f"{name}_x2_")
    assert (first.state, second.state) == (state, "COMPLETED")
    assert second.limit == "40:00"


@pytest.mark.parametrize("name", ["requeued", "preempted", "node-lost"])
def test_a_requeued_job_is_one_job_to_snakemake(faulted, name):
    [job] = faulted.cluster.jobs(f"{name}_x2_")
    assert job.state == "COMPLETED"
    assert "Restarts=1 " in faulted.cluster("scontrol", "show", "job", job.id)


def test_a_full_disk_is_told_by_name(faulted):
    assert "No space left on device" in faulted.seen["log"]


def without_times(table: Path) -> str:
    return re.sub(r"\d:\d\d:\d\d", "", table.read_text())


@pytest.mark.parametrize("grid", TABLES)
def test_the_tables_are_those_of_the_undisturbed_run(faulted, undisturbed, grid):
    for suffix in (".csv", ".md", ".tex"):
        table = Path("results/faults/tables") / f"{grid}{suffix}"
        assert without_times(faulted.folder / table) == without_times(undisturbed / table)


def test_snakemake_killed_and_started_again_ends_with_the_same_weights(faulted, undisturbed):
    target = str(of_cell(ORPHAN) / "weights.safetensors")
    faulted.start(target)
    process = faulted.at_gate(ORPHAN)
    faulted.run.kill()
    assert is_alive(process)  # SLURM knows nothing of Snakemake
    faulted.start(target, "--unlock").wait()
    run = faulted.start(target)
    faulted.until(lambda: len(faulted.cluster.jobs(f"{ORPHAN}_x2_")) == 2)
    faulted.until(lambda: faulted.job(ORPHAN).state == "RUNNING")
    faulted.open(ORPHAN)
    run.wait()
    assert weights(faulted.folder, ORPHAN) == weights(undisturbed, ORPHAN)


# --- what SLURM would not take ----------------------------------------------------------------


def test_what_slurm_would_refuse_is_told_in_its_words_before_anything_is_submitted(
    cluster, tmp_path
):
    folder, before = workspace(tmp_path / "clone"), len(cluster.jobs())
    content = config() | {"resources": {"killed": {"runtime": "4-00:00:00", "mem_mb": 900}}}
    (folder / "long.yaml").write_text(yaml.safe_dump(content))
    target = str(of_cell("killed") / "weights.safetensors")
    path = environment()["PYTHONPATH"]  # with `gated`
    run = cluster.start(folder, target, "--configfile", "long.yaml", PYTHONPATH=path)
    assert run.process.wait(PATIENCE) != 0
    words = (
        r"SLURM would refuse rule train of killed_x2, which asks for runtime 5760, mem_mb 900: "
        r".*[Tt]ime limit.*\n +change `resources: killed_x2` \(runtime, mem_mb, gpu\) in the config"
    )
    assert re.search(words, run.output), run.output
    assert len(cluster.jobs()) == before
    assert not (folder / "results" / "faults" / "pairs").exists()


# --- many cells -------------------------------------------------------------------------------

# `tlw` without its work: each verb leaves empty outputs, `train` tells which GPU it was given.
IDLE = """#!/bin/sh
verb=$1; shift
for word; do [ "$last" = --output ] && out=$word; last=$word; done
case $verb in
    fetch) mkdir -p "resources/images/$1" && touch "resources/images/$1/manifest.tsv" ;;
    cell | pairs | evaluate) touch "$out" ;;
    train)
        cd "$(dirname "$1")" && touch weights.safetensors training.csv record.json
        echo "$CUDA_VISIBLE_DEVICES" > gpu.txt ;;
    tables) touch "$out.csv" "$out.md" "$out.tex" "${out}_cells.csv" ;;
esac
"""


@pytest.mark.slow
def test_hundreds_of_short_jobs_are_few_to_slurm(cluster, tmp_path):
    """The paper's workflow and the profile, trainings grouped, too, as docs/scaling.md has it.

    200 cells whose commands do nothing: what is left is what Snakemake and SLURM do for each.
    """
    folder = make_clone(tmp_path / "clone")
    (tmp_path / "bin").mkdir()
    idle = tmp_path / "bin" / "tlw"
    idle.write_text(IDLE)
    idle.chmod(0o755)
    (folder / "resources" / "weights").mkdir()
    (folder / "resources" / "weights" / "lpips_vgg.safetensors").touch()

    content = yaml.safe_load((folder / "config" / "config.yaml").read_text())
    grid = content["grids"]["table1"] | {
        "backbones": ["vdsr"],
        "scales": [4],
        "seeds": list(range(50)),
    }
    asked = {name: {"runtime": 10, "mem_mb": 1000} for name in grid["backbones"]}
    content |= {"grids": {"many": grid}, "resources": asked}
    (folder / "many.yaml").write_text(yaml.safe_dump(content))
    profile = yaml.safe_load((folder / "slurm" / "profile.yaml").read_text())
    profile["groups"]["train"] = "train"
    profile["group-components"] |= {"train": 25, "evaluate": 25}
    profile["set-resources"]["train"]["turn"] = 1
    (folder / "slurm" / "profile.yaml").write_text(yaml.safe_dump(profile))

    before = len(cluster.jobs())
    path = f"{tmp_path / 'bin'}:{cluster.environment['PATH']}"
    run = cluster.start(folder, "all", "--configfile", "many.yaml", "--quiet", PATH=path)
    try:
        run.wait(patience=3600)
    finally:
        run.kill()
    jobs = cluster.jobs()[before:]
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert len(jobs) == 1 + 8 + 9 + 1  # pairs, train, evaluate, table
    gpus = [file.read_text().strip() for file in folder.glob("results/paper/many/*/gpu.txt")]
    assert len(gpus) == 200 and set(gpus) <= {"0", "1"}
    assert (folder / "results" / "paper" / "tables" / "many.md").exists()
