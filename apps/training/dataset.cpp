#include "apps/training/dataset.h"

#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "data/cifar10.h"
#include "data/synthetic.h"
#include "engine/device.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "dataset";
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

Dataset::Dataset(ImageSet set, std::optional<Residence> residence)
    : residence_(residence ? *residence : residence_now(set.images.size())),
      extent_(set.extent),
      labels_(Tensor::from_host(set.labels)) {
  const std::size_t expected = set.labels.size() * bytes_per_image();
  expect(set.images.size() == expected, where, "expected ", expected, " bytes of images for ", set.labels.size(),
         " labels, got ", set.images.size());
  if (residence_ == Residence::host)
    host_images_ = std::move(set.images);
  else
    images_ = Tensor::from_host(set.images, {set.count(), image_channels, extent_, extent_});
}

void Dataset::copy_images(std::span<const std::int32_t> indices, std::uint8_t* target) const {
  for (const std::int32_t index : indices) {
    expect(index >= 0 && index < count(), where, "expected images 0 to ", count() - 1, ", got ", index);
    std::memcpy(target, host_images_.data() + static_cast<std::size_t>(index) * bytes_per_image(), bytes_per_image());
    target += bytes_per_image();
  }
}

Tensor Dataset::bring(const Tensor& indices) const {
  std::vector<std::uint8_t> images(static_cast<std::size_t>(indices.count()) * bytes_per_image());
  copy_images(indices.to_host<std::int32_t>(), images.data());
  return Tensor::from_host(images, {indices.count(), image_channels, extent_, extent_});
}

Batch Dataset::gather(const Tensor& indices, DType dtype, const kernels::Variation& variation, const Tensor& mix,
                      const Tensor& staged) const {
  const std::int64_t samples = indices.count();
  const bool on_host = residence_ == Residence::host;
  const Tensor images = !on_host ? images_ : staged.defined() ? staged : bring(indices);
  const kernels::BatchShape shape{.samples = samples,
                                  .channels = image_channels,
                                  .height = extent_,
                                  .width = extent_,
                                  .stored = on_host ? kernels::Stored::batch : kernels::Stored::data_set};
  Batch batch{Tensor::empty({samples, shape.height, shape.width, shape.channels}, dtype),
              Tensor::empty({samples}, DType::i32)};
  const kernels::Mix* device_mix = nullptr;
  if (mix.defined()) {
    static_assert(sizeof(kernels::Mix) == 5 * sizeof(double));
    batch.other_labels = Tensor::empty({samples}, DType::i32);
    batch.own_share = mix.view(0, {1});
    device_mix = reinterpret_cast<const kernels::Mix*>(mix.data<double>());
  }
  dispatch_storage(where, dtype, [&](auto zero) {
    using T = decltype(zero);
    kernels::gather_batch<T>(shape, {}, images.data<std::uint8_t>(), labels_.data<std::uint8_t>(),
                             indices.data<std::int32_t>(), variation, device_mix, batch.images.data<T>(),
                             batch.labels.data<std::int32_t>(), batch.other_labels.data_or_null<std::int32_t>(),
                             main_stream());
  });
  return batch;
}

ImageData load_data(const std::string& data) {
  return data == "synthetic" ? make_synthetic(synthetic_seed) : read_cifar10(data);
}

void expect_classes(const ModelConfig& model, const std::vector<std::string>& class_names, std::string_view where,
                    const std::string& data) {
  expect(static_cast<std::int64_t>(class_names.size()) == model.classes, where, data, ": expected data of ",
         model.classes, " classes, as the checkpoint has, got ", class_names.size());
}

std::string fingerprint(const ImageData& data) {
  std::uint64_t value = 14695981039346656037ULL ^ data.class_names.size();
  for (const ImageSet* set : {&data.train, &data.test}) value = hash(hash(value, set->images), set->labels);
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace omniconv
