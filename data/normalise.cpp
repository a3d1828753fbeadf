#include "data/normalise.h"

#include <numeric>

#include "engine/device.h"
#include "kernels/augment.h"

namespace omniconv {

Tensor normalise(const ImageSet& set, DType dtype) {
  const std::int64_t count = set.count();
  const kernels::BatchShape shape{.samples = count, .channels = image_channels, .height = set.extent, .width = set.extent};
  const std::int64_t bytes = shape.channels * shape.height * shape.width;
  expect(static_cast<std::int64_t>(set.images.size()) == count * bytes, "normalise", "expected ", count, " images of ",
         bytes, " bytes, one for each label, got ", set.images.size(), " bytes");
  const Tensor images = Tensor::from_host(set.images), labels = Tensor::from_host(set.labels);
  std::vector<std::int32_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  const Tensor indices = Tensor::from_host(order), classes = Tensor::empty({count}, DType::i32);
  Tensor normalised = Tensor::empty({count, shape.height, shape.width, shape.channels}, dtype);
  dispatch("normalise", dtype, [&](auto zero) {
    using T = decltype(zero);
    kernels::gather_batch<T>(shape, {}, images.data<std::uint8_t>(), labels.data<std::uint8_t>(),
                             indices.data<std::int32_t>(), {}, nullptr, normalised.data<T>(),
                             classes.data<std::int32_t>(), nullptr, main_stream());
  });
  return normalised;
}

}  // namespace omniconv
