// Which algorithm computes a dynamic convolution: a plan. By default it is a pure function of shapes, type and device;
// measured plans take its place where a program has set some.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

#include "engine/dtype.h"
#include "kernels/conv_shape.h"

namespace omniconv::conv {

enum class Algorithm {
  tiled,        ///< our kernel: aggregated tiles in shared memory, plain FMA
  materialise,  ///< A: per-sample weights in memory, batched products
  blocked,      ///< B: aggregated slices in the CPU's cache, consumed at once by the library's convolution
  summed,       ///< C: one product over kernels, taps and channels, activations scaled by q and c, padding skipped
  two_sided,    ///< D: patches scaled by c and s, products with all kernels, combined by f and p
  tensor_core,  ///< B on tensor cores, in bf16 and f16: aggregated tiles in shared memory or registers
  tensor_core_summed,  ///< C on tensor cores, in bf16 and f16: products with all kernels, weighed by q
  streamed,            ///< B on the CPU for few pixels: aggregated and consumed in registers
  winograd,            ///< on the CPU: 3x3 in tiles of 2x2 outputs, 16 products in place of 36
};

inline constexpr std::array all_algorithms{
    Algorithm::tiled,
    Algorithm::materialise,
    Algorithm::blocked,
    Algorithm::summed,
    Algorithm::two_sided,
    Algorithm::tensor_core,
    Algorithm::tensor_core_summed,
    Algorithm::streamed,
    Algorithm::winograd,
};

enum class Direction { forward, data_gradient, weight_gradient };

/// "tiled", "materialise", ...
std::string_view name_of(Algorithm algorithm);
/// "forward", "data gradient", "weight gradient"
std::string_view name_of(Direction direction);

/// Whether this build has the algorithm for the type; in bf16 and f16 those without a form of their own run in f32.
bool is_available(Algorithm algorithm, DType dtype);

/// Whether it is available and may be the fastest: kernels written for a GPU are merely emulated on a CPU.
bool is_for_speed(Algorithm algorithm, DType dtype);

/// One direction of a convolution of K `kernels`; of 0 kernels: a static one.
struct Problem {
  ConvShape shape;
  std::int64_t kernels = 1;
  DType dtype = DType::f32;
  Direction direction = Direction::forward;

  auto operator<=>(const Problem&) const = default;
};

/// Whether the algorithm computes this, on this build.
bool takes(Algorithm algorithm, const Problem& problem);

/// An algorithm, and why it was chosen: a phrase for people.
struct Plan {
  Algorithm algorithm;
  std::string_view reason;
};

/// The default plan.
Plan default_plan(const Problem& problem);

/// The fastest algorithms, as measured.
using MeasuredPlans = std::map<Problem, Algorithm>;

/// Prefers these to the default plan from now on, where they take the problem. Not while convolutions run.
void set_measured_plans(MeasuredPlans plans);
const MeasuredPlans& measured_plans();

/// While it lives, one algorithm is forced wherever it takes the problem, for tests and measurements. Not for threads.
class ForceAlgorithm {
 public:
  explicit ForceAlgorithm(Algorithm algorithm);
  ~ForceAlgorithm();
  ForceAlgorithm(const ForceAlgorithm&) = delete;
  ForceAlgorithm& operator=(const ForceAlgorithm&) = delete;

 private:
  std::optional<Algorithm> before_;
};

/// The plan in force: forced, else measured, else the default one.
Plan plan(const Problem& problem);

}  // namespace omniconv::conv
