"""A first session with a GPU: tests, judge, steps, sharing and trainings, in some ten minutes.

Shows on one GPU what a machine without one cannot: that the tests marked `gpu` pass; that the judge
computes there what it computes on the CPU; how long steps take, eager and replayed, each hidden
wait for the GPU being an error; what four trainings beside each other gain; and that a cell of each
loss is trained, stopped, resumed and scored by the command line. Prints a line for each finding as
it comes, and writes all as JSON. The exit code is 1 where one is not as it should be. `make gpu`
runs it. It needs no network but for the judge's weights (`tlw fetch-weights vgg`): the images are
those that scikit-image ships.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from cases import batch, cell, on
from common import machine, parser, print_table, start, synchronize

from tlw.config.config import Cell, Config
from tlw.judge.lpips import Judge
from tlw.runtime.precision import full_float32
from tlw.training.trainer import Run

ROOT = Path(__file__).parents[1]
LOSSES = ("l1", "mse", "l1-udl", "l1-tlw", "mse-tlw")
STEPS = [
    *(f"{net},{loss},bf16-mixed" for net in ("edsr", "vdsr", "rcan", "hat")
      for loss in ("l1", "l1-tlw", "l1-udl")),
    *("edsr,l1-tlw,float32", "edsr,l1,float32", "vdsr,l1-tlw,float32"),
]  # fmt: skip
QUICK_STEPS = ["edsr,l1,float32", "edsr,l1-tlw,bf16-mixed"]
SHARED = ("edsr,l1-tlw,bf16-mixed", "edsr,l1,bf16-mixed")
TIMED = 20  # steps
SHARED_SECONDS = 4.0
# Of the judge on a GPU against the CPU's, relative: sums in another order; bfloat16's 8 bits.
BOUNDS = {"float32": 1e-5, "bf16-mixed": 3e-2}

Finding = dict[str, object]


def finding(stage: str, what: str, ok: bool, found: str, **numbers: float | None) -> Finding:
    """One line of the output, and one entry of the JSON."""
    print(f"{'ok' if ok else 'NOT OK':6}  {stage}: {what}: {found}", flush=True)
    return {"stage": stage, "what": what, "ok": ok, "found": found, **numbers}


# --- tests ------------------------------------------------------------------------------------


def tests(options: argparse.Namespace) -> Iterator[Finding]:
    """The tests marked gpu."""
    words = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/training"]
    done = _python(words, options, seconds=400)
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-300:]]
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    yield finding("tests", "pytest -m gpu", done.returncode == 0, last[0])


# --- judge ------------------------------------------------------------------------------------


def judges(options: argparse.Namespace) -> Iterator[Finding]:
    """The judge's distance on the GPU against the CPU's in float64, in each precision."""
    hr = torch.cat([batch(96, 4, name=name)[1] for name in ("astronaut", "coffee", "chelsea")])
    blurred = torch.nn.functional.avg_pool2d(hr, 5, stride=1, padding=2)
    with torch.no_grad():
        reference = Judge(weights=options.judge_folder).double()(blurred.double(), hr.double())
        for precision, bound in BOUNDS.items():
            judge = Judge(weights=options.judge_folder, precision=precision).to(options.device)
            with full_float32():
                found = judge(*on(options.device, blurred, hr)).double().cpu()
            off = float((found / reference - 1).abs().max())
            text = f"off by {off:.1e} of it at most, bound {bound:g}"
            yield finding("judge", precision, off <= bound, text, off=off)


# --- steps ------------------------------------------------------------------------------------


def steps(options: argparse.Namespace) -> Iterator[Finding]:
    """Each case in a process that goes on to the next, until a failed capture ends its use."""
    cases = QUICK_STEPS if options.quick else STEPS
    while cases:
        done = _python([__file__, "--cases", *cases, *_asked(options)], options, seconds=500)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            yield finding(**line)
        if not lines:  # it did not come as far as to say why
            yield finding("steps", cases[0], False, done.stderr.strip()[-600:])
        cases = cases[max(len(lines), 1) :]


def print_steps(options: argparse.Namespace) -> None:
    """What `steps` reads: one JSON line a case, the last one where a case failed."""
    for case in options.cases:
        try:
            line = _step(case, options)
        except Exception as error:
            text = f"{type(error).__name__}: {error} {error.__context__ or ''}"[:600]
            line = {"what": case, "ok": False, "found": " ".join(text.split())}
        print(json.dumps({"stage": "steps", **line}), flush=True)
        if not line["ok"]:
            return


def _step(case: str, options: argparse.Namespace) -> Finding:
    """The time of a step, eager and replayed, and what a recording of it takes of the memory."""
    backbone, loss, precision = case.split(",")
    settings = cell(backbone, 4, loss, precision=precision)
    lr, hr = (x.mul(255).byte().to(options.device) for x in batch(336, 4))
    found: dict[str, float] = {}
    for graphs in (False, True):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        run = Run(settings, options.device, options.judge_folder, cuda_graphs=graphs)
        for epoch in (0, getattr(settings.loss, "esu_epochs", 1)):  # l1-udl has two kinds of step
            run.start_epoch(epoch)
            run.step(lr, hr)
        if not graphs:
            with no_waiting():
                run.step(lr, hr)
        synchronize()
        before = torch.cuda.mem_get_info()[0]
        run.step(lr, hr)  # is recorded
        synchronize()
        name = "replayed" if graphs else "eager"
        found[f"{name}_ms"] = _milliseconds(run, lr, hr)
        found[f"{name}_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if graphs:
            found["recording_mib"] = (before - torch.cuda.mem_get_info()[0]) / 2**20
    gain = found["eager_ms"] / found["replayed_ms"]
    text = "eager {eager_ms:.2f} ms, {eager_gib:.1f} GiB; replayed {replayed_ms:.2f} ms".format(
        **found
    )
    text += f", {gain:.2f} times as fast, a recording {found['recording_mib']:.0f} MiB"
    rounded = {key: round(value, 3) for key, value in found.items()}
    return {"what": case, "ok": True, "found": text, **rounded, "gain": round(gain, 3)}


class no_waiting:  # a context manager, like torch's own
    """Inside this each hidden wait for the GPU is an error."""

    def __enter__(self) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *_: object) -> None:
        torch.cuda.set_sync_debug_mode("default")


def _milliseconds(run: Run, lr: torch.Tensor, hr: torch.Tensor) -> float:
    synchronize()
    began = time.perf_counter()
    for _ in range(TIMED):
        run.step(lr, hr)
    synchronize()
    return (time.perf_counter() - began) / TIMED * 1e3


# --- sharing ----------------------------------------------------------------------------------


def sharing(options: argparse.Namespace) -> Iterator[Finding]:
    """Steps a second of one training and of four beside each other, which NVIDIA's MPS decides."""
    for case in SHARED[:1] if options.quick else SHARED:
        alone, together = (_steps_a_second(case, count, options) for count in (1, 4))
        text = (
            f"one {alone:.1f} steps/s, four {together:.1f} together: {together / alone:.2f} times"
        )
        numbers = {"alone": round(alone, 2), "together": round(together, 2)}
        yield finding("sharing", case, True, text, **numbers)


def _steps_a_second(case: str, count: int, options: argparse.Namespace) -> float:
    """Of so many processes together, which begin when all are ready."""
    words = [sys.executable, __file__, "--share", case, *_asked(options)]
    children = [
        subprocess.Popen(
            words, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    for child in children:
        if not child.stdout or child.stdout.readline() != "ready\n":
            raise SystemExit(f"sharing: {case}: a process did not come as far as its steps")
    said = [child.stdin for child in children if child.stdin]
    for stdin in said:
        stdin.write("go\n")
        stdin.flush()
    return sum(float(child.communicate()[0]) for child in children)


def share(options: argparse.Namespace) -> None:
    """What `sharing` reads: steps a second, over four seconds from its word on."""
    backbone, loss, precision = options.share.split(",")
    settings = cell(backbone, 4, loss, precision=precision)
    lr, hr = (x.mul(255).byte().to(options.device) for x in batch(336, 4))
    run = Run(settings, options.device, options.judge_folder, cuda_graphs=True)
    run.start_epoch(0)
    _milliseconds(run, lr, hr)
    print("ready", flush=True)
    sys.stdin.readline()
    began, taken = time.perf_counter(), 0
    while time.perf_counter() - began < SHARED_SECONDS:
        _milliseconds(run, lr, hr)
        taken += TIMED
    print(taken / (time.perf_counter() - began), flush=True)


# --- trainings --------------------------------------------------------------------------------


def trainings(options: argparse.Namespace) -> Iterator[Finding]:
    """A cell of each loss, beside each other: trained, stopped by SIGTERM, resumed, scored."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = {use: _pairs(folder, use, options) for use in ("train", "test")}
        with ThreadPoolExecutor(len(LOSSES)) as pool:
            each = [
                pool.submit(_training, found, folder, pairs, options) for found in _cells(folder)
            ]
            yield from (finding(**one.result()) for one in each)


def _pairs(folder: Path, use: str, options: argparse.Namespace) -> Path:
    images, target = folder / f"toy-{use}", folder / f"{use}.h5"
    for words in (
        ["fetch", f"toy-{use}", "--folder", str(folder)],
        ["pairs", str(images), "-o", str(target), "--scale", "4", "--use", use],
    ):
        done = _python(["-m", "tlw.cli", *words], options, seconds=100)
        if done.returncode:
            raise SystemExit(f"tlw {' '.join(words)}: {done.stderr}")
    return target


def _cells(folder: Path) -> list[Cell]:
    grid = {"title": "First light", "train": ["toy-train"], "recipe": "whole"}
    grid |= {"backbones": ["edsr"], "scales": [4], "losses": list(LOSSES)}
    config = {
        "results": str(folder / "results"),
        "test": ["toy-test"],
        "grids": {"light": grid},
        "recipes": {"whole": {"sampling": "whole", "epochs": 50, "precision": "bf16-mixed"}},
    }
    return Config.parse(config, "first light").cells("light")


def _training(
    settings: Cell, folder: Path, pairs: dict[str, Path], options: argparse.Namespace
) -> Finding:
    at = folder / settings.name
    at.mkdir()
    (at / "cell.json").write_text(settings.model_dump_json(), encoding="utf-8")
    words = ["-m", "tlw.cli", "train", str(at / "cell.json"), "--pairs", str(pairs["train"])]
    words += ["--folder", str(at)]
    words += ["--cells-per-gpu", str(len(LOSSES)), *_asked(options)]
    child = subprocess.Popen([sys.executable, *words], env=_environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not list(at.glob("**/training.csv")) and child.poll() is None:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    said = child.communicate()[1].decode()
    if child.returncode != 128 + signal.SIGTERM:
        text = f"expected exit code 143 after SIGTERM, found {child.returncode}: {said[-600:]}"
        return {"stage": "trainings", "what": settings.name, "ok": False, "found": text}
    for again in (words, ["-m", "tlw.cli", "evaluate", str(at / "weights.safetensors"),
                          "--pairs", str(pairs["test"]), *_asked(options)]):  # fmt: skip
        done = _python(again, options, seconds=300)
        if done.returncode:
            text = f"{' '.join(again[2:4])}: {done.stderr[-600:]}"
            return {"stage": "trainings", "what": settings.name, "ok": False, "found": text}
        said += done.stderr
    record = json.loads((at / "record.json").read_text(encoding="utf-8"))
    goes_on = re.search(r"goes on at step (\d+)", said)
    rows = (at / "scores.csv").read_text(encoding="utf-8").splitlines()
    text = (
        f"{record['steps']} steps in {record['training_seconds']} s, resumed at step "
        f"{goes_on[1] if goes_on else 'NONE'}, {len(rows) - 1} images scored"
    )
    is_ok = goes_on is not None and len(rows) > 1
    return {"stage": "trainings", "what": settings.name, "ok": is_ok, "found": text}


# ----------------------------------------------------------------------------------------------


def _asked(options: argparse.Namespace) -> list[str]:
    """The options that a child gets, too."""
    judge = ["--judge-folder", str(options.judge_folder)] if options.judge_folder else []
    return ["--device", str(options.device), *judge]


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def _python(
    words: list[str], options: argparse.Namespace, *, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own; one that takes too long counts as failed, with its output."""
    command = [sys.executable, *words]
    try:
        return subprocess.run(
            command, cwd=ROOT, env=_environment(), text=True, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as late:
        said = [(out or b"").decode() for out in (late.stdout, late.stderr)]
        return subprocess.CompletedProcess(
            command, 124, said[0], f"{said[1]}\nnot done after {seconds:g} s"
        )


STAGES = {
    "tests": tests, "judge": judges, "steps": steps, "sharing": sharing, "trainings": trainings,
}  # fmt: skip


def main() -> int:
    """Runs the stages that are asked for, and says whether all is as it should be."""
    found = parser(__doc__ or "")
    found.set_defaults(device="cuda")
    found.add_argument("--stage", dest="stages", nargs="+", choices=STAGES, default=list(STAGES))
    found.add_argument("--json", type=Path, default=Path("results/first_light.json"))
    found.add_argument("--cases", nargs="+", help=argparse.SUPPRESS)  # of a child of `steps`
    found.add_argument("--share", help=argparse.SUPPRESS)  # of one of `sharing`
    options = found.parse_args()
    if options.cases or options.share:
        options.device = torch.device(options.device)
        with full_float32():
            print_steps(options) if options.cases else share(options)
        return 0
    options = start(found)
    if options.device.type != "cuda":
        raise SystemExit(f"--device: expected a GPU, such as cuda, found {options.device}")
    findings = [one for stage in options.stages for one in STAGES[stage](options)]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(options.device), "findings": findings}
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print()
    rows = [[f["stage"], f["what"], "ok" if f["ok"] else "NOT OK", f["found"]] for f in findings]
    print_table(["stage", "what", "", "found"], rows)
    return int(not all(one["ok"] for one in findings))


if __name__ == "__main__":
    sys.exit(main())
