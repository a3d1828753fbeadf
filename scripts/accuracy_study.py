#!/usr/bin/env python3
"""Trains od_resnet18 (K = 4) and its static twin with the article's recipe, the same seeds for both, and writes the
curves: FILE.csv with a line per run and epoch, FILE.svg with the test accuracies, and a table to standard output.

What is finished already is kept, so that a study that was stopped goes on. Needs python3-matplotlib for the picture."""

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
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy-study"), metavar="DIR", help="run folders")
    parser.add_argument("--write", type=Path, default=Path("docs/accuracy"), metavar="FILE", help="without its ending")
    parser.add_argument("--omniconv", default="build/cuda/omniconv", metavar="PROGRAM")
    parser.add_argument("options", nargs="*", help="further options of `omniconv train`, behind --")
    return parser.parse_args()


def train(arguments, model):
    """The run folders of a model's series."""
    out = arguments.out / model
    command = [arguments.omniconv, "train", "--data", arguments.data, "--recipe", "article", *MODELS[model],
               "--epochs", str(arguments.epochs), "--seeds", arguments.seeds, *arguments.options]
    command += ["--resume", str(out)] if out.exists() else ["--out", str(out)]
    print(" ".join(command), file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)
    return sorted(out.glob("seed-*"), key=lambda folder: int(folder.name.removeprefix("seed-")))


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
    gains = [last[dynamic, seed] - last[static, seed] for model, seed in curves if model == dynamic]
    print(f"\n{dynamic} minus {static}, seed by seed: {', '.join(f'{100 * gain:+.2f}' for gain in gains)} points; "
          f"mean {100 * statistics.mean(gains):+.2f}")


def main():
    arguments = parse_arguments()
    curves = {}
    for model in MODELS:
        for folder in train(arguments, model):
            curves[model, int(folder.name.removeprefix("seed-"))] = curves_of(folder)
    arguments.write.parent.mkdir(parents=True, exist_ok=True)
    write_csv(arguments.write.with_suffix(".csv"), curves)
    print_table(curves)
    write_picture(arguments.write.with_suffix(".svg"), curves)


if __name__ == "__main__":
    main()
