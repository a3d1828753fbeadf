#!/usr/bin/env python3
"""Checks exported ONNX models with ONNX's checker and ONNX Runtime against omniconv's own logits.

Trains a few small nets for some steps, or takes --checkpoint; exports each in its dynamic, folded and static form; and
compares logits on test images at batch sizes 1, 2 and 7. Exits with 77, which CTest counts as skipped, where the Python
packages numpy, onnx and onnxruntime are not installed.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
BAR = 1e-4  # absolute, and of the largest logit where that is below 1
BATCH_SIZES = (1, 2, 7)
IMAGES = sum(BATCH_SIZES)
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
STATIC_TRAINING = ["--batch-size", "16", "--max-steps", "3"]
TRAINING = [*STATIC_TRAINING, "--temperature", "2"]
# Until their running statistics have settled, the logits of deep nets are beyond any bar.
LONG_TRAINING = ["--batch-size", "16", "--temperature", "10", "--max-steps", "20", "--lr", "0.001"]
NETS = {
    "K = 4": ["--model", "od_resnet18", "--kernels", "4", "--width", "16", *TRAINING],
    "K = 1, layer norm": ["--model", "od_resnet18", "--kernels", "1", "--width", "8", "--attention-norm", "layer",
                          "--downsample", "static", *TRAINING],
    "bottlenecks, max-pool": ["--model", "od_resnet50", "--kernels", "2", "--width", "8", "--stem", "imagenet",
                              *LONG_TRAINING],
    "static": ["--model", "resnet18", "--width", "8", *STATIC_TRAINING],
}

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)


def call(*words: object) -> None:
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}")


def read_logits(path: Path) -> np.ndarray:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    entry = json.loads(content[8:start])["logits"]
    begin, end = entry["data_offsets"]
    return np.frombuffer(content[start + begin:start + end], dtype="<f4").reshape(entry["shape"])


def read_images(data: Path) -> np.ndarray:
    """The first test images, normalised, [IMAGES, 3, 32, 32]."""
    folder = data if (data / "test_batch.bin").exists() else data / "cifar-10-batches-bin"
    records = np.fromfile(folder / "test_batch.bin", dtype=np.uint8, count=IMAGES * 3073).reshape(IMAGES, 3073)
    pixels = records[:, 1:].reshape(IMAGES, 3, 32, 32).astype(np.float32) / 255
    mean, deviation = (np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def check_structure(model: onnx.ModelProto) -> None:
    """Convolutions have constant weights and no group per sample; the batch is free."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] not in constants:
            raise SystemExit(f"{node.name}: a Conv with computed weights")
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    if batch.dim_param != "batch":
        raise SystemExit("the input's batch is not free")


def check(title: str, checkpoint: Path, data: Path, program: Path, folder: Path) -> bool:
    exported, output = folder / "model.onnx", folder / "logits.safetensors"
    call(program, "export", "--checkpoint", checkpoint, "--out", exported)
    call(program, "eval", "--checkpoint", checkpoint, "--data", data, "--logits", output)
    model = onnx.load(str(exported))
    onnx.checker.check_model(model, full_check=True)
    check_structure(model)
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    images, expected = read_images(data), read_logits(output)[:IMAGES]
    rows, first = [], 0
    for size in BATCH_SIZES:
        rows.append(session.run(["logits"], {"input": images[first:first + size]})[0])
        first += size
    difference = float(np.abs(np.concatenate(rows) - expected).max())
    bar = BAR * min(1.0, float(np.abs(expected).max()))
    passed = difference <= bar  # a NaN does not pass
    print(f"{title:34} {exported.stat().st_size:10} bytes   largest difference {difference:.1e} (bar {bar:.1e})"
          f"   {'passed' if passed else 'MISSED'}", flush=True)
    return passed


def forms(title: str, checkpoint: Path, data: Path, program: Path, folder: Path) -> list[tuple[str, Path]]:
    found = [(f"{title}: as trained", checkpoint)]
    kinds = [("folded", [])] + ([] if title == "static" else [("static", ["--data", data, "--samples", "64"])])
    for kind, words in kinds:
        file = folder / f"{kind}.safetensors"
        call(program, "convert", "--checkpoint", checkpoint, "--to", kind, "--out", file, *words)
        found.append((f"{title}: {kind}", file))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--omniconv", type=Path, required=True, help="the program")
    parser.add_argument("--data", type=Path, help="CIFAR-10 binary folder, or its parent; drawn images without it")
    parser.add_argument("--checkpoint", type=Path, help="a dynamic net to check instead of small ones trained here")
    options = parser.parse_args()
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    passed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = options.data
        if data is None:
            data = folder / "data"
            call(options.omniconv, "synth", "--out", data, "--train", "80", "--test", str(IMAGES))
        nets = {"checkpoint": options.checkpoint} if options.checkpoint else NETS
        for title, net in nets.items():
            checkpoint = net
            if not options.checkpoint:
                call(options.omniconv, "train", "--data", data, "--out", folder / "run", *net)
                checkpoint = folder / "run" / "last.safetensors"
            passed += [check(form, file, data, options.omniconv, folder)
                       for form, file in forms(title, checkpoint, data, options.omniconv, folder)]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
