#!/usr/bin/env python3
"""Times inference of PyTorch and of omniconv in turns, and prints the ratios that deployment is judged by.

Every round runs each program once in a fresh process; a figure is the median over the calls of all rounds, without the
first ones of each process. PyTorch runs the dynamic net as ODConv's authors published it ("eager"), the stronger
unfold + bmm, and the static twin; all in eval mode without gradients.
"""
from __future__ import annotations

import argparse
import json
import statistics
import sys

import pytorch_peer as peer

WARM_UP_CALLS = 3
LATENCY_BAR, SPEEDUP_BAR = 1.6, 3.0  # at batch 1
PEERS = {"PyTorch eager": ("od_resnet18", "eager"), "PyTorch unfold": ("od_resnet18", "unfold"),
         "PyTorch static": ("resnet18", "eager")}
OURS = ("dynamic", "folded", "static")


def worker(job: dict) -> None:
    """Calls a net and prints the seconds of each call as JSON."""
    import torch

    net = peer.build_net(job["model"], job["width"], job["kernels"], job["form"], job["threads"]).eval()
    images = torch.randn(job["batch_size"], 3, 32, 32)
    with torch.inference_mode():
        seconds = peer.seconds_of(lambda: net(images), job["calls"] + WARM_UP_CALLS)
    print(json.dumps(seconds[WARM_UP_CALLS:]))


def measure(batch_size: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """The medians of all rounds, by program."""
    medians: dict[str, list[float]] = {name: [] for name in (*OURS, *PEERS)}
    for number in range(options.rounds):
        print(f"batch {batch_size}, round {number + 1} of {options.rounds}", file=sys.stderr)
        words = [peer.program(options, "cpu"), "bench", "--inference", "--json", "--model", "od_resnet18",
                 "--kernels", options.kernels, "--width", options.width, "--batch-size", batch_size,
                 "--steps", options.calls, "--threads", options.threads]
        result, _ = peer.run_fresh([str(word) for word in words])
        for timing in result["inference"]:
            medians[timing["form"]].append(timing["median_seconds"])
        for name, (model, form) in PEERS.items():
            calls = max(3, options.calls // 4)
            job = {"model": model, "form": form, "kernels": options.kernels, "width": options.width,
                   "batch_size": batch_size, "calls": calls, "threads": options.threads}
            seconds, _ = peer.run_fresh(peer.worker_command(__file__, job))
            medians[name].append(statistics.median(seconds))
    return medians


def parse_arguments() -> argparse.Namespace:
    parser = peer.argument_parser(__doc__)
    parser.add_argument("--kernels", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--calls", type=int, default=20, help="per round and form of omniconv; a quarter of it of PyTorch")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    if options.worker:
        worker(options.worker)
        return
    peer.probe(options.threads, "cpu")
    print("| batch | program | median, ms | images/s | of omniconv's static | PyTorch eager is slower by |")
    print("|---|---|---|---|---|---|")
    for batch_size in options.batch_sizes:
        medians = {name: statistics.median(seconds) for name, seconds in measure(batch_size, options).items()}
        for name, seconds in medians.items():
            print(f"| {batch_size} | {name if name in PEERS else 'omniconv ' + name} | {1000 * seconds:.2f} "
                  f"| {batch_size / seconds:.1f} | {seconds / medians['static']:.2f}x "
                  f"| {medians['PyTorch eager'] / seconds:.2f}x |", flush=True)
        if batch_size == 1:
            ratio, speedup = (medians["dynamic"] / medians["static"], medians["PyTorch eager"] / medians["dynamic"])
            verdicts = [f"dynamic over static {ratio:.2f}x (goal: at most {LATENCY_BAR}x)",
                        f"faster than PyTorch eager {speedup:.2f}x (goal: at least {SPEEDUP_BAR}x)"]
            print("batch 1: " + ", ".join(verdicts), file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except peer.Failed as failure:
        sys.exit(str(failure))
