"""What bench_pytorch.py and bench_inference.py share: fresh processes, PyTorch's net in them, and a check of its speed."""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent
REFERENCE_BLAS_GFLOPS = 15.0  # an optimised library reaches far more on a single core, the reference BLAS a third


def argument_parser(description: str) -> argparse.ArgumentParser:
    """The options that both have."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--omniconv", type=Path, help="the program (default: build/<device>/omniconv)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)  # a job, see worker_command
    return parser


def worker_command(script: str, job: dict) -> list[str]:
    """Words that start a script again as a process with nothing but this job of PyTorch's to do."""
    return [sys.executable, script, "--worker", json.dumps(job)]


class Failed(Exception):
    """A process that did not do what it was started for; says what it complained of."""


def run_fresh(words: list[str], limit: float | None = None) -> tuple[object, int]:
    """Runs a process to its end, which must come within `limit` seconds: the JSON that it prints, and its peak resident
    memory in bytes."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=complaints)
        timer = threading.Timer(limit or 0, process.kill)
        if limit:
            timer.start()
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            complaints.seek(0)
            raise Failed(f"{' '.join(words)}: exit code {process.returncode}\n{complaints.read().decode()}")
    return json.loads(output), usage.ru_maxrss * 1024


def build_net(model: str, width: int, kernels: int, form: str, threads: int):
    """PyTorch's net of tests/pytorch, its weights from seed 0, as a torch.nn.Module."""
    import torch

    sys.path.insert(0, str(ROOT / "tests" / "pytorch"))
    import odconv

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return odconv.build(model, width, kernels, form=form)


def seconds_of(call: Callable[[], object], count: int) -> list[float]:
    """The time of each of that many calls."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def program(options: argparse.Namespace, device: str) -> str:
    return str(options.omniconv or ROOT / "build" / device / "omniconv")


def probe(threads: int, device: str) -> None:
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
    words = [sys.executable, "-c", code, str(threads)]
    version, speed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    print(f"PyTorch {version}, {threads} CPU threads, matrix product {float(speed):.0f} GFLOP/s\n", flush=True)
    if device == "cpu" and float(speed) < REFERENCE_BLAS_GFLOPS:
        raise SystemExit("this PyTorch runs on a reference BLAS; install an optimised one (Debian: libopenblas0-pthread)")
