// What training and the sub-commands do with checkpoints besides reading and writing them (models/checkpoint.h).
#pragma once

#include <string>

#include "models/checkpoint.h"

namespace omniconv {

/// Takes the weights of `checkpoint` over into `model`. Those of a static model are inflated into its dynamic twin,
/// whose parameters must be freshly initialised, with `inflate_noise` (models/inflate.h). @throws Error if the file
/// looks like another model, naming that one and the one asked for.
void load_weights(const Checkpoint& checkpoint, Model& model, double inflate_noise);

/// "od_resnet18, width 16, K = 4" and, where they are not the usual ones, its other traits.
std::string describe(const ModelConfig& config);

}  // namespace omniconv
