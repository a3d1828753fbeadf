#include "apps/training/feed.h"

#include <span>

namespace omniconv {

Feed::Feed(const Dataset& dataset, std::int64_t largest_batch) : dataset_(dataset) {
  if (dataset.residence() == Residence::device || largest_batch == 0) return;
  place_ = Tensor::empty({largest_batch, image_channels, dataset.extent(), dataset.extent()}, DType::u8);
  upload_.emplace(place_.bytes());
}

void Feed::start(const std::vector<std::int32_t>& order, const std::vector<BatchRange>& ranges, std::int64_t first) {
  if (!upload_) return;
  upload_->discard();
  order_ = order;
  ranges_ = ranges;
  sent_ = static_cast<std::size_t>(first);
}

void Feed::next() {
  if (!upload_) return;
  if (upload_->under_way() == 0) prefetch();
  upload_->receive(place_.raw());
}

void Feed::prefetch() {
  if (!upload_ || sent_ == ranges_.size()) return;
  const BatchRange& range = ranges_[sent_];
  const std::span<const std::int32_t> indices =
      std::span(order_).subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.size()));
  upload_->send(indices.size() * dataset_.bytes_per_image(),
                [&](std::byte* target) { dataset_.copy_images(indices, reinterpret_cast<std::uint8_t*>(target)); });
  ++sent_;
}

Tensor Feed::images(std::int64_t first, std::int64_t samples) const {
  if (!upload_) return {};
  const std::int64_t bytes_per_image = place_.count() / place_.size(0);
  return place_.view(first * bytes_per_image, {samples, place_.size(1), place_.size(2), place_.size(3)});
}

}  // namespace omniconv
