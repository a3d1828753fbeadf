"""Omni-dimensional dynamic convolution in plain PyTorch: what omniconv is compared with.

Two forms of the same function, chosen by `form`:

- "eager": as the authors published it (github.com/OSVAI/ODConv): one aggregated kernel per sample, then one
  conv2d over `batch * groups` groups;
- "unfold": the stronger way to write it in PyTorch: kernels aggregated by one matrix product, then im2col
  and a batched matrix product.

Modules and parameters carry the official names, so state dicts map one-to-one onto omniconv's checkpoints.
Shapes are PyTorch's: N batch, I and O channels, K kernels, A attention channels, activations [N, C, H, W].
"""
from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORMS = ("eager", "unfold")
STEMS = ("cifar", "imagenet")


class ODConvAttention(nn.Module):
    """The attention trunk and its heads; an attention that does not apply is absent and equals one."""

    def __init__(self, in_planes: int, out_planes: int, kernel_size: int, groups: int, reduction: float, kernels: int):
        super().__init__()
        channels = max(int(in_planes * reduction), 16)
        self.temperature = 1.0
        self.fc = nn.Conv2d(in_planes, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.channel_fc = nn.Conv2d(channels, in_planes, 1)
        depthwise = in_planes == groups == out_planes
        self.filter_fc = None if depthwise else nn.Conv2d(channels, out_planes, 1)
        self.spatial_fc = None if kernel_size == 1 else nn.Conv2d(channels, kernel_size * kernel_size, 1)
        self.kernel_fc = None if kernels == 1 else nn.Conv2d(channels, kernels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Optional[Tensor], Optional[Tensor], Optional[Tensor]]:
        """Returns channel [N,I], filter [N,O], spatial [N,k*k] and kernel [N,K] attention."""
        trunk = self.relu(self.bn(self.fc(x.mean((2, 3), keepdim=True))))
        channel = torch.sigmoid(self._logits(self.channel_fc, trunk))
        filters = None if self.filter_fc is None else torch.sigmoid(self._logits(self.filter_fc, trunk))
        spatial = None if self.spatial_fc is None else torch.sigmoid(self._logits(self.spatial_fc, trunk))
        kernel = None if self.kernel_fc is None else torch.softmax(self._logits(self.kernel_fc, trunk), dim=1)
        return channel, filters, spatial, kernel

    def _logits(self, head: nn.Conv2d, trunk: Tensor) -> Tensor:
        return head(trunk).flatten(1) / self.temperature


class ODConv2d(nn.Module):
    """The dynamic convolution; `weight` is [K, O, I/groups, k, k]."""

    def __init__(self, in_planes: int, out_planes: int, kernel_size: int, stride: int = 1, padding: int = 0,
                 dilation: int = 1, groups: int = 1, reduction: float = 0.0625, kernels: int = 4, form: str = "eager"):
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form must be one of {FORMS}, got {form!r}")
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.groups, self.form = groups, form
        self.attention = ODConvAttention(in_planes, out_planes, kernel_size, groups, reduction, kernels)
        self.weight = nn.Parameter(torch.empty(kernels, out_planes, in_planes // groups, kernel_size, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        channel, filters, spatial, kernel = self.attention(x)
        x = x * channel[:, :, None, None]
        if spatial is None and kernel is None:
            y = self._convolve(x, self.weight[0], self.groups)
        elif self.form == "eager":
            y = self._eager(x, spatial, kernel)
        else:
            y = self._unfold(x, spatial, kernel)
        return y if filters is None else y * filters[:, :, None, None]

    def _convolve(self, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, groups)

    def _eager(self, x: Tensor, spatial: Optional[Tensor], kernel: Optional[Tensor]) -> Tensor:
        batch, size = x.shape[0], self.kernel_size
        scale = 1.0 if spatial is None else spatial.view(batch, 1, 1, 1, size, size)
        scale = scale if kernel is None else scale * kernel.view(batch, -1, 1, 1, 1, 1)
        weight = (scale * self.weight[None]).sum(1).flatten(0, 1)  # [N*O, I/g, k, k]
        y = self._convolve(x.reshape(1, -1, *x.shape[2:]), weight, batch * self.groups)
        return y.view(batch, -1, *y.shape[2:])

    def _unfold(self, x: Tensor, spatial: Optional[Tensor], kernel: Optional[Tensor]) -> Tensor:
        batch, (kernels, out_planes) = x.shape[0], self.weight.shape[:2]
        taps = self.kernel_size * self.kernel_size
        weight = self.weight.view(kernels, -1)
        weight = weight if kernel is None else kernel @ weight
        weight = weight.view(-1, out_planes, self.weight.shape[2], taps)  # [N or 1, O, I/g, k*k]
        if spatial is not None:
            weight = weight * spatial.view(batch, 1, 1, taps)
        columns = F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)  # [N, I*k*k, P]
        y = torch.bmm(weight.reshape(batch * self.groups, out_planes // self.groups, -1),
                      columns.view(batch * self.groups, -1, columns.shape[2]))
        return y.view(batch, out_planes, *self._output_size(x))

    def _output_size(self, x: Tensor) -> list[int]:
        reach = self.dilation * (self.kernel_size - 1) + 1
        return [(size + 2 * self.padding - reach) // self.stride + 1 for size in x.shape[2:]]


class ConvFactory:
    """Makes the convolutions of one model: dynamic or static, and which kind of 1x1 down-sampling."""

    def __init__(self, dynamic: bool, kernels: int = 4, reduction: float = 0.0625, downsample: str = "odconv",
                 form: str = "eager"):
        if downsample not in ("odconv", "static"):
            raise ValueError(f"downsample must be 'odconv' or 'static', got {downsample!r}")
        self.dynamic, self.kernels, self.reduction, self.form = dynamic, kernels, reduction, form
        self.dynamic_downsample = dynamic and downsample == "odconv"

    def conv(self, in_planes: int, planes: int, size: int, stride: int = 1) -> nn.Module:
        """A convolution of a block's main path, with K kernels."""
        if not self.dynamic:
            return nn.Conv2d(in_planes, planes, size, stride, size // 2, bias=False)
        return self._odconv(in_planes, planes, size, stride, self.kernels)

    def shortcut(self, in_planes: int, planes: int, stride: int) -> nn.Module:
        """A 1x1 down-sampling convolution, with one kernel."""
        if not self.dynamic_downsample:
            return nn.Conv2d(in_planes, planes, 1, stride, bias=False)
        return self._odconv(in_planes, planes, 1, stride, 1)

    def _odconv(self, in_planes: int, planes: int, size: int, stride: int, kernels: int) -> ODConv2d:
        return ODConv2d(in_planes, planes, size, stride, size // 2, reduction=self.reduction, kernels=kernels,
                        form=self.form)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a residual; down-sampled where the shape changes."""

    expansion = 1

    def __init__(self, in_planes: int, planes: int, stride: int, make: ConvFactory):
        super().__init__()
        self.conv1 = make.conv(in_planes, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = make.conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.downsample = _downsample(in_planes, planes, stride, make)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution around a residual; the last has four times the planes."""

    expansion = 4

    def __init__(self, in_planes: int, planes: int, stride: int, make: ConvFactory):
        super().__init__()
        self.conv1 = make.conv(in_planes, planes, 1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = make.conv(planes, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = make.conv(planes, planes * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = _downsample(in_planes, planes * self.expansion, stride, make)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


# The block and how many of it there are in each stage.
ARCHITECTURES = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


class ResNet(nn.Module):
    """A stem, four stages of blocks, global average pool, dropout, linear.

    The CIFAR stem is a static 3x3 convolution of stride 1; ImageNet's, the official one, 7x7 of stride 2 and a max-pool.
    """

    def __init__(self, block: type, blocks: tuple[int, ...], width: int, classes: int, make: ConvFactory, stem: str,
                 dropout: float):
        super().__init__()
        if stem not in STEMS:
            raise ValueError(f"stem must be one of {STEMS}, got {stem!r}")
        size, stride = (3, 1) if stem == "cifar" else (7, 2)
        self.conv1 = nn.Conv2d(3, width, size, stride, size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        in_planes = width
        for stage, count in enumerate(blocks):
            planes = width << stage
            layers = []
            for number in range(count):
                layers.append(block(in_planes, planes, 2 if stage > 0 and number == 0 else 1, make))
                in_planes = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_planes, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(x.mean((2, 3))))


def _downsample(in_planes: int, planes: int, stride: int, make: ConvFactory) -> Optional[nn.Module]:
    if stride == 1 and in_planes == planes:
        return None
    return nn.Sequential(make.shortcut(in_planes, planes, stride), nn.BatchNorm2d(planes))


def build(model: str, width: int = 64, kernels: int = 4, reduction: float = 0.0625, downsample: str = "odconv",
          classes: int = 10, form: str = "eager", stem: str = "cifar", dropout: float = 0.0) -> ResNet:
    """Builds od_resnet18/34/50/101 or a static twin, Kaiming-initialised from PyTorch's global generator."""
    dynamic = model.startswith("od_")
    block, blocks = ARCHITECTURES[model[3:] if dynamic else model]
    make = ConvFactory(dynamic, kernels, reduction, downsample, form)
    net = ResNet(block, blocks, width, classes, make, stem, dropout)
    initialise(net)
    return net


def initialise(net: nn.Module) -> None:
    """Kaiming normal, fan-out, for convolutions and heads (each of the K kernels alone); N(0, 0.01) for the classifier."""
    for module in net.modules():
        if isinstance(module, ODConv2d):
            for kernel in module.weight.detach():
                nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)


def zero_heads(net: nn.Module) -> None:
    """Makes every attention neutral: sigmoids 0.5, softmax 1/K, whatever the temperature."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if is_head(name):
                parameter.zero_()


def is_head(name: str) -> bool:
    """True for the weight and bias of a channel, filter, spatial or kernel head."""
    return "_fc." in name


def set_temperature(net: nn.Module, temperature: float) -> None:
    """Sets the temperature of every attention in the net; it is no part of the state dict."""
    for module in net.modules():
        if isinstance(module, ODConvAttention):
            module.temperature = temperature
