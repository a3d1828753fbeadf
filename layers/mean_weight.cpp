// The static convolution that an ODConv is on average.
#include "engine/device.h"
#include "engine/library/gemm.h"
#include "layers/od_conv.h"

namespace omniconv {

namespace {

/// `attention`, or ones [samples, width] where it is absent.
Tensor or_ones(const Tensor& attention, std::int64_t samples, std::int64_t width, DType dtype) {
  if (attention.defined()) return attention;
  return dispatch("od_conv2d", dtype, [&](auto zero) {
    using T = decltype(zero);
    return Tensor::from_host(std::vector<T>(static_cast<std::size_t>(samples * width), T(1)), {samples, width});
  });
}

/// outer[n, a, b] = left[n, a] right[n, b]. left [N, A], right [N, B], outer [N, A·B].
template <class T>
Tensor outer_products(const Tensor& left, const Tensor& right) {
  const std::int64_t samples = left.size(0), rows = left.size(1), columns = right.size(1);
  const Tensor outer = Tensor::empty({samples, rows * columns}, left.dtype());
  library::gemm<T>({.batch = samples,
                    .rows = rows,
                    .columns = columns,
                    .inner = 1,
                    .stride_a = rows,
                    .stride_b = columns,
                    .stride_c = rows * columns},
                   left.data<T>(), right.data<T>(), outer.data<T>(), false, main_stream());
  return outer;
}

}  // namespace

Tensor ODConv2d::mean_weight(const ops::Attentions& attentions) const {
  expect(attentions.channel.defined() && attentions.channel.size(0) >= 1, "od_conv2d",
         "expected attentions of at least 1 sample to average over, got none");
  const ConvShape conv = shape(1, 1);
  const std::int64_t samples = attentions.channel.size(0), kernels = weight_.shape()[0], taps = conv.taps();
  return dispatch("od_conv2d", weight_.value().dtype(), [&](auto zero) {
    using T = decltype(zero);
    const DType dtype = weight_.value().dtype();
    // scale[o, k, t, i] = Σ_n f_no (p_nk s_nt) c_ni: one product over the samples, its right side made of outer ones.
    const Tensor shares = outer_products<T>(or_ones(attentions.kernel, samples, kernels, dtype),
                                            or_ones(attentions.spatial, samples, taps, dtype));
    const Tensor right = outer_products<T>(shares, attentions.channel);
    const Tensor filter = or_ones(attentions.filter, samples, conv.out_channels, dtype);
    const Tensor scale = Tensor::empty({conv.out_channels, kernels, taps, conv.in_channels}, dtype);
    library::gemm<T>({.rows = conv.out_channels, .columns = right.size(1), .inner = samples, .transpose_a = true},
                     filter.data<T>(), right.data<T>(), scale.data<T>(), false, main_stream());

    const std::vector<T> sums = scale.to_host<T>(), weights = weight_.value().to_host<T>();
    std::vector<T> mean(static_cast<std::size_t>(conv.weight_count()));
    for (std::int64_t o = 0; o < conv.out_channels; ++o)
      for (std::int64_t t = 0; t < taps; ++t)
        for (std::int64_t i = 0; i < conv.group_in(); ++i) {
          const std::int64_t channel = o / conv.group_out() * conv.group_in() + i;
          double sum = 0;
          for (std::int64_t k = 0; k < kernels; ++k)
            sum += static_cast<double>(
                       sums[static_cast<std::size_t>(((o * kernels + k) * taps + t) * conv.in_channels + channel)]) *
                   weights[static_cast<std::size_t>(((k * conv.out_channels + o) * taps + t) * conv.group_in() + i)];
          mean[static_cast<std::size_t>((o * taps + t) * conv.group_in() + i)] =
              static_cast<T>(sum / static_cast<double>(samples));
        }
    return Tensor::from_host(mean, {conv.out_channels, conv.kernel_height, conv.kernel_width, conv.group_in()});
  });
}

}  // namespace omniconv
