"""The closed-form generator: inputs and weights as a formula, so that fixtures hold results only.

`value(seed, name, index)` is a double in [-1, 1) that depends on nothing but its three arguments. All of it
is 64-bit unsigned arithmetic modulo 2^64:

    FNV-1a    h = 0xCBF29CE484222325; for each byte of the UTF-8 name: h = (h xor byte) * 0x100000001B3
    hash      z = (h xor seed) + (index + 1) * 0x9E3779B97F4A7C15
              z = (z xor (z >> 30)) * 0xBF58476D1CE4E5B9
              z = (z xor (z >> 27)) * 0x94D049BB133111EB
              hash(seed, name, index) = z xor (z >> 31)
    value     u = (hash >> 11) * 2^-53                    uniform in [0, 1)
              value(seed, name, index) = 2 * u - 1        exact: a multiple of 2^-52

`index` counts the elements of the tensor in PyTorch's row-major order: [N, C, H, W] for activations,
[K, O, I/groups, k, k] for the kernels of an ODConv. What a tensor is filled with follows from its name in the
state dict and its rank, v being its value:

    *.running_mean                      v / 8
    *.running_var                       1 + v / 2
    *.num_batches_tracked               0
    *.bias                              v / 8
    *.weight of rank 1 (batch norm)     1 + v / 8
    *_fc.weight (attention heads)       v / 2
    fc.weight of rank 2 (classifier)    sqrt(3 / in_features) * v
    any other *.weight                  sqrt(6 / fan_in) * v, fan_in the product of the last three dimensions
    input [N, C, H, W]                  v + value(seed, "<name>.mean", n * C + c)
    cotangent                           v
    labels                              (3 * n + 1) mod 10

The scales keep a net well conditioned and its attention far from neutral; the mean of each input plane keeps
the pooled input, on which the attention rests, away from zero. Each value needs one rounding at most, because
scales that meet an addition are powers of two: fused multiply-adds do not change a bit. Single precision is
the double, rounded.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def fnv1a(name: str) -> int:
    """64-bit FNV-1a of the UTF-8 name."""
    h = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def hash64(seed: int, name: str, index: int) -> int:
    """The hash in plain integers, which the vectorised form below is tested against."""
    z = ((fnv1a(name) ^ seed) + (index + 1) * GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def value(seed: int, name: str, index: int) -> float:
    """One number in [-1, 1)."""
    return 2.0 * ((hash64(seed, name, index) >> 11) * 2.0**-53) - 1.0


def values(seed: int, name: str, count: int) -> Tensor:
    """value(seed, name, 0 .. count-1) as f64 [count]; int64 wraps as uint64 does, only shifts need a mask."""
    z = (torch.arange(count) + 1) * _signed(GOLDEN) + _signed(fnv1a(name) ^ seed)
    z = (z ^ _shift(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift(z, 27)) * _signed(0x94D049BB133111EB)
    z = z ^ _shift(z, 31)
    return 2.0 * (_shift(z, 11).double() * 2.0**-53) - 1.0


def fill_model(net: nn.Module, seed: int) -> None:
    """Sets every parameter and buffer of the net from its name."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            tensor.copy_(_state(seed, name, tuple(tensor.shape)))


def make_input(seed: int, name: str, shape: tuple[int, int, int, int]) -> Tensor:
    """An f64 input [N, C, H, W], every plane around a mean of its own."""
    means = values(seed, name + ".mean", shape[0] * shape[1]).view(shape[0], shape[1], 1, 1)
    return values(seed, name, math.prod(shape)).view(shape) + means


def make_cotangent(seed: int, shape: tuple[int, ...]) -> Tensor:
    """The f64 gradient of the loss with respect to the output."""
    return values(seed, "cotangent", math.prod(shape)).view(shape)


def make_labels(first: int, count: int) -> Tensor:
    """The classes of images first .. first+count-1."""
    return (3 * torch.arange(first, first + count) + 1) % 10


def sample_indices(name: str, count: int, samples: int = 16) -> Tensor:
    """The elements of a tensor that a summary holds: hash(0, name, j) mod count, repeats allowed."""
    return torch.tensor([hash64(0, name, j) % count for j in range(samples)])


def _state(seed: int, name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    v = values(seed, name, math.prod(shape)).view(shape)
    if name.endswith("running_var"):
        return 1.0 + v / 2.0
    if name.endswith(("running_mean", "bias")):
        return v / 8.0
    if len(shape) == 1:
        return 1.0 + v / 8.0
    if name.endswith("_fc.weight"):
        return v / 2.0
    if len(shape) == 2:
        return math.sqrt(3.0 / shape[1]) * v
    return math.sqrt(6.0 / math.prod(shape[-3:])) * v


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)
