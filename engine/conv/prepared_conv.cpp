#include "engine/conv/prepared_conv.h"

#include <type_traits>
#include <utility>

#include "engine/conv/dynamic_conv.h"
#include "engine/conv/plan.h"
#include "engine/conv/static_conv.h"
#include "kernels/elementwise.h"
#if !OMNICONV_CUDA
#include "engine/conv/streamed_cpu.h"
#include "engine/conv/winograd_cpu.h"
#endif

namespace omniconv::conv {

namespace {

#if !OMNICONV_CUDA
// A single image has to occupy several threads; narrower slices than this cost more than they spread.
constexpr std::int64_t inference_slices = 4;
// So many images occupy the threads, and outweigh that their kernels are transformed anew.
constexpr std::int64_t many_samples = 8;
#endif

}  // namespace

template <class T>
PreparedConv<T>::PreparedConv(const ConvShape& shape, std::int64_t kernels, Tensor weight)
    : shape_(shape), weight_(std::move(weight)), kernels_(kernels) {
  expect(weight_.count() == kernels * shape.weight_count(), "prepared_conv", "expected weights of ", kernels, " x ",
         shape.weight_count(), " elements, got shape ", weight_.shape());
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>) {
    if (default_plan({shape, kernels, DType::f32, Direction::forward}).algorithm == Algorithm::streamed)
      streamed_ = pack_streamed(shape, kernels, weight_.data<T>());
    else
      packed_ = pack_forward(shape, kernels, weight_.data<T>(), inference_slices);
  }
#endif
}

template <class T>
void PreparedConv<T>::run(std::int64_t samples, const AttentionValues<T>& attention, const T* input,
                          const Epilogue<T>& epilogue, T* output, Stream stream) const {
  ConvShape shape = shape_;
  shape.samples = samples;
  const bool dynamic = attention.channel || attention.filter || attention.spatial || attention.kernel;
#if !OMNICONV_CUDA
  if constexpr (std::is_same_v<T, float>) {
    const Problem problem{shape, dynamic ? kernels_ : 0, DType::f32, Direction::forward};
    if (samples >= many_samples && default_plan(problem).algorithm == Algorithm::winograd)
      return winograd_forward(shape, attention, input, weight_.data<T>(), epilogue, output);
    if (streamed_.defined()) return streamed_forward(shape, attention, input, streamed_, epilogue, output);
    return blocked_forward(shape, attention, input, packed_, epilogue, output);
  }
#endif
  if (dynamic)
    dynamic_forward(shape, attention, input, weight_.data<T>(), output, stream);
  else
    conv2d_forward(shape, input, weight_.data<T>(), output, stream);
  if (!epilogue.empty())
    kernels::apply_affine(output, epilogue.scale, epilogue.shift, epilogue.residual, epilogue.relu, output,
                          samples * shape.out_pixels(), shape.out_channels, stream);
}

template class PreparedConv<float>;
template class PreparedConv<double>;

}  // namespace omniconv::conv
