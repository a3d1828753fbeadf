// Batch norm folded into the convolutions before it: the same function in evaluation with fewer tensors.
//
//   static and dynamic   W' = W γ/σ per output channel, bias' = β − μ γ/σ, added after the filter attention
//   attention trunk      W_fc' = W_fc γ/σ, b_fc' = β − μ γ/σ        with σ = sqrt(running_var + ε)
//
// A layer norm in the trunk depends on its input and stays.
#pragma once

#include <memory>

#include "models/resnet.h"

namespace omniconv {

/// A folded copy of `model`; its logits are those of `model` in evaluation, up to rounding. New names are
/// `<conv>.bias` and `<conv>.attention.fc.bias`; those of the norms are gone.
/// @throws Error if `model` is folded already.
std::unique_ptr<Model> fold(const Model& model);

}  // namespace omniconv
