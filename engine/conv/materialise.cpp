#include "engine/conv/materialise.h"

#include "engine/conv/library_parts.h"

namespace omniconv::conv {

namespace {

/// One product per sample for each group; the strides step from sample to sample.
struct SampleProducts {
  std::int64_t samples, groups;
  std::int64_t patch = 0;       // R·S·I/g
  std::int64_t pixels = 0;      // OH·OW
  std::int64_t group_out = 0;   // O/g
  std::int64_t weight_count = 0;

  explicit SampleProducts(const ConvShape& shape)
      : samples(shape.samples),
        groups(shape.params.groups),
        patch(shape.taps() * shape.group_in()),
        pixels(shape.out_pixels()),
        group_out(shape.group_out()),
        weight_count(shape.weight_count()) {}

  std::int64_t columns_of(std::int64_t group) const { return group * samples * pixels * patch; }
  std::int64_t outputs_of(std::int64_t group) const { return group * samples * pixels * group_out; }
  std::int64_t weights_of(std::int64_t group) const { return group * group_out * patch; }
};

template <class T>
Buffer<T> aggregated_weights(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight,
                             Stream stream) {
  Buffer<T> aggregated(shape.samples * shape.weight_count());
  kernels::aggregate_weights(shape, attention, weight, aggregated.get(), stream);
  return aggregated;
}

}  // namespace

template <class T>
void materialise_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                         T* output, Stream stream) {
  const SampleProducts sizes(shape);
  const Buffer<T> aggregated = aggregated_weights(shape, attention, weight, stream);
  const Buffer<T> columns = patches(shape, input, attention.channel, stream);
  const Buffer<T> products(shape.output_count());
  for (std::int64_t g = 0; g < sizes.groups; ++g) {
    const kernels::GemmShape gemm{.batch = sizes.samples,
                                  .rows = sizes.pixels,
                                  .columns = sizes.group_out,
                                  .inner = sizes.patch,
                                  .transpose_b = true,
                                  .stride_a = sizes.pixels * sizes.patch,
                                  .stride_b = sizes.weight_count,
                                  .stride_c = sizes.pixels * sizes.group_out};
    library::gemm(gemm, columns.get() + sizes.columns_of(g), aggregated.get() + sizes.weights_of(g),
                  products.get() + sizes.outputs_of(g), false, stream);
  }
  kernels::merge_groups(products.get(), output, sizes.samples * sizes.pixels, sizes.groups, sizes.group_out, false,
                        stream);
  if (attention.filter)
    kernels::scale_channels(output, attention.filter, output, shape.samples, sizes.pixels, shape.out_channels, false,
                            stream);
}

template <class T>
void materialise_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight,
                               const T* d_output, T* d_input, bool accumulate, Stream stream) {
  const SampleProducts sizes(shape);
  const Buffer<T> aggregated = aggregated_weights(shape, attention, weight, stream);
  const Buffer<T> upstream = scaled_output_gradient(shape, attention.filter, d_output, stream);
  const Buffer<T> d_columns(sizes.groups * sizes.samples * sizes.pixels * sizes.patch);
  for (std::int64_t g = 0; g < sizes.groups; ++g) {
    const kernels::GemmShape gemm{.batch = sizes.samples,
                                  .rows = sizes.pixels,
                                  .columns = sizes.patch,
                                  .inner = sizes.group_out,
                                  .stride_a = sizes.pixels * sizes.group_out,
                                  .stride_b = sizes.weight_count,
                                  .stride_c = sizes.pixels * sizes.patch};
    library::gemm(gemm, upstream.get() + sizes.outputs_of(g), aggregated.get() + sizes.weights_of(g),
                  d_columns.get() + sizes.columns_of(g), false, stream);
  }
  kernels::col2im(shape, d_columns.get(), attention.channel, d_input, accumulate, stream);
}

template <class T>
void materialise_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                                 const T* weight, const T* d_output, T* d_weight, bool accumulate, T* weighted_kst,
                                 Stream stream) {
  const SampleProducts sizes(shape);
  const Buffer<T> columns = patches(shape, input, attention.channel, stream);
  const Buffer<T> upstream = scaled_output_gradient(shape, attention.filter, d_output, stream);
  const Buffer<T> d_aggregated(shape.samples * shape.weight_count());
  for (std::int64_t g = 0; g < sizes.groups; ++g) {
    const kernels::GemmShape gemm{.batch = sizes.samples,
                                  .rows = sizes.group_out,
                                  .columns = sizes.patch,
                                  .inner = sizes.pixels,
                                  .transpose_a = true,
                                  .stride_a = sizes.pixels * sizes.group_out,
                                  .stride_b = sizes.pixels * sizes.patch,
                                  .stride_c = sizes.weight_count};
    library::gemm(gemm, upstream.get() + sizes.outputs_of(g), columns.get() + sizes.columns_of(g),
                  d_aggregated.get() + sizes.weights_of(g), false, stream);
  }
  kernels::aggregate_weights_backward(shape, attention, weight, d_aggregated.get(), d_weight, accumulate, weighted_kst,
                                      stream);
}

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template void materialise_forward(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, Stream);     \
  template void materialise_data_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, bool,  \
                                          Stream);                                                                    \
  template void materialise_weight_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*,          \
                                            const T*, T*, bool, T*, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
