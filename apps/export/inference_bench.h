// Latency and throughput of a net in the forms it can be deployed in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/resnet.h"

namespace omniconv {

/// Timings of one form of a net at one batch size.
struct InferenceTiming {
  std::string form;  ///< "dynamic", "folded", "static" (the folded static twin)
  std::int64_t batch_size = 0;
  double median_seconds = 0, p95_seconds = 0;  ///< of a call, from images on the device to logits

  double images_per_second() const { return static_cast<double>(batch_size) / median_seconds; }
};

/// Times the forms of a net with random weights in turns: each round calls every form once. A static net has the forms
/// "static" and "folded" (its norms folded). `on_call` hears of finished calls, of `calls` per form and batch size.
std::vector<InferenceTiming> time_inference(const ModelConfig& config, const std::vector<std::int64_t>& batch_sizes,
                                            std::int64_t calls, std::int64_t extent,
                                            const std::function<void(std::int64_t)>& on_call);

}  // namespace omniconv
