"""Reads and writes safetensors files with nothing but PyTorch.

Debian 12 has no package for the official `safetensors` module, and the format is small: eight bytes of
little-endian header length, a JSON header, the raw tensor bytes. The writer sorts its keys and pads the
header with spaces to a multiple of eight, so equal content gives equal bytes.
"""
from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
from typing import Mapping, Optional, Union

import torch

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
PathLike = Union[str, "os.PathLike[str]"]


def save_file(tensors: Mapping[str, torch.Tensor], path: PathLike, metadata: Optional[Mapping[str, str]] = None) -> None:
    """Writes the tensors in the order of their names."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    chunks: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        chunk = ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size())
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(chunk)],
        }
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(chunks)


def load_file(path: PathLike) -> dict[str, torch.Tensor]:
    """Reads all tensors of a file, in the order of its header."""
    content = Path(path).read_bytes()
    header, start = _split_header(content)
    data = memoryview(content)[start:]
    return {name: _tensor(data, entry) for name, entry in header.items() if name != "__metadata__"}


def load_metadata(path: PathLike) -> dict[str, str]:
    """Reads the string-to-string map `__metadata__`, empty where a file has none."""
    header, _ = _split_header(Path(path).read_bytes())
    return header.get("__metadata__", {})


def _split_header(content: bytes) -> tuple[dict, int]:
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), start


def _tensor(data: memoryview, entry: dict) -> torch.Tensor:
    dtype, (begin, end) = DTYPES[entry["dtype"]], entry["data_offsets"]
    if begin == end:
        return torch.empty(entry["shape"], dtype=dtype)
    return torch.frombuffer(bytearray(data[begin:end]), dtype=dtype).reshape(entry["shape"])
