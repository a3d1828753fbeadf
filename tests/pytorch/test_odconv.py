"""Tests of the comparison's own tools, so that a wrong fixture is not mistaken for a wrong engine.

Run with: python3 -m unittest discover -s tests/pytorch
"""
from __future__ import annotations

import itertools
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch

import closed_form
import generate
import odconv
from safetensors_io import load_file, load_metadata, save_file


def parameter_count(model: str, kernels: int, **form: object) -> int:
    return sum(parameter.numel() for parameter in odconv.build(model, kernels=kernels, **form).parameters())


class ModelTest(unittest.TestCase):
    def test_parameter_counts(self) -> None:
        self.assertEqual(parameter_count("od_resnet18", 4), 44_416_202)
        self.assertEqual(parameter_count("od_resnet18", 1), 11_458_506)
        self.assertEqual(parameter_count("resnet18", 1), 11_173_962)

    def test_parameter_counts_of_the_official_form(self) -> None:
        counts = {
            ("od_resnet18", 1): 11_943_944, ("od_resnet18", 4): 44_901_640,
            ("od_resnet34", 1): 22_290_168, ("od_resnet34", 4): 85_551_288,
            ("od_resnet50", 1): 28_635_112, ("od_resnet50", 4): 90_670_888,
            ("od_resnet101", 1): 50_818_769, ("od_resnet101", 4): 169_680_989,
        }
        with mock.patch("odconv.initialise"):  # values do not count
            for (model, kernels), count in counts.items():
                form = {"downsample": "static", "classes": 1000, "stem": "imagenet"}
                self.assertEqual(parameter_count(model, kernels, **form), count)

    def test_names_and_shapes(self) -> None:
        state = odconv.build("od_resnet18", width=8).state_dict()
        shapes = {name: list(tensor.shape) for name, tensor in state.items()}
        self.assertEqual(shapes["layer1.0.conv1.weight"], [4, 8, 8, 3, 3])
        self.assertEqual(shapes["layer1.0.conv1.attention.fc.weight"], [16, 8, 1, 1])
        self.assertEqual(shapes["layer1.0.conv1.attention.spatial_fc.weight"], [9, 16, 1, 1])
        self.assertEqual(shapes["layer1.0.conv1.attention.kernel_fc.bias"], [4])
        self.assertEqual(shapes["layer2.0.downsample.0.weight"], [1, 16, 8, 1, 1])
        self.assertNotIn("layer2.0.downsample.0.attention.spatial_fc.weight", shapes)
        self.assertNotIn("layer2.0.downsample.0.attention.kernel_fc.weight", shapes)

    def test_names_and_shapes_of_a_bottleneck(self) -> None:
        state = odconv.build("od_resnet50", width=8, kernels=2, downsample="static", stem="imagenet").state_dict()
        shapes = {name: list(tensor.shape) for name, tensor in state.items()}
        self.assertEqual(shapes["conv1.weight"], [8, 3, 7, 7])
        self.assertEqual(shapes["layer1.0.conv1.weight"], [2, 8, 8, 1, 1])
        self.assertEqual(shapes["layer1.0.conv3.weight"], [2, 32, 8, 1, 1])
        self.assertEqual(shapes["layer1.0.conv3.attention.kernel_fc.weight"], [2, 16, 1, 1])
        self.assertEqual(shapes["layer1.0.downsample.0.weight"], [32, 8, 1, 1])
        self.assertEqual(shapes["fc.weight"], [10, 256])
        self.assertNotIn("layer1.0.conv1.attention.spatial_fc.weight", shapes)

    def test_plain_loop(self) -> None:
        """The formula of the design, written as sums, on a grouped, strided, dilated layer."""
        layer = odconv.ODConv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, kernels=3).double()
        closed_form.fill_model(layer, 5)
        x = closed_form.make_input(5, "input", (3, 4, 7, 6))
        y = layer(x)
        channel, filters, spatial, kernel = layer.attention(x)
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
        expected = torch.zeros_like(y)
        for n, o, i, k, row, column, r, s in itertools.product(*map(range, (3, 6, 2, 3, *y.shape[2:], 3, 3))):
            plane = (o // 3) * 2 + i
            pixel = padded[n, plane, 2 * row + 2 * r, 2 * column + 2 * s] * channel[n, plane]
            tap = kernel[n, k] * spatial[n, 3 * r + s] * layer.weight[k, o, i, r, s]
            expected[n, o, row, column] += (filters[n, o] * tap * pixel).detach()
        self.assertLess((y - expected).abs().max().item(), 1e-12)

    def test_gradients(self) -> None:
        for form in odconv.FORMS:
            layer = odconv.ODConv2d(3, 2, 3, padding=1, kernels=2, form=form).double()
            closed_form.fill_model(layer, 6)
            x = closed_form.make_input(6, "input", (3, 3, 4, 3)).requires_grad_()
            self.assertTrue(torch.autograd.gradcheck(layer, (x,)))

    def test_zero_heads_are_neutral(self) -> None:
        layer = odconv.ODConv2d(4, 4, 3, padding=1, kernels=4)
        odconv.initialise(layer)
        odconv.zero_heads(layer)
        attentions = layer.attention(torch.randn(3, 4, 5, 5))
        for attention, neutral in zip(attentions, (0.5, 0.5, 0.5, 0.25)):
            self.assertTrue(torch.all(attention == neutral))


class GeneratorTest(unittest.TestCase):
    def test_published_values(self) -> None:
        """The figures of README.md, for whoever writes the generator in another language."""
        self.assertEqual(closed_form.fnv1a("a"), 0xAF63DC4C8601EC8C)
        self.assertEqual(closed_form.hash64(0, "conv1.weight", 0), 0x8B8A08A85128A1B0)
        self.assertEqual(closed_form.value(1000, "input", 7), 0.4453187113177606)

    def test_vectors_equal_integers(self) -> None:
        vector = closed_form.values(42, "käse.weight", 500).tolist()
        self.assertEqual(vector, [closed_form.value(42, "käse.weight", index) for index in range(500)])

    def test_cases_cover_every_triple(self) -> None:
        rows = list(generate.covering(generate.FACTORS, 3))
        covered = {triple for row in rows for triple in itertools.combinations(row.items(), 3)}
        for names in itertools.combinations(generate.FACTORS, 3):
            for values in itertools.product(*(generate.FACTORS[name] for name in names)):
                self.assertIn(tuple(zip(names, values)), covered)

    def test_deviation_keeps_nan(self) -> None:
        nan, one = {"value/x": torch.tensor([float("nan")])}, {"value/x": torch.ones(1)}
        self.assertFalse(generate.deviation(nan, one, ("value/",)) <= 1.0)


class SafetensorsTest(unittest.TestCase):
    def test_round_trip(self) -> None:
        tensors = {dtype: torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
                   for dtype in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8")}
        tensors["scalar"] = torch.tensor(7, dtype=torch.int64)
        tensors["empty"] = torch.empty(0, 3)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file.safetensors"
            save_file(tensors, path, {"b": "2", "a": "ä"})
            loaded = load_file(path)
            self.assertEqual(load_metadata(path), {"a": "ä", "b": "2"})
            self.assertEqual(int.from_bytes(path.read_bytes()[:8], "little") % 8, 0)
        self.assertEqual(list(loaded), sorted(tensors))
        for name, tensor in tensors.items():
            self.assertEqual(loaded[name].dtype, tensor.dtype)
            self.assertTrue(torch.equal(loaded[name], tensor))


if __name__ == "__main__":
    unittest.main()
