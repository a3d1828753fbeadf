// A model as an ONNX file.
//
// Batch norms are folded first. Static convolutions become Conv. A dynamic one becomes its attention
// (GlobalAveragePool, Gemm, Sigmoid, Softmax, the temperature divided into the heads), its kernels' mixture (MatMul,
// Mul), and the product of each sample's kernel with its patches (Pad, Slice, Concat, MatMul): operators with constant
// weights or plain batched products, which every runtime has.
#pragma once

#include <cstdint>
#include <string>

#include "models/resnet.h"

namespace omniconv {

/// The operator sets that export_onnx writes.
inline constexpr std::int64_t oldest_opset = 13, newest_opset = 17;

/// @throws UsageError for an opset outside of these, or below 17 for a model with layer norms.
void check_opset(const ModelConfig& config, std::int64_t opset);

/// Writes the model at its temperature to `path`, all or nothing. Input `input` f32 [batch, 3, extent, extent],
/// normalised; output `logits` f32 [batch, classes]; any batch.
/// @throws UsageError as check_opset; Error for a file that cannot be written, a model above protobuf's 2 GiB, and in a
/// build without ONNX.
void export_onnx(const Model& model, std::int64_t extent, std::int64_t opset, const std::string& path);

}  // namespace omniconv
