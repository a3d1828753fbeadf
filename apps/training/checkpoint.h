// The weights that a run starts from.
#pragma once

#include "models/checkpoint.h"

namespace omniconv {

/// Takes the weights of `checkpoint` over into `model`. Those of a static model are inflated into its dynamic twin,
/// whose parameters must be freshly initialised, with `inflate_noise` (models/inflate.h). @throws Error if the file
/// looks like another model, naming that one and the one asked for.
void load_weights(const Checkpoint& checkpoint, Model& model, double inflate_noise);

}  // namespace omniconv
