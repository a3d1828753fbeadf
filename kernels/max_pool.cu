#include "kernels/max_pool.h"

#include <algorithm>
#include <vector>

#include "kernels/error.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

/// Row `pixel` of an array [N, height, width, C] as its three coordinates.
struct Place {
  std::int64_t sample, row, column;

  OMNI_HOST_DEVICE Place(std::int64_t pixel, std::int64_t height, std::int64_t width)
      : sample(pixel / (height * width)), row(pixel / width % height), column(pixel % width) {}
};

}  // namespace

void check(const MaxPoolShape& shape) {
  expect(shape.params.window >= 1 && shape.params.window <= 15 && shape.params.stride >= 1 &&
             shape.params.padding >= 0 && 2 * shape.params.padding <= shape.params.window,
         "max_pool",
         "expected a window of 1 to 15, a stride of at least 1 and padding up to half the window, got window ",
         shape.params.window, ", stride ", shape.params.stride, ", padding ", shape.params.padding);
  expect(shape.samples >= 0 && shape.channels >= 1 && shape.height + 2 * shape.params.padding >= shape.params.window &&
             shape.width + 2 * shape.params.padding >= shape.params.window,
         "max_pool", "expected images that hold a window of ", shape.params.window, " with padding ",
         shape.params.padding, ", got shape ", std::vector{shape.samples, shape.height, shape.width, shape.channels});
}

template <class T>
void max_pool_forward(const MaxPoolShape& shape, const T* input, T* output, std::uint8_t* taps, Stream stream) {
  check(shape);
  const std::int64_t out_height = shape.out_height(), out_width = shape.out_width();
  simt::for_each_element(
      shape.samples * out_height * out_width, shape.channels, stream,
      [=] OMNI_HOST_DEVICE(std::int64_t out_pixel, std::int64_t c) {
        const Place out(out_pixel, out_height, out_width);
        const std::int64_t top = out.row * shape.params.stride - shape.params.padding;
        const std::int64_t left = out.column * shape.params.stride - shape.params.padding;
        const std::int64_t last_r = std::min(shape.params.window, shape.height - top);
        const std::int64_t last_s = std::min(shape.params.window, shape.width - left);
        compute_type_t<T> largest = 0;
        std::int64_t chosen = -1;
        for (std::int64_t r = std::max(std::int64_t{0}, -top); r < last_r; ++r)
          for (std::int64_t s = std::max(std::int64_t{0}, -left); s < last_s; ++s) {
            const compute_type_t<T> pixel =
                input[((out.sample * shape.height + top + r) * shape.width + left + s) * shape.channels + c];
            if (chosen < 0 || pixel > largest || pixel != pixel) {
              largest = pixel;
              chosen = r * shape.params.window + s;
            }
          }
        output[out_pixel * shape.channels + c] = static_cast<T>(largest);
        if (taps != nullptr) taps[out_pixel * shape.channels + c] = static_cast<std::uint8_t>(chosen);
      });
}

template <class T>
void max_pool_backward(const MaxPoolShape& shape, const T* d_output, const std::uint8_t* taps, T* d_input,
                       bool accumulate, Stream stream) {
  check(shape);
  const std::int64_t out_height = shape.out_height(), out_width = shape.out_width();
  simt::for_each_element(
      shape.samples * shape.height * shape.width, shape.channels, stream,
      [=] OMNI_HOST_DEVICE(std::int64_t pixel, std::int64_t c) {
        const Place in(pixel, shape.height, shape.width);
        // The windows that hold this pixel, from the first to the last; every pixel gathers, so no two add to one
        // place.
        const std::int64_t down = in.row + shape.params.padding, right = in.column + shape.params.padding;
        const std::int64_t last_oh = std::min(out_height - 1, down / shape.params.stride);
        const std::int64_t last_ow = std::min(out_width - 1, right / shape.params.stride);
        compute_type_t<T> sum = 0;
        for (std::int64_t oh =
                 std::max(std::int64_t{0}, (down - shape.params.window + shape.params.stride) / shape.params.stride);
             oh <= last_oh; ++oh)
          for (std::int64_t ow =
                   std::max(std::int64_t{0}, (right - shape.params.window + shape.params.stride) / shape.params.stride);
               ow <= last_ow; ++ow) {
            const std::int64_t at = ((in.sample * out_height + oh) * out_width + ow) * shape.channels + c;
            const std::int64_t tap =
                (down - oh * shape.params.stride) * shape.params.window + (right - ow * shape.params.stride);
            if (taps[at] == tap) sum += static_cast<compute_type_t<T>>(d_output[at]);
          }
        T& target = d_input[pixel * shape.channels + c];
        target = static_cast<T>(accumulate ? static_cast<compute_type_t<T>>(target) + sum : sum);
      });
}

#define OMNICONV_INSTANTIATE(T)                                                             \
  template void max_pool_forward(const MaxPoolShape&, const T*, T*, std::uint8_t*, Stream); \
  template void max_pool_backward(const MaxPoolShape&, const T*, const std::uint8_t*, T*, bool, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
