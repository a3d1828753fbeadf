#include "kernels/dropout.h"

#include "kernels/error.h"
#include "kernels/philox.h"
#include "kernels/simt/simt.h"

namespace omniconv::kernels {
namespace {

/// Streams of dropout begin here, out of reach of those that are an epoch and beside the purposes of data/draws.h.
constexpr std::uint64_t first_stream = std::uint64_t{4} << 48;

}  // namespace

template <class T>
void dropout(const DropoutDraw& draw, const T* input, T* output, std::int64_t count, bool accumulate, Stream stream) {
  expect(draw.probability >= 0 && draw.probability < 1, "dropout", "expected a probability in [0, 1), got ",
         draw.probability);
  const T scale = static_cast<T>(1 / (1 - draw.probability));
  simt::for_each_index(count, stream, [=] OMNI_HOST_DEVICE(std::int64_t i) {
    const Philox random(draw.seed, first_stream + static_cast<std::uint64_t>(*draw.step));
    const bool stays = random.uniform(static_cast<std::uint64_t>(i)) >= draw.probability;
    const T value = stays ? input[i] * scale : T(0);
    output[i] = accumulate ? output[i] + value : value;
  });
}

template void dropout(const DropoutDraw&, const float*, float*, std::int64_t, bool, Stream);
template void dropout(const DropoutDraw&, const double*, double*, std::int64_t, bool, Stream);

}  // namespace omniconv::kernels
