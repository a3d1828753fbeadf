#!/usr/bin/env python3
"""Trains and evaluates the same network in PyTorch and in omniconv and says how far apart they end.

Both programs start from one safetensors file and see the same records of a CIFAR-10 folder in file order, without
augmentation. Three comparisons, each with a bar; the exit code is 1 when one is missed:

1. twelve steps from neutral attention (zero heads): the losses, and the change of all weights;
2. one step from Kaiming heads at ten times the learning rate: the change of all weights;
3. the logits of an untouched checkpoint, at several widths.

What omniconv has trained is loaded into PyTorch's net under a strict load on the way.

An ODConv net amplifies rounding, so the bar of a weight change is no constant: it is twice what PyTorch itself
loses in single precision against double, measured in the same run. The distance between two runs a and b is
|change a - change b| / |change b| over all parameters at once. A single figure is chance, since one ReLU that rounding
has pushed to the other side of zero decides it: between starts, and between machines, PyTorch's own varies by a factor
of two hundred. Medians over several starts are compared, PyTorch's over both of its forms.
"""
from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "pytorch"))

import odconv  # noqa: E402
from safetensors_io import load_file, save_file  # noqa: E402

RECORD_BYTES = 1 + 3 * 32 * 32
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)
MODEL, KERNELS, WIDTH, BATCH_SIZE = "od_resnet18", 4, 16, 32
LOSS_BAR, CHANGE_FACTOR, LOGIT_BAR = 2e-3, 2.0, 1e-4
Weights = dict[str, Tensor]


# --- data ------------------------------------------------------------------------------------------------


def find_data(folder: Path) -> Path:
    """The folder with the batch files: the one given or its cifar-10-batches-bin."""
    inner = folder / "cifar-10-batches-bin"
    return inner if inner.is_dir() else folder


def read_records(folder: Path, pattern: str, limit: Optional[int] = None) -> tuple[Tensor, Tensor]:
    """The first records of the matching files in file order: normalised images [N,3,32,32] and labels [N]."""
    content = b"".join(path.read_bytes() for path in sorted(folder.glob(pattern)))
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, RECORD_BYTES)[:limit]
    if limit is not None and len(records) < limit:
        raise SystemExit(f"{folder}/{pattern}: {len(records)} records, {limit} are needed")
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).float() / 255.0
    images = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return images, records[:, 0].long()


# --- the two programs ------------------------------------------------------------------------------------


@dataclass
class Training:
    """What both programs are asked to do."""

    title: str
    steps: int
    lr: float
    zero_heads: bool


@dataclass
class Run:
    """What a program made of it: the loss before each update, and the weights at the end."""

    losses: list[float]
    weights: Weights


def write_start(path: Path, width: int, zero_heads: bool, seed: int) -> Weights:
    """Saves Kaiming weights drawn from the seed as the state dict and nothing more."""
    torch.manual_seed(seed)
    net = odconv.build(MODEL, width, KERNELS)
    if zero_heads:
        odconv.zero_heads(net)
    save_file(net.state_dict(), path)
    return net.state_dict()


def parameters_of(net: torch.nn.Module) -> Weights:
    return {name: parameter.detach() for name, parameter in net.named_parameters()}


def train_pytorch(start: Weights, task: Training, data: Path, dtype: torch.dtype, form: str) -> Run:
    images, labels = read_records(data, "data_batch_*.bin", task.steps * BATCH_SIZE)
    net = odconv.build(MODEL, WIDTH, KERNELS, form=form).to(dtype)
    net.load_state_dict(start)
    optimizer = torch.optim.SGD(net.parameters(), task.lr, 0.9, weight_decay=5e-4)
    losses = []
    for batch, classes in zip(images.to(dtype).split(BATCH_SIZE), labels.split(BATCH_SIZE)):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(batch), classes)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Run(losses, parameters_of(net))


def train_omniconv(start: Path, task: Training, options: argparse.Namespace, run: Path) -> Run:
    call_omniconv(options, "train", "--data", options.data, "--init", start, "--out", run, "--model", MODEL,
                  "--width", WIDTH, "--kernels", KERNELS, "--batch-size", BATCH_SIZE, "--lr", task.lr,
                  "--temperature", 1, "--attention-init", "zero" if task.zero_heads else "kaiming",
                  "--max-steps", task.steps, "--no-shuffle", "--no-augment", "--log-steps", "--json")
    lines = (run / "steps.jsonl").read_text().splitlines()
    net = odconv.build(MODEL, WIDTH, KERNELS)
    net.load_state_dict(load_file(run / "last.safetensors"), strict=True)  # raises where a name or shape differs
    return Run([json.loads(line)["loss"] for line in lines], parameters_of(net))


def call_omniconv(options: argparse.Namespace, command: str, *words: object) -> None:
    line = [str(options.omniconv), command, *map(str, words), "--threads", str(options.threads)]
    outcome = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if outcome.returncode != 0:
        raise SystemExit(f"{' '.join(line)}: exit code {outcome.returncode}\n{outcome.stderr}")


# --- the comparisons -------------------------------------------------------------------------------------


def verdict(title: str, figure: float, bar: float) -> bool:
    """Prints one figure beside its bar; NaN does not pass."""
    passed = figure <= bar
    print(f"  {title}: {figure:.2e}, bar {bar:.2e}: {'ok' if passed else 'MISSED'}")
    return passed


def change_distance(a: Weights, b: Weights, start: Weights) -> float:
    """|change a - change b| / |change b| over the parameters of b."""
    difference = torch.stack([(a[name].double() - b[name].double()).norm() for name in b]).norm()
    change = torch.stack([(b[name].double() - start[name].double()).norm() for name in b]).norm()
    return (difference / change).item()


def train_all(task: Training, options: argparse.Namespace, folder: Path, seed: int) -> dict[str, list[float]]:
    """Trains from the start of one seed, prints the losses, and returns how far the runs ended from one another."""
    start_file, data = folder / f"start{seed}.safetensors", find_data(options.data)
    start = write_start(start_file, WIDTH, task.zero_heads, seed)
    # In double precision the two forms differ by less than 1e-11, and this one is the faster.
    exact = train_pytorch(start, task, data, torch.float64, "unfold")
    single = train_pytorch(start, task, data, torch.float32, "eager")
    other = train_pytorch(start, task, data, torch.float32, "unfold")
    ours = train_omniconv(start_file, task, options, folder / f"run{task.steps}-{seed}")
    if len(ours.losses) != task.steps:
        raise SystemExit(f"omniconv logged {len(ours.losses)} steps, {task.steps} were asked for")
    print(f"  seed {seed}")
    print("  step   PyTorch f64   PyTorch f32      omniconv   omniconv - PyTorch f32")
    gaps = [mine - theirs for mine, theirs in zip(ours.losses, single.losses)]
    for number, row in enumerate(zip(exact.losses, single.losses, ours.losses, gaps), start=1):
        print("  {:4d} {:13.6f} {:13.6f} {:13.6f} {:24.1e}".format(number, *row))
    return {
        "PyTorch f32 from f64": [change_distance(run.weights, exact.weights, start) for run in (single, other)],
        "omniconv from PyTorch f64": [change_distance(ours.weights, exact.weights, start)],
        "omniconv from PyTorch f32": [change_distance(ours.weights, single.weights, start)],
        "loss": [max(map(abs, gaps))],
    }


def compare_training(task: Training, options: argparse.Namespace, folder: Path) -> bool:
    print(f"{task.title}: {task.steps} step(s), lr {task.lr:g}, batch {BATCH_SIZE}, width {WIDTH}, K = {KERNELS}")
    outcomes = [train_all(task, options, folder, seed) for seed in options.seeds]
    figures = {title: [figure for outcome in outcomes for figure in outcome[title]] for title in outcomes[0]}

    def median_change(title: str) -> float:
        print(f"  weight change, {title}: " + ", ".join(f"{figure:.2e}" for figure in figures[title]))
        return statistics.median(figures[title])

    own = median_change("PyTorch f32 from f64")
    print(f"    median {own:.2e}")
    passed = [
        verdict("  median", median_change(title), CHANGE_FACTOR * own)
        for title in ("omniconv from PyTorch f64", "omniconv from PyTorch f32")
    ]
    if task.zero_heads:
        passed.append(verdict("largest difference of a loss", max(figures["loss"]), LOSS_BAR))
    return all(passed)


def compare_logits(width: int, options: argparse.Namespace, folder: Path) -> bool:
    checkpoint, output = folder / "checkpoint.safetensors", folder / "logits.safetensors"
    start = write_start(checkpoint, width, zero_heads=False, seed=options.seeds[0])
    net = odconv.build(MODEL, width, KERNELS, form="unfold").eval()
    net.load_state_dict(start)
    images, labels = read_records(find_data(options.data), "test_batch.bin")
    with torch.no_grad():
        expected = torch.cat([net(batch) for batch in images.split(25)])
    call_omniconv(options, "eval", "--checkpoint", checkpoint, "--data", options.data, "--logits", output, "--json")
    actual = load_file(output)
    print(f"logits of an untouched checkpoint: {len(images)} images, width {width}, K = {KERNELS}")
    if actual["logits"].shape != expected.shape or not torch.equal(actual["labels"], labels):
        print("  labels or shapes differ: MISSED")
        return False
    figure = (actual["logits"] - expected).abs().max() / expected.abs().max()
    return verdict("largest difference, relative to the largest logit", figure.item(), LOGIT_BAR)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 binary folder, or its parent")
    parser.add_argument("--omniconv", type=Path, default=ROOT / "build" / "cpu" / "omniconv", help="the program")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64], help="of the comparison of logits")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4],
                        help="of the weights that both programs start from")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    sys.stdout.reconfigure(line_buffering=True)
    trainings = [
        Training("neutral attention", steps=12, lr=0.001, zero_heads=True),
        Training("Kaiming heads", steps=1, lr=0.01, zero_heads=False),
    ]
    with tempfile.TemporaryDirectory() as name:
        passed = [compare_training(task, options, Path(name)) for task in trainings]
        passed += [compare_logits(width, options, Path(name)) for width in options.widths]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
