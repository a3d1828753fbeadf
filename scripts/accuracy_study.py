#!/usr/bin/env python3
"""Trains od_resnet18 (K = 4) and its static twin with the article's recipe, the same seeds for both, and writes the
curves: FILE.csv with a line per run and epoch, FILE.svg with the test accuracies, and a table to standard output.

The twins take turns, and all is written anew after each run, so that a study that is cut off leaves pairs. What is
finished already is kept: a study that was stopped goes on. Needs python3-matplotlib for the picture."""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

MODELS = {"od_resnet18": ["--model", "od_resnet18", "--kernels", "4"], "resnet18": ["--model", "resnet18"]}
KEYS = ["epoch", "lr", "temperature", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "images_per_second"]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DIR", help="CIFAR-10's binary version")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", default="0,1,2", help="of both models (default: %(default)s)")
    parser.add_argument("--precision", default="bf16", help="default: %(default)s, which tensor cores take")
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy-study"), metavar="DIR", help="run folders")
    parser.add_argument("--write", type=Path, default=Path("docs/accuracy"), metavar="FILE", help="without its ending")
    parser.add_argument("--omniconv", default="build/cuda/omniconv", metavar="PROGRAM")
    parser.add_argument("options", nargs="*", help="further options of `omniconv train`, behind --")
    return parser.parse_args()


def train(arguments, model, seed):
    """The folder of a finished run, or None if it failed."""
    folder = arguments.out / model / f"seed-{seed}"
    command = [arguments.omniconv, "train", "--data", arguments.data, "--no-report"]
    if (folder / "resume.safetensors").exists():
        command += ["--resume", str(folder)]
    else:
        command += ["--out", str(folder), "--recipe", "article", *MODELS[model], "--epochs", str(arguments.epochs),
                    "--seed", str(seed), "--precision", arguments.precision, *arguments.options]
    print(" ".join(command), file=sys.stderr)
    return folder if subprocess.run(command, stdout=sys.stderr).returncode == 0 else None


def curves_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write_csv(path, curves):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "seed", *KEYS])
        for (model, seed), epochs in curves.items():
            writer.writerows([model, seed, *(epoch[key] for key in KEYS)] for epoch in epochs)


def write_picture(path, curves):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "omniconv"  # the same curves give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for (model, seed), epochs in curves.items():
        color = f"C{list(MODELS).index(model)}"
        label = model if seed == min(s for m, s in curves if m == model) else None
        axes.plot([e["epoch"] for e in epochs], [e["test_accuracy"] for e in epochs], color=color, alpha=0.8, label=label)
    axes.set(xlabel="epoch", ylabel="test accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def print_table(curves):
    print("| model | seed | last test accuracy | best | train loss | images/s |")
    print("|---|---|---|---|---|---|")
    last = {}
    for (model, seed), epochs in curves.items():
        best = max(epoch["test_accuracy"] for epoch in epochs)
        end = epochs[-1]
        last[model, seed] = end["test_accuracy"]
        speed = statistics.median(epoch["images_per_second"] for epoch in epochs)
        print(f"| {model} | {seed} | {end['test_accuracy']:.4f} | {best:.4f} | {end['train_loss']:.4f} | {speed:.0f} |")
    dynamic, static = MODELS
    gains = [last[dynamic, seed] - last[static, seed] for model, seed in last if model == dynamic and (static, seed) in last]
    if gains:
        print(f"\n{dynamic} minus {static}, seed by seed: {', '.join(f'{100 * gain:+.2f}' for gain in gains)} points; "
              f"mean {100 * statistics.mean(gains):+.2f}")


def main():
    arguments = parse_arguments()
    curves, failed = {}, []
    arguments.write.parent.mkdir(parents=True, exist_ok=True)
    for seed in map(int, arguments.seeds.split(",")):
        for model in MODELS:
            folder = train(arguments, model, seed)
            if folder is None:
                failed.append(f"{model}, seed {seed}")
                continue
            curves[model, seed] = curves_of(folder)
            write_csv(arguments.write.with_suffix(".csv"), curves)
            write_picture(arguments.write.with_suffix(".svg"), curves)
    if curves:
        print_table(curves)
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
