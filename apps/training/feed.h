// The images of batches, brought to the device one batch ahead of its work where a data set stays on the host.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "apps/training/dataset.h"
#include "data/batches.h"
#include "engine/upload.h"

namespace omniconv {

/// Of a data set on the device it has nothing to do, and images() are none.
class Feed {
 public:
  /// `dataset` must outlive it; no batch has more than `largest_batch` images.
  Feed(const Dataset& dataset, std::int64_t largest_batch);

  /// The batches to come: `ranges` of `order`, from the one of number `first` on. Those that were announced before and
  /// not taken are forgotten.
  void start(const std::vector<std::int32_t>& order, const std::vector<BatchRange>& ranges, std::int64_t first);
  /// Work that is queued from now on finds the images of the next batch. Not while work is recorded.
  void next();
  /// To be called when that work is queued: brings the batch behind it, if there is one, while the device computes.
  /// Left out, next() does it, and the device waits.
  void prefetch();

  /// u8 [samples, 3, H, W], always at the same address: images `first`, ... of the batch; undefined of a data set on
  /// the device. For Dataset::gather.
  Tensor images(std::int64_t first, std::int64_t samples) const;

 private:
  const Dataset& dataset_;
  Tensor place_;  // u8 [largest batch, 3, H, W]
  std::optional<Upload> upload_;
  std::vector<std::int32_t> order_;
  std::vector<BatchRange> ranges_;
  std::size_t sent_ = 0;  // batches of ranges_ whose images were sent, or left out at the start
};

}  // namespace omniconv
