#!/usr/bin/env python3
"""Times training steps of PyTorch and of omniconv in turns, and prints what one is to the other.

A machine's speed drifts by a quarter within minutes, so figures taken at different times say little about a
ratio. Here every round runs each program once, one after the other, each in a fresh process; a figure is the
median over the steps of all rounds, without the first two of each process. Peak memory is the resident memory
that the kernel reports for the process, the same way for both.

PyTorch comes in two forms: "eager", as ODConv's authors published it, and "unfold", the stronger unfold + bmm.
Distributions build it on whatever BLAS is installed, and on the reference BLAS it is tens of times slower than
it could be: the script measures a matrix product first and refuses to compare with such a PyTorch.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WARM_UP_STEPS = 2
REFERENCE_BLAS_GFLOPS = 15.0  # an optimised library reaches far more on a single core, the reference BLAS a third
PROGRAMS = ("eager", "unfold", "omniconv")


@dataclass(frozen=True)
class Case:
    """What is trained."""

    model: str
    kernels: int
    width: int
    batch_size: int

    @property
    def dynamic(self) -> bool:
        return self.model.startswith("od_")

    @property
    def twin(self) -> "Case":
        """The static net of the same shape."""
        return Case(self.model.replace("od_", ""), 1, self.width, self.batch_size)

    @property
    def programs(self) -> tuple[str, ...]:
        """A static net has one form in PyTorch."""
        return PROGRAMS if self.dynamic else ("eager", "omniconv")


CASES = {
    "od-k4": Case("od_resnet18", 4, 64, 32),
    "od-k1": Case("od_resnet18", 1, 64, 32),
    "static": Case("resnet18", 1, 64, 32),
    "od-k4-w16": Case("od_resnet18", 4, 16, 128),
    "static-w16": Case("resnet18", 1, 16, 128),
    "od-k4-b128": Case("od_resnet18", 4, 64, 128),
    "static-b128": Case("resnet18", 1, 64, 128),
    "od-k4-b512": Case("od_resnet18", 4, 64, 512),
    "static-b512": Case("resnet18", 1, 64, 512),
}
DEFAULT_CASES = {
    "cpu": ["od-k4", "od-k1", "static", "od-k4-w16", "static-w16"],
    "cuda": ["od-k4-b128", "static-b128", "od-k4-b512", "static-b512"],
}


@dataclass
class Figures:
    """All measurements of one program on one case."""

    step_seconds: list[float] = field(default_factory=list)
    peak_rss_bytes: int = 0

    def images_per_second(self, batch_size: int) -> float:
        return batch_size / statistics.median(self.step_seconds)


Results = dict[tuple[Case, str], Figures]


# --- the PyTorch side, in a process of its own -----------------------------------------------------------


def worker(job: dict) -> None:
    """Trains for some steps and prints the time of each as JSON."""
    import torch

    sys.path.insert(0, str(ROOT / "tests" / "pytorch"))
    import odconv

    case = Case(**job["case"])
    device = torch.device(job["device"])
    reduced = {"bf16": torch.bfloat16, "f16": torch.float16}.get(job["precision"])
    autocast = partial(torch.autocast, device.type, reduced) if reduced else nullcontext
    torch.set_num_threads(job["threads"])
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    net = odconv.build(case.model, case.width, case.kernels, form=job["form"]).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(case.batch_size, 3, 32, 32, device=device)
    labels = torch.randint(10, (case.batch_size,), device=device)
    scaler = torch.cuda.amp.GradScaler(enabled=job["precision"] == "f16")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.nn.functional.cross_entropy(net(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        loss.item()  # waits for the device

    seconds = []
    for _ in range(job["steps"]):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"step_seconds": seconds}))


def probe(options: argparse.Namespace) -> None:
    """Prints PyTorch's version and the speed of its matrix product; an error where that is hopeless."""
    code = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
a, seconds = torch.randn(1024, 1024), []
for _ in range(5):
    start = time.perf_counter()
    a @ a
    seconds.append(time.perf_counter() - start)
print(torch.__version__, 2 * 1024**3 / min(seconds) / 1e9)
"""
    words = [sys.executable, "-c", code, str(options.threads)]
    version, speed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    print(f"PyTorch {version}, {options.threads} CPU threads, matrix product {float(speed):.0f} GFLOP/s\n", flush=True)
    if options.device == "cpu" and float(speed) < REFERENCE_BLAS_GFLOPS:
        raise SystemExit("this PyTorch runs on a reference BLAS; install an optimised one (Debian: libopenblas0-pthread)")


# --- both sides ------------------------------------------------------------------------------------------


def command(case: Case, program: str, options: argparse.Namespace) -> list[str]:
    if program == "omniconv":
        words = [str(options.omniconv), "bench", "--model", case.model, "--kernels", str(case.kernels),
                 "--width", str(case.width), "--batch-size", str(case.batch_size), "--steps", str(options.steps),
                 "--threads", str(options.threads), "--json"]
        return words + ([] if options.precision == "f32" else ["--precision", options.precision])
    job = {"case": asdict(case), "form": program, "device": options.device, "precision": options.precision,
           "threads": options.threads, "steps": options.steps}
    return [sys.executable, __file__, "--worker", json.dumps(job)]


def measure(case: Case, program: str, options: argparse.Namespace, figures: Figures) -> None:
    """Runs a fresh process and adds what it measured."""
    process = subprocess.Popen(command(case, program, options), stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(process.args)}: exit code {process.returncode}")
    figures.step_seconds += json.loads(output)["step_seconds"][WARM_UP_STEPS:]
    figures.peak_rss_bytes = max(figures.peak_rss_bytes, usage.ru_maxrss * 1024)


def measure_all(cases: list[Case], options: argparse.Namespace) -> Results:
    runs = [(case, program) for case in cases for program in case.programs if program in options.programs]
    results: Results = {run: Figures() for run in runs}
    for number in range(options.rounds):
        for case, program in runs:
            print(f"round {number + 1} of {options.rounds}: {case.model} K={case.kernels} width {case.width} "
                  f"batch {case.batch_size}, {program}", file=sys.stderr)
            measure(case, program, options, results[case, program])
    return results


# --- the table -------------------------------------------------------------------------------------------


def table(results: Results) -> str:
    """Markdown; ratios are blank where the other side was not measured."""
    lines = ["| model | K | width | batch | program | step, ms | images/s | omniconv is | of its static twin | peak MiB | omniconv's memory |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for (case, program), figures in results.items():
        speed = figures.images_per_second(case.batch_size)
        ours = results.get((case, "omniconv")) if program != "omniconv" else None
        twin = results.get((case.twin, "omniconv" if program == "omniconv" else "eager")) if case.dynamic else None
        cells = [
            case.model, case.kernels, case.width, case.batch_size,
            program if case.dynamic or program == "omniconv" else "PyTorch",
            f"{1000 * statistics.median(figures.step_seconds):.1f}",
            f"{speed:.1f}",
            f"{ours.images_per_second(case.batch_size) / speed:.2f}x" if ours else "",
            f"{speed / twin.images_per_second(case.batch_size):.2f}" if twin else "",
            f"{figures.peak_rss_bytes / 2**20:.0f}",
            f"{ours.peak_rss_bytes / figures.peak_rss_bytes:.2f}" if ours else "",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--omniconv", type=Path, default=ROOT / "build" / "cpu" / "omniconv", help="the program")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where PyTorch runs")
    parser.add_argument("--precision", choices=("f32", "bf16", "f16"), default="f32")
    parser.add_argument("--cases", nargs="+", choices=CASES, help="default: by device")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help=f"per process, the first {WARM_UP_STEPS} not counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps <= WARM_UP_STEPS or options.rounds < 1:
        parser.error(f"--steps must be above {WARM_UP_STEPS} and --rounds at least 1")
    return options


def main() -> None:
    options = parse_arguments()
    if options.worker:
        worker(json.loads(options.worker))
        return
    probe(options)
    names = options.cases or DEFAULT_CASES[options.device]
    print(table(measure_all([CASES[name] for name in names], options)))


if __name__ == "__main__":
    main()
