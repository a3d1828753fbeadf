#include "kernels/layer_norm.h"

#include <cmath>

#include "kernels/columns.h"

namespace omniconv::kernels {

namespace {

/// d_output where ReLU let the output through.
template <class T>
OMNI_HOST_DEVICE T masked(const LayerNormBackward<T>& b, bool relu, std::int64_t at) {
  return relu && !(b.output[at] > 0) ? T(0) : b.d_output[at];
}

}  // namespace

// A row has a few dozen features and there are as many rows as samples: one thread takes a row from end to end.
template <class T>
void layer_norm_forward(const LayerNormShape& shape, const T* input, const T* gamma, const T* beta, T* mean, T* rstd,
                        T* output, Stream stream) {
  simt::for_each_index(shape.rows, stream, [=] OMNI_HOST_DEVICE(std::int64_t row) {
    const T* x = input + row * shape.features;
    double sum = 0;
    for (std::int64_t a = 0; a < shape.features; ++a) sum += x[a];
    const double average = sum / static_cast<double>(shape.features);
    double squares = 0;
    for (std::int64_t a = 0; a < shape.features; ++a) squares += (x[a] - average) * (x[a] - average);
    mean[row] = static_cast<T>(average);
    rstd[row] = static_cast<T>(1 / sqrt(squares / static_cast<double>(shape.features) + shape.epsilon));
    for (std::int64_t a = 0; a < shape.features; ++a) {
      const T y = gamma[a] * ((x[a] - mean[row]) * rstd[row]) + beta[a];
      output[row * shape.features + a] = shape.relu && y < 0 ? T(0) : y;
    }
  });
}

template <class T>
void layer_norm_backward(const LayerNormShape& shape, const LayerNormBackward<T>& arguments, Stream stream) {
  const LayerNormBackward<T> b = arguments;
  if (b.d_input) {
    simt::for_each_index(shape.rows, stream, [=] OMNI_HOST_DEVICE(std::int64_t row) {
      double sum = 0, projected = 0;
      for (std::int64_t a = 0; a < shape.features; ++a) {
        const std::int64_t at = row * shape.features + a;
        const double gradient = masked(b, shape.relu, at) * b.gamma[a];
        sum += gradient;
        projected += gradient * ((b.input[at] - b.mean[row]) * b.rstd[row]);
      }
      const auto count = static_cast<double>(shape.features);
      for (std::int64_t a = 0; a < shape.features; ++a) {
        const std::int64_t at = row * shape.features + a;
        const double normal = (b.input[at] - b.mean[row]) * b.rstd[row];
        const double gradient = masked(b, shape.relu, at) * b.gamma[a];
        write(b.d_input[at], static_cast<T>(b.rstd[row] * (gradient - sum / count - normal * projected / count)),
              b.accumulate_input);
      }
    });
  }
  if (b.d_gamma || b.d_beta) {
    simt::for_each_index(shape.features, stream, [=] OMNI_HOST_DEVICE(std::int64_t a) {
      double d_gamma = 0, d_beta = 0;
      for (std::int64_t row = 0; row < shape.rows; ++row) {
        const std::int64_t at = row * shape.features + a;
        const double gradient = masked(b, shape.relu, at);
        d_beta += gradient;
        d_gamma += gradient * ((b.input[at] - b.mean[row]) * b.rstd[row]);
      }
      if (b.d_gamma) write(b.d_gamma[a], static_cast<T>(d_gamma), b.accumulate_gamma);
      if (b.d_beta) write(b.d_beta[a], static_cast<T>(d_beta), b.accumulate_beta);
    });
  }
}

#define OMNICONV_INSTANTIATE(T)                                                                                    \
  template void layer_norm_forward(const LayerNormShape&, const T*, const T*, const T*, T*, T*, T*, Stream);       \
  template void layer_norm_backward(const LayerNormShape&, const LayerNormBackward<T>&, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
