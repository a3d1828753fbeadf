#!/usr/bin/env python3
"""Times training steps of PyTorch and of omniconv in turns, and prints what one is to the other.

A machine's speed drifts by a quarter within minutes, so figures taken at different times say little about a
ratio. Here every round runs each program once, one after the other, each in a fresh process; a figure is the
median over the steps of all rounds, without those that warm up each process. Peak memory on a CPU is the resident
memory that the kernel reports for the process, the same way for both; on a GPU it is the most bytes of tensors that
each side's allocator had handed out. Images lie on the device from the start.

PyTorch comes in forms: "eager", as ODConv's authors published it; "unfold", the stronger unfold + bmm; and on a GPU
"channels_last", eager in that memory format, and "compile", that under torch.compile. `--precision bf16` is autocast.
Distributions build it on whatever BLAS is installed, and on the reference BLAS it is tens of times slower than
it could be: the script measures a matrix product first and refuses to compare with such a PyTorch.
"""
from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import pytorch_peer as peer

PROGRAMS = {"cpu": ("omniconv", "eager", "unfold"), "cuda": ("omniconv", "channels_last", "compile", "eager", "unfold")}
STEPS = {"cpu": (2, 3), "cuda": (50, 200)}  # that warm up a process, and that count


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

    def has(self, program: str) -> bool:
        """A static net has nothing to unfold."""
        return self.dynamic or program != "unfold"


CASES = {
    "od-k4": Case("od_resnet18", 4, 64, 32),
    "od-k1": Case("od_resnet18", 1, 64, 32),
    "static": Case("resnet18", 1, 64, 32),
    "od-k4-w16": Case("od_resnet18", 4, 16, 128),
    "static-w16": Case("resnet18", 1, 16, 128),
    "od-k4-b128": Case("od_resnet18", 4, 64, 128),
    "od-k1-b128": Case("od_resnet18", 1, 64, 128),
    "static-b128": Case("resnet18", 1, 64, 128),
    "od-k4-b512": Case("od_resnet18", 4, 64, 512),
    "od-k1-b512": Case("od_resnet18", 1, 64, 512),
    "static-b512": Case("resnet18", 1, 64, 512),
}
DEFAULT_CASES = {
    "cpu": ["od-k4", "od-k1", "static", "od-k4-w16", "static-w16"],
    "cuda": ["od-k4-b128", "od-k1-b128", "static-b128", "od-k4-b512", "od-k1-b512", "static-b512"],
}


@dataclass
class Figures:
    """All measurements of one program on one case; none of one that failed."""

    step_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failed: bool = False
    remark: str = ""

    def milliseconds(self, share: float) -> float:
        """The step that this share of all steps is no slower than."""
        ordered = sorted(self.step_seconds)
        return 1000 * ordered[round(share * (len(ordered) - 1))]

    def images_per_second(self, batch_size: int) -> float:
        return batch_size / statistics.median(self.step_seconds)


Results = dict[tuple[Case, str], Figures]


# --- the PyTorch side, in a process of its own -----------------------------------------------------------


def worker(job: dict) -> None:
    """Trains for some steps and prints the time of each as JSON."""
    import torch

    case = Case(**job["case"])
    device = torch.device(job["device"])
    reduced = {"bf16": torch.bfloat16, "f16": torch.float16}.get(job["precision"])
    autocast = partial(torch.autocast, device.type, reduced) if reduced else nullcontext
    torch.backends.cudnn.benchmark = True
    form = job["form"]
    net = peer.build_net(case.model, case.width, case.kernels, "unfold" if form == "unfold" else "eager", job["threads"])
    net.to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(case.batch_size, 3, 32, 32, device=device)
    labels = torch.randint(10, (case.batch_size,), device=device)
    if form in ("channels_last", "compile"):
        images = images.to(memory_format=torch.channels_last)
        for parameter in net.parameters():
            if parameter.dim() == 4:  # which an ODConv's [K, O, I, k, k] is not
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
    run = torch.compile(net) if form == "compile" else net
    scaler = torch.cuda.amp.GradScaler(enabled=job["precision"] == "f16")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = torch.nn.functional.cross_entropy(run(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        loss.item()  # waits for the device

    seconds = peer.seconds_of(step, job["steps"])
    peak_bytes = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    print(json.dumps({"step_seconds": seconds, "peak_bytes": peak_bytes}))


# --- both sides ------------------------------------------------------------------------------------------


def command(case: Case, program: str, options: argparse.Namespace) -> list[str]:
    if program == "omniconv":
        words = [peer.program(options, options.device), "bench", "--model", case.model, "--kernels", str(case.kernels),
                 "--width", str(case.width), "--batch-size", str(case.batch_size), "--steps", str(options.warm_up + options.steps),
                 "--threads", str(options.threads), "--json"]
        return words + ([] if options.precision == "f32" else ["--precision", options.precision])
    job = {"case": asdict(case), "form": program, "device": options.device, "precision": options.precision,
           "threads": options.threads, "steps": options.warm_up + options.steps}
    return peer.worker_command(__file__, job)


def measure(case: Case, program: str, options: argparse.Namespace, figures: Figures) -> None:
    """Runs a fresh process and adds what it measured."""
    measured, resident_bytes = peer.run_fresh(command(case, program, options), options.limit)
    figures.step_seconds += measured["step_seconds"][options.warm_up:]
    if program == "omniconv" and options.device == "cuda" and not measured["cuda_graph"]:
        figures.remark = " (without CUDA graphs)"
    peak_bytes = resident_bytes if options.device == "cpu" else measured["peak_bytes"]
    figures.peak_bytes = max(figures.peak_bytes, peak_bytes)


def measure_all(cases: list[Case], options: argparse.Namespace) -> Results:
    """What one program fails at, or takes too long for, does not keep the others from being measured."""
    runs = [(case, program) for case in cases for program in options.programs if case.has(program)]
    results: Results = {run: Figures() for run in runs}
    for number in range(options.rounds):
        for case, program in runs:
            if results[case, program].failed:
                continue
            print(f"round {number + 1} of {options.rounds}: {case.model} K={case.kernels} width {case.width} "
                  f"batch {case.batch_size}, {program}", file=sys.stderr)
            try:
                measure(case, program, options, results[case, program])
            except peer.Failed as failure:
                results[case, program] = Figures(failed=True)
                print(failure, file=sys.stderr)
            if options.write:
                options.write.write_text(table(results) + "\n")
    return results


# --- the table -------------------------------------------------------------------------------------------


def table(results: Results) -> str:
    """Markdown; ratios are blank where the other side was not measured."""
    lines = ["| model | K | width | batch | program | step, ms | 5 % | 95 % | images/s | omniconv is | of its static twin | peak MiB | omniconv's memory |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    measured = {run: figures for run, figures in results.items() if figures.step_seconds}
    for (case, program), figures in results.items():
        name = [case.model, case.kernels, case.width, case.batch_size,
                (program if program == "omniconv" else f"PyTorch, {program}") + figures.remark]
        if figures.failed:
            lines.append("| " + " | ".join(map(str, [*name, "failed"])) + " |" * 8)
        if not figures.step_seconds:
            continue
        speed = figures.images_per_second(case.batch_size)
        ours = measured.get((case, "omniconv")) if program != "omniconv" else None
        twin = measured.get((case.twin, "eager" if program == "unfold" else program)) if case.dynamic else None
        cells = [
            *name,
            f"{1000 * statistics.median(figures.step_seconds):.2f}",
            f"{figures.milliseconds(0.05):.2f}",
            f"{figures.milliseconds(0.95):.2f}",
            f"{speed:.1f}",
            f"{ours.images_per_second(case.batch_size) / speed:.2f}x" if ours else "",
            f"{speed / twin.images_per_second(case.batch_size):.2f}" if twin else "",
            f"{figures.peak_bytes / 2**20:.0f}",
            f"{ours.peak_bytes / figures.peak_bytes:.2f}" if ours else "",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    parser = peer.argument_parser(__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where PyTorch runs")
    parser.add_argument("--precision", choices=("f32", "bf16", "f16"), default="f32")
    parser.add_argument("--cases", nargs="+", choices=CASES, help="default: by device")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS["cuda"], help="default: by device")
    parser.add_argument("--steps", type=int, help="timed per process (default: 3 on a CPU, 200 on a GPU)")
    parser.add_argument("--warm-up", type=int, help="steps before them (default: 2 on a CPU, 50 on a GPU)")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="for each process, which is stopped then")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the table so far, after each process")
    options = parser.parse_args()
    warm_up, steps = STEPS[options.device]
    options.warm_up = warm_up if options.warm_up is None else options.warm_up
    options.steps = steps if options.steps is None else options.steps
    options.programs = options.programs or PROGRAMS[options.device]
    if options.steps < 1 or options.rounds < 1 or options.warm_up < 2:
        parser.error("--steps and --rounds must be at least 1, and --warm-up 2")
    return options


def main() -> None:
    options = parse_arguments()
    if options.worker:
        worker(options.worker)
        return
    peer.probe(options.threads, options.device)
    names = options.cases or DEFAULT_CASES[options.device]
    results = measure_all([CASES[name] for name in names], options)
    print(table(results))
    if any(figures.failed for figures in results.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
