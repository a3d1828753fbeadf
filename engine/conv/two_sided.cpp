#include "engine/conv/two_sided.h"

#include "engine/conv/library_parts.h"

namespace omniconv::conv {

namespace {

/// One product per group over all samples and all kernels.
struct GroupProducts {
  std::int64_t groups, kernels;
  std::int64_t rows;       // N·OH·OW
  std::int64_t patch;      // R·S·I/g
  std::int64_t group_out;  // O/g

  GroupProducts(const ConvShape& shape, std::int64_t kernels)
      : groups(shape.params.groups),
        kernels(kernels),
        rows(shape.samples * shape.out_pixels()),
        patch(shape.taps() * shape.group_in()),
        group_out(shape.group_out()) {}

  std::int64_t product_columns() const { return kernels * group_out; }
  std::int64_t product_count() const { return groups * rows * product_columns(); }
  std::int64_t patch_count() const { return groups * rows * patch; }
  std::int64_t weight_count() const { return groups * product_columns() * patch; }
};

/// X̂: patches scaled by c and s.
template <class T>
Buffer<T> scaled_patches(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, Stream stream) {
  Buffer<T> columns = patches(shape, input, attention.channel, stream);
  if (attention.spatial) kernels::scale_taps(shape, attention.spatial, columns.get(), stream);
  return columns;
}

/// W as [groups, K·O/g, R·S·I/g].
template <class T>
Buffer<T> group_weights(const GroupProducts& sizes, const T* weight, Stream stream) {
  Buffer<T> result(sizes.weight_count());
  kernels::split_groups(weight, result.get(), sizes.kernels, sizes.groups, sizes.group_out * sizes.patch, stream);
  return result;
}

/// Ĝ = f p d_output as [groups, N·P, K·O/g].
template <class T>
Buffer<T> spread_gradient(const ConvShape& shape, const GroupProducts& sizes, const AttentionValues<T>& attention,
                          const T* d_output, Stream stream) {
  Buffer<T> spread(sizes.product_count());
  kernels::spread_kernels(shape, attention, d_output, spread.get(), stream);
  if (sizes.groups == 1) return spread;
  Buffer<T> result(sizes.product_count());
  kernels::split_groups(spread.get(), result.get(), sizes.rows * sizes.kernels, sizes.groups, sizes.group_out, stream);
  return result;
}

/// Y_k = X̂ W_kᵀ as [N, P, K, O].
template <class T>
Buffer<T> kernel_products(const GroupProducts& sizes, const Buffer<T>& columns, const Buffer<T>& weights,
                          Stream stream) {
  const Buffer<T> products(sizes.product_count());
  const kernels::GemmShape gemm{.batch = sizes.groups,
                                .rows = sizes.rows,
                                .columns = sizes.product_columns(),
                                .inner = sizes.patch,
                                .transpose_b = true,
                                .stride_a = sizes.rows * sizes.patch,
                                .stride_b = sizes.product_columns() * sizes.patch,
                                .stride_c = sizes.rows * sizes.product_columns()};
  library::gemm(gemm, columns.get(), weights.get(), products.get(), false, stream);
  if (sizes.groups == 1) return products;
  Buffer<T> merged(sizes.product_count());
  kernels::merge_groups(products.get(), merged.get(), sizes.rows * sizes.kernels, sizes.groups, sizes.group_out, false,
                        stream);
  return merged;
}

/// dX̂ = Ĝ W.
template <class T>
Buffer<T> patch_gradient(const GroupProducts& sizes, const Buffer<T>& spread, const Buffer<T>& weights,
                         Stream stream) {
  Buffer<T> d_columns(sizes.patch_count());
  const kernels::GemmShape gemm{.batch = sizes.groups,
                                .rows = sizes.rows,
                                .columns = sizes.patch,
                                .inner = sizes.product_columns(),
                                .stride_a = sizes.rows * sizes.product_columns(),
                                .stride_b = sizes.product_columns() * sizes.patch,
                                .stride_c = sizes.rows * sizes.patch};
  library::gemm(gemm, spread.get(), weights.get(), d_columns.get(), false, stream);
  return d_columns;
}

}  // namespace

template <class T>
void two_sided_forward(const ConvShape& shape, const AttentionValues<T>& attention, const T* input, const T* weight,
                       T* output, Stream stream) {
  const GroupProducts sizes(shape, attention.kernels);
  const Buffer<T> columns = scaled_patches(shape, attention, input, stream);
  const Buffer<T> weights = group_weights(sizes, weight, stream);
  const Buffer<T> products = kernel_products(sizes, columns, weights, stream);
  kernels::combine_kernels(shape, attention, products.get(), output, stream);
}

template <class T>
void two_sided_data_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* weight,
                             const T* d_output, T* d_input, bool accumulate, Stream stream) {
  const GroupProducts sizes(shape, attention.kernels);
  const Buffer<T> weights = group_weights(sizes, weight, stream);
  const Buffer<T> spread = spread_gradient(shape, sizes, attention, d_output, stream);
  const Buffer<T> d_columns = patch_gradient(sizes, spread, weights, stream);
  if (attention.spatial) kernels::scale_taps(shape, attention.spatial, d_columns.get(), stream);
  kernels::col2im(shape, d_columns.get(), attention.channel, d_input, accumulate, stream);
}

template <class T>
void two_sided_weight_gradient(const ConvShape& shape, const AttentionValues<T>& attention, const T* input,
                               const T* weight, const T* d_output, T* d_weight, bool accumulate, T* weighted_kernel,
                               T* weighted_spatial, Stream stream) {
  const GroupProducts sizes(shape, attention.kernels);
  const Buffer<T> columns = scaled_patches(shape, attention, input, stream);
  const Buffer<T> weights = group_weights(sizes, weight, stream);
  const Buffer<T> spread = spread_gradient(shape, sizes, attention, d_output, stream);
  if (d_weight) {
    const Buffer<T> d_weights(sizes.weight_count());
    const kernels::GemmShape gemm{.batch = sizes.groups,
                                  .rows = sizes.product_columns(),
                                  .columns = sizes.patch,
                                  .inner = sizes.rows,
                                  .transpose_a = true,
                                  .stride_a = sizes.rows * sizes.product_columns(),
                                  .stride_b = sizes.rows * sizes.patch,
                                  .stride_c = sizes.product_columns() * sizes.patch};
    library::gemm(gemm, spread.get(), columns.get(), d_weights.get(), false, stream);
    kernels::merge_groups(d_weights.get(), d_weight, sizes.kernels, sizes.groups, sizes.group_out * sizes.patch,
                          accumulate, stream);
  }
  if (weighted_kernel) {
    const Buffer<T> products = kernel_products(sizes, columns, weights, stream);
    kernels::kernel_dot(shape, attention, d_output, products.get(), weighted_kernel, stream);
    const Buffer<T> d_columns = patch_gradient(sizes, spread, weights, stream);
    kernels::tap_dot(shape, columns.get(), d_columns.get(), weighted_spatial, stream);
  }
}

#define OMNICONV_INSTANTIATE(T)                                                                                      \
  template void two_sided_forward(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, Stream);      \
  template void two_sided_data_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*, T*, bool,   \
                                        Stream);                                                                     \
  template void two_sided_weight_gradient(const ConvShape&, const AttentionValues<T>&, const T*, const T*, const T*, \
                                          T*, bool, T*, T*, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::conv
