#!/usr/bin/env python3
"""Checks event files of omniconv train --tensorboard with TensorBoard's own reader.

Trains a small net without a stop, with a stop within an epoch, and with a kill in between; each time the scalars must be
those of metrics.jsonl and steps.jsonl, and the pictures must be decoded. Exits with 77 where the Python packages
tensorboard and pillow are not installed.
"""
from __future__ import annotations

import argparse
import io
import json
import logging
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SKIPPED = 77
EPOCHS, STEPS = 4, 5  # epochs of a run, steps of an epoch
OPTIONS = ["--model", "od_resnet18", "--kernels", "2", "--width", "8", "--epochs", str(EPOCHS), "--batch-size", "20",
           "--temperature", "4:1:3", "--lr", "0.02", "--threads", "2"]
MAPS = 16 * 4 + 3 * 2  # four attentions of each 3x3 convolution, two of each shortcut
CLASSES = 10
STEP_TAGS = {"step/loss", "step/accuracy", "step/lr", "step/temperature", "step/images_per_second"}

try:
    from PIL import Image
    from tensorboard.backend.event_processing import event_accumulator
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(f"check_tensorboard: {message}")


def start(program: Path, *words: object) -> subprocess.Popen:
    return subprocess.Popen([str(program), "train", *map(str, words), "--tensorboard", "--log-steps"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train(program: Path, *words: object) -> None:
    process = start(program, *words)
    output = process.communicate()[0]
    expect(process.returncode == 0, f"omniconv train: exit code {process.returncode}\n{output}")


def single(value: float) -> float:
    """`value` as an event holds it, rounded to f32."""
    return struct.unpack("f", struct.pack("f", value))[0]


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_epochs(run: Path, events: event_accumulator.EventAccumulator, stop: int | None) -> None:
    """Every number of metrics.jsonl, and no other but those of a stop within an epoch."""
    expected = {}
    for line in lines_of(run / "metrics.jsonl"):
        for key, value in line.items():
            if key not in ("epoch", "step") and isinstance(value, (int, float)):
                expected.setdefault(f"epoch/{key}", []).append((line["step"], single(value)))
    epochs = len(expected["epoch/test_loss"])
    expect(epochs == EPOCHS, f"{run.name}: expected {EPOCHS} epochs, got {epochs}")
    found = {tag: [(event.step, event.value) for event in events.Scalars(tag) if event.step != stop]
             for tag in events.Tags()["scalars"] if tag.startswith("epoch/")}
    expect(found == expected, f"{run.name}: expected {expected}, got {found}")


def check_steps(run: Path, events: event_accumulator.EventAccumulator) -> None:
    """Losses are means of those in steps.jsonl since the point before; steps ascend, whatever was killed."""
    expect({tag for tag in events.Tags()["scalars"] if tag.startswith("step/")} == STEP_TAGS, "other tags of steps")
    steps = [event.step for event in events.Scalars("step/loss")]
    expect(steps == sorted(set(steps)) and steps[-1] == EPOCHS * STEPS, f"{run.name}: steps {steps}")
    for tag in STEP_TAGS:
        expect([event.step for event in events.Scalars(tag)] == steps, f"{run.name}: {tag} has other steps")
    losses = {line["step"]: line["loss"] for line in lines_of(run / "steps.jsonl")}
    for before, event in zip([0, *steps], events.Scalars("step/loss")):
        since = [losses[step] for step in range(before + 1, event.step + 1)]
        expect(abs(event.value - sum(since) / len(since)) <= 1e-5 * event.value, f"{run.name}: loss at {event.step}")


def check_maps(run: Path, events: event_accumulator.EventAccumulator, stop: int | None) -> None:
    tags = events.Tags()["images"]
    expect(len(tags) == MAPS and all(tag.startswith("attention/layer") for tag in tags), f"{run.name}: maps {tags}")
    for tag in tags:
        for event in events.Images(tag):
            picture = Image.open(io.BytesIO(event.encoded_image_string))
            picture.load()
            expect(picture.size == (event.width, event.height), f"{tag}: {picture.size}")
            means = picture.crop((0, 0, picture.width, picture.height // 2)).getextrema()
            expect(picture.height > 2 * CLASSES and any(low < high for low, high in means), f"{tag}: an empty picture")
        epochs = {STEPS * (epoch + 1) for epoch in range(EPOCHS)}
        expect({event.step for event in events.Images(tag)} - {stop} == epochs, f"{tag}: other steps")


def check(run: Path, files: int, stop: int | None = None) -> None:
    found = list(run.glob("events.out.tfevents.*"))
    expect(len(found) == files, f"{run.name}: expected {files} event files, got {len(found)}")
    everything = {event_accumulator.SCALARS: 0, event_accumulator.IMAGES: 0}
    events = event_accumulator.EventAccumulator(str(run), size_guidance=everything)
    events.Reload()
    check_epochs(run, events, stop)
    check_steps(run, events)
    check_maps(run, events, stop)
    print(f"{run.name}: {len(events.Tags()['scalars'])} scalars, {len(events.Tags()['images'])} maps, "
          f"{sum(file.stat().st_size for file in found)} bytes in {files} files")


def kill_after(process: subprocess.Popen, log: Path, steps: int) -> None:
    """Kills the run when its log has that many steps."""
    while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < steps):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    expect(process.returncode < 0, "the run was to be killed, but it ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--omniconv", type=Path, required=True, help="the program")
    program = parser.parse_args().omniconv
    logging.disable(logging.WARNING)  # the reader warns of what a resumed run takes back
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        subprocess.run([program, "synth", "--out", data, "--train", str(20 * STEPS), "--test", "40"], check=True,
                       stdout=subprocess.DEVNULL)
        whole, stopped, killed = folder / "whole", folder / "stopped", folder / "killed"
        train(program, "--data", data, "--out", whole, *OPTIONS)
        check(whole, files=1)

        train(program, "--data", data, "--out", stopped, *OPTIONS, "--max-steps", STEPS + 2)
        train(program, "--resume", stopped)
        check(stopped, files=2, stop=STEPS + 2)

        kill_after(start(program, "--data", data, "--out", killed, *OPTIONS), killed / "steps.jsonl", STEPS + 2)
        train(program, "--resume", killed)
        check(killed, files=2)
        # A new run takes the old one's place.
        train(program, "--data", data, "--out", killed, *OPTIONS)
        check(killed, files=1)


if __name__ == "__main__":
    main()
