// Loss and accuracy over a data set, with running statistics.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "apps/training/dataset.h"
#include "engine/allocator.h"
#include "models/resnet.h"

namespace omniconv {

/// Images in a batch of an evaluation, unless asked otherwise.
inline constexpr std::int64_t evaluation_batch_size = 100;

struct Evaluation {
  double loss = 0;      ///< mean over the images
  double accuracy = 0;  ///< fraction of 1
  std::int64_t images = 0;
};

/// How an image is shown to the network: shifted by so many pixels (black comes in), and mirrored.
struct View {
  std::int64_t down = 0, right = 0;
  bool mirrored = false;

  friend bool operator==(const View&, const View&) = default;
};

/// The views of test-time augmentation: "none", "flip" (with the mirrored image), "shift" (with the image moved by one
/// pixel up, down, left and right) or "flip,shift" (all ten). @throws UsageError for another word.
std::vector<View> parse_views(std::string_view text);

/// Evaluates `model` as it is, temperature included, on the images in the order of their file; of several views the
/// logits are averaged. `logits` [count, classes] of the store's dtype() is filled if it is defined; `on_batch` hears
/// of finished images; `memory`, if given, is that of steps which wait meanwhile (engine/step_graph.h).
Evaluation evaluate(const Model& model, const Dataset& dataset, std::int64_t batch_size = evaluation_batch_size,
                    const Tensor& logits = {}, const std::function<void(std::int64_t)>& on_batch = {},
                    const std::vector<View>& views = {View{}}, const std::shared_ptr<MemoryPool>& memory = nullptr);

}  // namespace omniconv
