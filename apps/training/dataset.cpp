#include "apps/training/dataset.h"

#include <cstdio>
#include <cstring>
#include <vector>

#include "data/cifar10.h"
#include "data/synthetic.h"
#include "engine/device.h"

namespace omniconv {
namespace {

constexpr std::uint64_t synthetic_seed = 0;

/// FNV-1a over words of eight bytes, the last one filled up with zeros.
std::uint64_t hash(std::uint64_t start, const std::vector<std::uint8_t>& bytes) {
  constexpr std::uint64_t prime = 1099511628211ULL;
  std::uint64_t result = (start ^ bytes.size()) * prime;
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min(sizeof(word), bytes.size() - i));
    result = (result ^ word) * prime;
    result ^= result >> 32;
  }
  return result;
}

}  // namespace

Dataset::Dataset(const ImageSet& set)
    : images_(Tensor::from_host(set.images, {set.count(), image_channels, set.extent, set.extent})),
      labels_(Tensor::from_host(set.labels)) {}

Batch Dataset::gather(const Tensor& indices, DType dtype, const kernels::Variation& variation,
                      const Tensor& mix) const {
  const std::int64_t samples = indices.count();
  const kernels::BatchShape shape{
      .samples = samples, .channels = images_.size(1), .height = images_.size(2), .width = images_.size(3)};
  Batch batch{Tensor::empty({samples, shape.height, shape.width, shape.channels}, dtype),
              Tensor::empty({samples}, DType::i32)};
  const kernels::Mix* device_mix = nullptr;
  if (mix.defined()) {
    static_assert(sizeof(kernels::Mix) == 5 * sizeof(double));
    batch.other_labels = Tensor::empty({samples}, DType::i32);
    batch.own_share = mix.view(0, {1});
    device_mix = reinterpret_cast<const kernels::Mix*>(mix.data<double>());
  }
  dispatch_storage("dataset", dtype, [&](auto zero) {
    using T = decltype(zero);
    kernels::gather_batch<T>(shape, {}, images_.data<std::uint8_t>(), labels_.data<std::uint8_t>(),
                             indices.data<std::int32_t>(), variation, device_mix, batch.images.data<T>(),
                             batch.labels.data<std::int32_t>(), batch.other_labels.data_or_null<std::int32_t>(),
                             main_stream());
  });
  return batch;
}

ImageData load_data(const std::string& data) {
  return data == "synthetic" ? make_synthetic(synthetic_seed) : read_cifar10(data);
}

std::string fingerprint(const ImageData& data) {
  std::uint64_t value = 14695981039346656037ULL ^ data.class_names.size();
  for (const ImageSet* set : {&data.train, &data.test}) value = hash(hash(value, set->images), set->labels);
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace omniconv
