#!/usr/bin/env python3
"""Writes the fixtures that omniconv's tests compare themselves with, or checks that they are up to date.

Fixtures hold PyTorch's results alone; inputs and weights come from the formula in closed_form.py. Which cases
there are, and each case's configuration and seed, stands in the `__metadata__` of each file; README.md
describes the format. Seeds are searched, not chosen: a case takes the first seed at which the comparison is
fair, that is where no ReLU input lies so close to zero that rounding could flip it, and where single precision
agrees with double and the eager form with the unfold form.
"""
from __future__ import annotations

import argparse
import filecmp
import itertools
import json
import math
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import odconv
from closed_form import fill_model, make_cotangent, make_input, make_labels, sample_indices
from safetensors_io import load_file, save_file

FIXTURES = Path(__file__).resolve().parent / "fixtures"
ATTENTIONS = ("channel", "filter", "spatial", "kernel")
Results = dict[str, Tensor]
Case = dict[str, object]

FACTORS: dict[str, tuple] = {
    "kernel_size": (3, 1, 5),
    "kernels": (4, 2, 1),
    "stride": (1, 2),
    "dilation": (1, 2),
    "grouping": ("none", "two", "depthwise"),
    "temperature": (1.0, 0.5, 30.0),
    "mode": ("train", "eval"),
}
SIZES = ((7, 5), (6, 9), (8, 8), (5, 7), (9, 6))
CHANNELS = {
    "none": ((4, 6), (5, 7), (7, 4), (6, 6), (4, 8)),
    "two": ((4, 6), (6, 4), (8, 4), (2, 4)),
    "depthwise": ((4, 4), (5, 5), (8, 8), (7, 7)),
}


# --- which cases there are -------------------------------------------------------------------------------


def covering(factors: dict[str, tuple], strength: int) -> Iterator[Case]:
    """Greedy rows until every combination of values of every `strength` factors occurs in some row."""
    names = list(factors)
    rows = [dict(zip(names, row)) for row in itertools.product(*factors.values())]

    def combinations(row: Case) -> set[tuple]:
        return set(itertools.combinations(row.items(), strength))

    missing = set().union(*map(combinations, rows))
    while missing:
        best = max(rows, key=lambda row: len(combinations(row) & missing))
        missing -= combinations(best)
        yield best


def layer_cases() -> list[Case]:
    """ODConv2d: every triple of factor values, so every pair too; sizes, paddings and reductions go round."""
    cases = []
    for number, row in enumerate(covering(FACTORS, strength=3)):
        grouping = row.pop("grouping")
        channels = CHANNELS[grouping]
        in_planes, out_planes = channels[number % len(channels)]
        same = row["dilation"] * (row["kernel_size"] - 1) // 2
        cases.append({
            "name": f"case{number:02d}",
            "batch": (3 + number % 2) if row["mode"] == "train" else 2,
            "in_planes": in_planes,
            "out_planes": out_planes,
            "height": SIZES[number % len(SIZES)][0],
            "width": SIZES[number % len(SIZES)][1],
            "padding": abs(same - 1) if number % 4 == 3 else same,
            "groups": {"none": 1, "two": 2, "depthwise": in_planes}[grouping],
            "reduction": 3.0 if number % 5 == 4 else 0.0625,
            **row,
        })
    return cases


def block_cases(block: str) -> list[Case]:
    """Blocks: identity, a change of width alone, and a stride, with both kinds of down-sampling."""
    rows = {
        "basic": (
            (4, 4, 1, "odconv", 4, 1.0, "train"),
            (4, 8, 2, "odconv", 4, 1.0, "train"),
            (4, 8, 2, "static", 4, 1.0, "train"),
            (4, 8, 2, "odconv", 1, 30.0, "train"),
            (6, 4, 1, "odconv", 2, 1.0, "eval"),
            (4, 6, 2, "static", 1, 0.5, "eval"),
        ),
        "bottleneck": (
            (12, 12, 1, "static", 4, 1.0, "train"),
            (6, 16, 2, "static", 4, 1.0, "train"),
            (6, 16, 2, "odconv", 2, 1.0, "train"),
            (4, 12, 1, "static", 1, 30.0, "train"),
            (8, 8, 1, "static", 2, 0.5, "eval"),
            (5, 16, 2, "odconv", 4, 1.0, "eval"),
        ),
    }
    keys = ("in_planes", "out_planes", "stride", "downsample", "kernels", "temperature", "mode")
    shape = {"batch": 4, "height": 7, "width": 6, "reduction": 0.0625}
    return [{"name": f"block{number}", **shape, **dict(zip(keys, row))} for number, row in enumerate(rows[block])]


def network_cases() -> list[Case]:
    """Whole nets: od_resnet18 with K = 4 and 1, with static down-sampling, its static twin, and two official models."""
    rows = (
        ("od_resnet18_k4", "od_resnet18", 4, "odconv", "cifar", 32),
        ("od_resnet18_k1", "od_resnet18", 1, "odconv", "cifar", 32),
        ("od_resnet18_k2_static_downsample", "od_resnet18", 2, "static", "cifar", 32),
        ("resnet18", "resnet18", 1, "static", "cifar", 32),
        ("od_resnet18_k4_imagenet", "od_resnet18", 4, "static", "imagenet", 64),
        ("od_resnet50_k2_imagenet", "od_resnet50", 2, "static", "imagenet", 64),
    )
    keys = ("name", "model", "kernels", "downsample", "stem", "image_size")
    shape = {"batch": 4, "width": 8, "classes": 10, "reduction": 0.0625, "temperature": 1.0}
    return [{**dict(zip(keys, row)), **shape} for row in rows]


def training_cases() -> list[Case]:
    """Six steps that move both schedules: three epochs of two batches, the temperature falling over two epochs."""
    case = network_cases()[0]
    del case["temperature"]
    return [{
        **case, "heads": "zero", "epochs": 3, "batches_per_epoch": 2,
        "lr": 0.001, "momentum": 0.9, "weight_decay": 5e-4,
        "temperature_start": 5.0, "temperature_end": 1.0, "temperature_epochs": 2,
    }]


# --- running a case --------------------------------------------------------------------------------------


class Probe:
    """Listens to a net: the attentions of the last forward, and how near to zero ReLU inputs have come."""

    def __init__(self, net: nn.Module):
        self.attentions: Results = {}
        self.trunk_margin = math.inf
        self.feature_margin = math.inf
        for name, module in net.named_modules():
            if isinstance(module, odconv.ODConvAttention):
                module.register_forward_hook(self._attention_hook(name))
                module.relu.register_forward_pre_hook(self._trunk_hook)
            elif isinstance(module, nn.ReLU) and not name.endswith("attention.relu"):
                module.register_forward_pre_hook(self._feature_hook)

    def _attention_hook(self, name: str) -> Callable:
        def hook(_module: nn.Module, _inputs: tuple, outputs: tuple) -> None:
            for kind, attention in zip(ATTENTIONS, outputs):
                if attention is not None:
                    self.attentions[f"value/{name}.{kind}"] = attention.detach()
        return hook

    def _trunk_hook(self, _module: nn.Module, inputs: tuple) -> None:
        self.trunk_margin = min(self.trunk_margin, inputs[0].abs().min().item())

    def _feature_hook(self, _module: nn.Module, inputs: tuple) -> None:
        self.feature_margin = min(self.feature_margin, inputs[0].abs().min().item())


@dataclass
class Outcome:
    """The tensors of one run and the two margins of its ReLUs."""

    results: Results
    trunk_margin: float
    feature_margin: float


def state_results(net: nn.Module) -> Results:
    return {f"state/{name}": buffer.clone() for name, buffer in net.named_buffers()}


def summary(name: str, tensor: Tensor) -> Tensor:
    """[17]: the Euclidean norm, then the 16 elements at sample_indices(name, numel)."""
    flat = tensor.detach().flatten()
    return torch.cat([flat.norm().view(1), flat[sample_indices(name, flat.numel())]])


def run_module(net: nn.Module, case: Case, dtype: torch.dtype) -> Outcome:
    """Forward and backward of a layer or block for the loss sum(output * cotangent)."""
    seed, training = case["seed"], case["mode"] == "train"
    fill_model(net.to(dtype), seed)  # a module that is filled in f32 and widened then would be off by f32's rounding
    net.train(training)
    odconv.set_temperature(net, case["temperature"])
    probe = Probe(net)
    shape = (case["batch"], case["in_planes"], case["height"], case["width"])
    x = make_input(seed, "input", shape).to(dtype).requires_grad_()
    y = net(x)
    y.backward(make_cotangent(seed, tuple(y.shape)).to(dtype))
    results = {"value/output": y.detach(), "grad/input": x.grad, **probe.attentions}
    results.update({f"grad/{name}": parameter.grad for name, parameter in net.named_parameters()})
    results.update(state_results(net) if training else {})
    return Outcome(results, probe.trunk_margin, probe.feature_margin)


def run_layer(case: Case, dtype: torch.dtype, form: str) -> Outcome:
    keys = ("in_planes", "out_planes", "kernel_size", "stride", "padding", "dilation", "groups", "reduction", "kernels")
    return run_module(odconv.ODConv2d(**{key: case[key] for key in keys}, form=form), case, dtype)


def run_block(block: type, case: Case, dtype: torch.dtype, form: str) -> Outcome:
    make = odconv.ConvFactory(True, case["kernels"], case["reduction"], case["downsample"], form)
    planes = case["out_planes"] // block.expansion
    return run_module(block(case["in_planes"], planes, case["stride"], make), case, dtype)


def build_network(case: Case, dtype: torch.dtype, form: str) -> odconv.ResNet:
    keys = ("model", "width", "kernels", "reduction", "downsample", "classes", "stem")
    net = odconv.build(**{key: case[key] for key in keys}, form=form)
    fill_model(net.to(dtype), case["seed"])
    return net


def network_input(case: Case, name: str) -> Tensor:
    return make_input(case["seed"], name, (case["batch"], 3, case["image_size"], case["image_size"]))


def run_network(case: Case, dtype: torch.dtype, form: str) -> Outcome:
    """One evaluation with the running statistics of the formula, then one training step without the update."""
    net = build_network(case, dtype, form)
    odconv.set_temperature(net, case["temperature"])
    probe = Probe(net)
    x = network_input(case, "input").to(dtype)
    results: Results = {"value/eval_logits": net.eval()(x).detach()}
    x.requires_grad_()
    logits = net.train()(x)
    loss = F.cross_entropy(logits, make_labels(0, case["batch"]))
    loss.backward()
    results.update({"value/logits": logits.detach(), "value/loss": loss.detach(), "grad/input": summary("input", x.grad)})
    for name, parameter in net.named_parameters():
        results[f"grad/{name}"] = summary(name, parameter.grad)
    results.update(_running_summaries(net))
    return Outcome(results, probe.trunk_margin, probe.feature_margin)


def run_training(case: Case, dtype: torch.dtype, form: str) -> Outcome:
    """SGD steps from zero heads; summaries of the weights, and of their change so far, after each step."""
    net = build_network(case, dtype, form).train()
    odconv.zero_heads(net)
    start = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimizer = torch.optim.SGD(net.parameters(), case["lr"], case["momentum"], weight_decay=case["weight_decay"])
    probe = Probe(net)
    rows: dict[str, list[Tensor]] = {}
    for step in range(case["epochs"] * case["batches_per_epoch"]):
        row = _training_step(case, net, optimizer, step, dtype)
        for name, parameter in net.named_parameters():
            row[f"weight/{name}"] = summary(name, parameter)
            row[f"change/{name}"] = summary(name, parameter - start[name])
        row.update(_running_summaries(net))
        for key, tensor in row.items():
            rows.setdefault(key, []).append(tensor)
    results = {key: torch.stack(tensors) for key, tensors in rows.items()}
    return Outcome(results, probe.trunk_margin, probe.feature_margin)


def _training_step(case: Case, net: nn.Module, optimizer: torch.optim.SGD, step: int, dtype: torch.dtype) -> Results:
    epoch, batch = divmod(step, case["batches_per_epoch"])
    lr = 0.5 * case["lr"] * (1.0 + math.cos(math.pi * epoch / case["epochs"]))
    falling = case["temperature_epochs"] * case["batches_per_epoch"]
    share = max(0.0, (falling - step) / falling)
    temperature = case["temperature_end"] + (case["temperature_start"] - case["temperature_end"]) * share
    optimizer.param_groups[0]["lr"] = lr
    odconv.set_temperature(net, temperature)
    optimizer.zero_grad()
    logits = net(network_input(case, f"batch{batch}.input").to(dtype))
    loss = F.cross_entropy(logits, make_labels(batch * case["batch"], case["batch"]))
    loss.backward()
    optimizer.step()
    return {
        "value/loss": loss.detach(),
        "value/lr": torch.tensor(lr, dtype=torch.float64),
        "value/temperature": torch.tensor(temperature, dtype=torch.float64),
    }


def _running_summaries(net: nn.Module) -> Results:
    return {f"state/{name}": summary(name, buffer) for name, buffer in net.named_buffers() if buffer.is_floating_point()}


# --- fair seeds ------------------------------------------------------------------------------------------


def deviation(actual: Results, expected: Results, kinds: tuple[str, ...]) -> float:
    """The worst |a - b| over the largest |b| of a tensor, among tensors whose key starts with one of `kinds`."""
    worst = torch.zeros(1, dtype=torch.float64)
    for key, b in expected.items():
        if key.startswith(kinds):
            a, b = actual[key].double(), b.double()
            worst = torch.maximum(worst, (a - b).abs().max() / b.abs().max().clamp_min(1e-300))  # keeps a NaN
    return worst.item()


@dataclass
class Fixture:
    """One kind of case: how to run it, in which precisions it is stored, and what makes a seed fair."""

    name: str
    cases: list[Case]
    run: Callable[[Case, torch.dtype, str], Outcome]
    trunk_margin: float
    feature_margin: float
    form_bar: float  # eager against unfold, f64
    single_bars: tuple[float, ...] = ()  # f32 against f64, values and gradients; empty: no f32 fixture
    tensors: dict[torch.dtype, Results] = field(default_factory=lambda: {torch.float64: {}, torch.float32: {}})
    worst: list[float] = field(default_factory=list)

    def generate(self) -> None:
        for number, case in enumerate(self.cases):
            for seed in itertools.count(1000 * (number + 1)):
                case["seed"] = seed
                if self._try(case):
                    break

    def _try(self, case: Case) -> bool:
        """Runs the case with its present seed and keeps the results where the seed is fair."""
        exact = self.run(case, torch.float64, "eager")
        if exact.trunk_margin < self.trunk_margin or exact.feature_margin < self.feature_margin:
            return False
        figures = [deviation(self.run(case, torch.float64, "unfold").results, exact.results, ("",))]
        outcomes = {torch.float64: exact}
        if self.single_bars:
            single = outcomes[torch.float32] = self.run(case, torch.float32, "eager")
            figures.append(deviation(single.results, exact.results, ("value/", "state/")))
            figures.append(deviation(single.results, exact.results, ("grad/",)))
        if not all(figure <= bar for figure, bar in zip(figures, (self.form_bar, *self.single_bars))):
            return False
        for dtype, outcome in outcomes.items():
            self._keep(case, dtype, outcome.results)
        self.worst = [max(pair) for pair in itertools.zip_longest(self.worst, figures, fillvalue=0.0)]
        return True

    def _keep(self, case: Case, dtype: torch.dtype, results: Results) -> None:
        self.tensors[dtype].update({f"{case['name']}/{key}": tensor for key, tensor in results.items()})

    def write(self, folder: Path) -> None:
        metadata = {
            "cases": json.dumps(self.cases, sort_keys=True),
            "fixture": self.name,
            "torch": torch.__version__,
        }
        for dtype, suffix in ((torch.float64, "f64"), (torch.float32, "f32")):
            if self.tensors[dtype]:
                path = folder / f"{self.name}.{suffix}.safetensors"
                save_file(self.tensors[dtype], path, metadata)
                print(f"{path.name:28} {len(self.cases):3} cases {path.stat().st_size:9,} bytes")
        labels = ("unfold against eager", "f32 values", "f32 gradients")
        print("    worst: " + ", ".join(f"{label} {figure:.1e}" for label, figure in zip(labels, self.worst)))


def fixtures() -> list[Fixture]:
    block_bars = (1e-3, 1e-4, 1e-11, (2e-6, 2e-5))
    return [
        Fixture("odconv2d", layer_cases(), run_layer, 1e-3, 0.0, 1e-11, (2e-6, 2e-5)),
        Fixture("basic_block", block_cases("basic"), partial(run_block, odconv.BasicBlock), *block_bars),
        Fixture("bottleneck", block_cases("bottleneck"), partial(run_block, odconv.Bottleneck), *block_bars),
        Fixture("network", network_cases(), run_network, 1e-5, 1e-7, 1e-9),
        Fixture("training", training_cases(), run_training, 1e-5, 1e-7, 1e-9),
    ]


# --- the program -----------------------------------------------------------------------------------------


def generate(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for fixture in fixtures():
        fixture.generate()
        fixture.write(folder)


def check(folder: Path) -> int:
    """Generates everything again and compares bytes; 0 when all files are equal."""
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        names = sorted({path.name for root in (folder, Path(fresh)) for path in root.glob("*.safetensors")})
        _, different, missing = filecmp.cmpfiles(folder, fresh, names, shallow=False)
        for name in different:
            old, new = load_file(folder / name), load_file(Path(fresh) / name)
            figure = f"{deviation(new, old, ('',)):.1e} apart" if old.keys() == new.keys() else "other tensors"
            print(f"{name}: not what PyTorch {torch.__version__} gives here: {figure}", file=sys.stderr)
        for name in missing:
            print(f"{name}: not in both folders", file=sys.stderr)
    return 1 if different or missing else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES, help="the folder of the fixtures")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with what the folder holds")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if arguments.check:
        return check(arguments.out)
    generate(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
