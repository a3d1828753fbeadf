#include "engine/conv/plan.h"

#include <optional>
#include <utility>

#include "kernels/od_conv_mma.h"
#include "kernels/od_conv_mma_weight.h"
#include "kernels/od_conv_summed_mma.h"
#if !OMNICONV_CUDA
#include "engine/conv/streamed_cpu.h"
#include "engine/conv/streamed_weight_cpu.h"
#include "engine/conv/winograd_cpu.h"
#endif

namespace omniconv::conv {

namespace {

std::optional<Algorithm> forced_algorithm;
MeasuredPlans measured;

constexpr std::int64_t few_pixels = 16;        // of a sample's output
constexpr std::int64_t many_rows = 128;        // enough for an efficient product
constexpr std::int64_t most_pixels = 64 * 64;  // of more, the transformed input would leave the cache
constexpr std::int64_t many_pixels = 64;       // of a sample's output, to outweigh the transforms of its weights

}  // namespace

std::string_view name_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::tiled:
      return "tiled";
    case Algorithm::materialise:
      return "materialise";
    case Algorithm::blocked:
      return "blocked";
    case Algorithm::summed:
      return "summed";
    case Algorithm::two_sided:
      return "two_sided";
    case Algorithm::tensor_core:
      return "tensor_core";
    case Algorithm::tensor_core_summed:
      return "tensor_core_summed";
    case Algorithm::streamed:
      return "streamed";
    case Algorithm::winograd:
      return "winograd";
  }
  return "unknown";
}

std::string_view name_of(Direction direction) {
  switch (direction) {
    case Direction::forward:
      return "forward";
    case Direction::data_gradient:
      return "data gradient";
    case Direction::weight_gradient:
      return "weight gradient";
  }
  return "unknown";
}

bool is_available(Algorithm algorithm, DType dtype) {
  switch (algorithm) {
    case Algorithm::tensor_core:
    case Algorithm::tensor_core_summed:
      return dtype == DType::bf16 || dtype == DType::f16;
    case Algorithm::blocked:
    case Algorithm::streamed:
    case Algorithm::winograd:
      return !OMNICONV_CUDA && dtype != DType::f64;
    default:
      return true;
  }
}

bool is_for_speed(Algorithm algorithm, DType dtype) {
  const bool emulated = algorithm == Algorithm::tiled || algorithm == Algorithm::tensor_core ||
                        algorithm == Algorithm::tensor_core_summed;
  return is_available(algorithm, dtype) && (OMNICONV_CUDA || !emulated);
}

bool takes(Algorithm algorithm, const Problem& problem) {
  if (!is_available(algorithm, problem.dtype)) return false;
#if !OMNICONV_CUDA
  if (algorithm == Algorithm::winograd) return winograd_takes(problem.shape);
  if (algorithm == Algorithm::streamed)
    return problem.direction == Direction::weight_gradient ? streams_weight_gradient(problem.shape, problem.kernels)
                                                           : streams(problem.shape, problem.kernels, problem.direction);
#endif
  if (algorithm == Algorithm::tensor_core_summed) return kernels::od_conv_summed_mma_takes(problem.shape);
  if (algorithm != Algorithm::tensor_core) return true;
  return problem.direction == Direction::weight_gradient ? kernels::od_conv_mma_weight_gradient_takes(problem.shape)
                                                         : kernels::od_conv_mma_takes(problem.shape, problem.kernels);
}

namespace {

/// The plan on CUDA in bf16 and f16.
Plan tensor_core_plan(const Problem& problem) {
  constexpr std::int64_t aggregation_pays = 64;  // pixels of the output, by the arithmetic of either
  if (takes(Algorithm::tensor_core_summed, problem)) {
    if (problem.kernels == 1)
      return {Algorithm::tensor_core_summed, "one kernel: one product for all samples, on tensor cores"};
    if (problem.shape.out_pixels() < aggregation_pays)
      return {Algorithm::tensor_core_summed, "few pixels: products with all kernels, on tensor cores"};
  }
  if (takes(Algorithm::tensor_core, problem)) return {Algorithm::tensor_core, "aggregated on chip, for tensor cores"};
  return {Algorithm::tiled, "no tensor-core kernel takes these groups, channels, kernels or sizes"};
}

#if !OMNICONV_CUDA
/// Whether the vectors of this machine are wide enough for it, and the shape one that gains.
bool pays(Algorithm algorithm, const Problem& problem) {
  if (!takes(algorithm, problem)) return false;
  if (algorithm == Algorithm::streamed)
    return streaming_pays && (problem.kernels > 1 || problem.direction == Direction::weight_gradient);
  const std::int64_t pixels = problem.shape.out_pixels();
  return winograd_pays && (problem.kernels == 0 || pixels >= many_pixels) && pixels <= most_pixels;
}
#else
bool pays(Algorithm, const Problem&) {
  return false;
}
#endif

}  // namespace

Plan default_plan(const Problem& problem) {
  const auto& [shape, kernels, dtype, direction] = problem;
  if (OMNICONV_CUDA && is_available(Algorithm::tensor_core, dtype)) return tensor_core_plan(problem);
  if (!is_available(Algorithm::blocked, dtype))
    return {Algorithm::tiled, OMNICONV_CUDA ? "plain FMA: no tensor cores in this type" : "the library has no f64"};
  if (pays(Algorithm::streamed, problem))
    return {Algorithm::streamed,
            direction == Direction::weight_gradient
                ? "few pixels: they stay in registers while a sample's gradients pass and are folded"
                : "few pixels: each vector of the aggregate meets all of them in registers"};
  if (pays(Algorithm::winograd, problem))
    return {Algorithm::winograd, "3x3 of stride 1: 16 products for 4 outputs instead of 36"};
  // Measured at 32 samples of 4x4 pixels: C takes six tenths of B's time with one kernel, one and a half times with
  // four. Without attention the data gradient gains a quarter by it.
  const std::int64_t rows = shape.samples * shape.out_pixels();
  const bool one_kernel = kernels == 1 || (kernels == 0 && direction == Direction::data_gradient);
  if (direction != Direction::weight_gradient && one_kernel && shape.params.groups == 1 && shape.taps() > 1 &&
      shape.out_pixels() <= few_pixels && rows >= many_rows)
    return {Algorithm::summed, "one kernel, few pixels: a shared product, taps in the padding skipped"};
  if (kernels == 0) return {Algorithm::blocked, "no attention"};
  if (direction != Direction::weight_gradient)
    return {Algorithm::blocked, kernels > 1 ? "aggregated in cache for the library's convolution of a sample"
                                            : "scaled in cache for the library's convolution of a sample"};
  if (shape.params.groups > 1) return {Algorithm::blocked, "groups: the library's gradient of a sample, then folded"};
  return {Algorithm::blocked, "a sample's gradient stays in registers and is folded from there"};
}

void set_measured_plans(MeasuredPlans plans) {
  measured = std::move(plans);
}

const MeasuredPlans& measured_plans() {
  return measured;
}

ForceAlgorithm::ForceAlgorithm(Algorithm algorithm) : before_(std::exchange(forced_algorithm, algorithm)) {}

ForceAlgorithm::~ForceAlgorithm() {
  forced_algorithm = before_;
}

Plan plan(const Problem& problem) {
  if (forced_algorithm && takes(*forced_algorithm, problem)) return {*forced_algorithm, "forced"};
  const auto fastest = measured.find(problem);
  if (fastest != measured.end() && takes(fastest->second, problem)) return {fastest->second, "the fastest as measured"};
  return default_plan(problem);
}

}  // namespace omniconv::conv
