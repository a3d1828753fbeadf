#include "kernels/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/columns.h"
#include "kernels/error.h"

namespace omniconv::kernels {
namespace {

/// Count, mean and sum of the squared deviations from it, of W columns.
template <int W>
struct Moments {
  double count = 0;
  Lanes<double, W> mean = Lanes<double, W>::all(0);
  Lanes<double, W> squares = Lanes<double, W>::all(0);

  /// Both sets together: Chan, Golub & LeVeque, 1979. Nothing cancels, whatever the mean.
  OMNI_DEVICE Moments operator+(const Moments& other) const {
    Moments result;
    result.count = count + other.count;
    if (result.count == 0) return result;
    const double share = other.count / result.count;
    const Lanes<double, W> delta = other.mean - mean;
    result.mean = mean + delta * Lanes<double, W>::all(share);
    result.squares = squares + other.squares + delta * delta * Lanes<double, W>::all(count * share);
    return result;
  }
};

/// The moments of some rows, from their deviations from `shift`, which should be close to their mean.
template <class T, int W>
OMNI_DEVICE Moments<W> shifted_moments(const T* input, std::int64_t columns, std::int64_t row, std::int64_t end,
                                       std::int64_t step, const Lanes<compute_type_t<T>, W>& shift) {
  using Values = Lanes<compute_type_t<T>, W>;
  auto sum = Values::all(0), squares = Values::all(0);
  Moments<W> result;
  for (; row < end; row += step) {
    const Values deviation = Values::load(input + row * columns) - shift;
    sum += deviation;
    squares += deviation * deviation;
    result.count += 1;
  }
  const Lanes<double, W> wide_sum = sum.template to<double>();
  const Lanes<double, W> mean = wide_sum * Lanes<double, W>::all(1 / result.count);
  result.mean = shift.template to<double>() + mean;
  result.squares = squares.template to<double>() - mean * wide_sum;
  return result;
}

/// partial[chunk] = the moments of the chunk's rows: means [C], then squares [C].
template <class T, int W>
OMNI_KERNEL void chunk_moments(ColumnCut cut, const T* input, compute_type_t<T>* partial) {
  using Value = compute_type_t<T>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const T* const columns = input + place.column;
  Moments<W> moments;
  for (std::int64_t row = place.row; row < place.end; row += rows_in_low_precision * place.step) {
    const std::int64_t stop = row + rows_in_low_precision * place.step;
    const std::int64_t end = stop < place.end ? stop : place.end;
    // Deviations are taken from the mean so far: should these rows' mean be far from it, then Chan's formula adds
    // as much to the total as is lost here. The first rows, which have none before them, are looked at twice.
    if (row == place.row)
      moments = shifted_moments(columns, cut.columns, row, end, place.step, Lanes<Value, W>::all(0));
    const Moments<W> part =
        shifted_moments(columns, cut.columns, row, end, place.step, moments.mean.template to<Value>());
    moments = row == place.row ? part : moments + part;
  }
  moments = combine_rows(moments);
  if (!place.is_first) return;
  Value* const means = partial + place.chunk * 2 * cut.columns + place.column;
  for (int i = 0; i < W; ++i) {
    means[i] = static_cast<Value>(moments.mean[i]);
    means[cut.columns + i] = static_cast<Value>(moments.squares[i]);
  }
}

template <class Value>
struct Statistics {
  MomentParts parts;
  double epsilon, momentum;
  const Value* moments;  // [parts, 2, C]
  Value *mean, *rstd, *running_mean, *running_var;
  std::int64_t* batches;
};

/// The moments of all parts together, which are the rows of `cut`, and what follows from them.
template <class Value, int W>
OMNI_KERNEL void finish_statistics(ColumnCut cut, Statistics<Value> s) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  Moments<W> moments;
  for (std::int64_t number = place.row; number < place.end; number += place.step) {
    const Value* const means = s.moments + number * 2 * cut.columns + place.column;
    Moments<W> part;
    part.count = static_cast<double>(s.parts.rows_of(number));
    part.mean = Lanes<double, W>::load_unaligned(means);
    part.squares = Lanes<double, W>::load_unaligned(means + cut.columns);
    moments = moments + part;
  }
  moments = combine_rows(moments);
  if (!place.is_first) return;
  for (int i = 0; i < W; ++i) {
    const std::int64_t c = place.column + i;
    const double variance = moments.squares[i] / moments.count;
    const double unbiased = moments.squares[i] / (moments.count - 1);
    s.mean[c] = static_cast<Value>(moments.mean[i]);
    s.rstd[c] = static_cast<Value>(1 / std::sqrt(variance + s.epsilon));
    s.running_mean[c] += static_cast<Value>(s.momentum * (moments.mean[i] - s.running_mean[c]));
    s.running_var[c] += static_cast<Value>(s.momentum * (unbiased - s.running_var[c]));
  }
  if (place.column == 0 && s.batches != nullptr) ++*s.batches;
}

/// The norm of a thread's columns, row by row.
template <class T, int W>
class Normalise {
  using Values = Lanes<compute_type_t<T>, W>;

 public:
  OMNI_DEVICE Normalise(const ColumnCut& cut, const ColumnPlace& place, const BatchNormApply<T>& a, bool relu)
      : a_(a), relu_(relu), columns_(cut.columns), column_(place.column) {
    if (place.row >= place.end) return;
    mean_ = Values::load_unaligned(a.mean + column_);
    beta_ = Values::load_unaligned(a.beta + column_);
    scale_ = Values::load_unaligned(a.gamma + column_) * Values::load_unaligned(a.rstd + column_);
  }

  /// Writes a row of the output and returns it as it was before T rounded it.
  OMNI_DEVICE Values operator()(std::int64_t row) const {
    const std::int64_t at = row * columns_ + column_;
    Values y = (Values::load(a_.input + at) - mean_) * scale_ + beta_;
    if (a_.residual != nullptr) y += Values::load(a_.residual + at);
    if (relu_) y = y.without_negative();
    y.store(a_.output + at);
    return y;
  }

 private:
  const BatchNormApply<T>& a_;
  bool relu_;
  std::int64_t columns_, column_;
  Values mean_ = Values::all(0), beta_ = mean_, scale_ = mean_;
};

template <class T, int W>
OMNI_KERNEL void apply_kernel(ColumnCut cut, BatchNormApply<T> a, bool relu) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const Normalise<T, W> normalise(cut, place, a, relu);
  for (std::int64_t row = place.row; row < place.end; row += place.step) normalise(row);
}

/// sums[chunk, column] = factor · the total of what the threads that share columns have summed.
template <class Value, int W>
OMNI_DEVICE void write_chunk_sums(const ColumnCut& cut, const ColumnPlace& place,
                                  const ColumnSums<1, W>& of_this_thread, double factor, Value* sums) {
  const ColumnSums<1, W> total = combine_rows(of_this_thread);
  if (!place.is_first) return;
  Value* const target = sums + place.chunk * cut.columns + place.column;
  for (int i = 0; i < W; ++i) target[i] = static_cast<Value>(factor * total.sum[0][i]);
}

/// apply_kernel with the sums over the rows of each chunk, of the output as it is written.
template <class T, int W>
OMNI_KERNEL void apply_and_pool_kernel(ColumnCut cut, BatchNormApply<T> a, bool relu, double factor,
                                       compute_type_t<T>* sums) {
  using Value = compute_type_t<T>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const Normalise<T, W> normalise(cut, place, a, relu);
  const auto of_this_thread = sum_rows<1, Value, W>(
      place, [&](std::int64_t row, Lanes<Value, W>* sum) { sum[0] += normalise(row).template rounded<T>(); });
  write_chunk_sums(cut, place, of_this_thread, factor, sums);
}

/// What arrives at a thread's columns, d_output + d_pool / P where relu has let the output through, row by row.
template <class T, int W>
class OutputGradient {
  using Values = Lanes<compute_type_t<T>, W>;

 public:
  OMNI_DEVICE OutputGradient(const ColumnCut& cut, const ColumnPlace& place, const BatchNormBackward<T>& b, bool relu,
                             std::int64_t pixels)
      : b_(b), relu_(relu), columns_(cut.columns), column_(place.column), pixels_(pixels) {}

  OMNI_DEVICE Values operator()(std::int64_t row) {
    const std::int64_t at = row * columns_ + column_;
    auto gradient = Values::all(0);
    if (b_.d_output != nullptr) gradient = Values::load(b_.d_output + at);
    if (b_.d_pool != nullptr) {
      if (row >= end_of_sample_) {
        const std::int64_t sample = row / pixels_;
        end_of_sample_ = (sample + 1) * pixels_;
        from_pool_ = Values::load_unaligned(b_.d_pool + sample * columns_ + column_) *
                     Values::all(compute_type_t<T>(1) / static_cast<compute_type_t<T>>(pixels_));
      }
      gradient += from_pool_;
    }
    return relu_ ? gradient.where_positive(Values::load(b_.output + at)) : gradient;
  }

 private:
  const BatchNormBackward<T>& b_;
  bool relu_;
  std::int64_t columns_, column_, pixels_;
  std::int64_t end_of_sample_ = 0;
  Values from_pool_ = Values::all(0);
};

/// workspace[chunk] = Σ dy [C], then Σ dy·x̂ [C], over the chunk's rows.
template <class T, int W>
OMNI_KERNEL void chunk_gradient_sums(ColumnCut cut, BatchNormBackward<T> b, bool relu, std::int64_t pixels) {
  using Value = compute_type_t<T>;
  using Values = Lanes<Value, W>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  auto mean = Values::all(0), rstd = mean;
  if (place.row < place.end) {
    mean = Values::load_unaligned(b.mean + place.column);
    rstd = Values::load_unaligned(b.rstd + place.column);
  }
  OutputGradient<T, W> output_gradient(cut, place, b, relu, pixels);
  const auto sums = combine_rows(sum_rows<2, Value, W>(place, [&](std::int64_t row, Values* sum) {
    const std::int64_t at = row * cut.columns + place.column;
    const Values gradient = output_gradient(row);
    sum[0] += gradient;
    sum[1] += gradient * ((Values::load(b.input + at) - mean) * rstd);
  }));
  if (!place.is_first) return;
  Value* const partial = b.workspace + place.chunk * 2 * cut.columns + place.column;
  for (int i = 0; i < W; ++i) {
    partial[i] = static_cast<Value>(sums.sum[0][i]);
    partial[cut.columns + i] = static_cast<Value>(sums.sum[1][i]);
  }
}

/// The sums over all chunks, which are the rows of `cut`: the gradients of beta and gamma, and into `coefficients`
/// [2, C] what d_input takes off dy: a constant, and a multiple of x - mean.
template <class T, int W>
OMNI_KERNEL void finish_gradient_sums(ColumnCut cut, BatchNormBackward<T> b, std::int64_t rows,
                                      compute_type_t<T>* coefficients) {
  using Value = compute_type_t<T>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  const auto sums = combine_rows(sum_rows<2, double, W>(place, [&](std::int64_t chunk, Lanes<double, W>* sum) {
    const Value* const partial = b.workspace + chunk * 2 * cut.columns + place.column;
    sum[0] += Lanes<double, W>::load_unaligned(partial);
    sum[1] += Lanes<double, W>::load_unaligned(partial + cut.columns);
  }));
  if (!place.is_first) return;
  for (int i = 0; i < W; ++i) {
    const std::int64_t c = place.column + i;
    const double d_beta = sums.sum[0][i], d_gamma = sums.sum[1][i];
    if (b.d_beta != nullptr) write(b.d_beta[c], static_cast<Value>(d_beta), b.accumulate_beta);
    if (b.d_gamma != nullptr) write(b.d_gamma[c], static_cast<Value>(d_gamma), b.accumulate_gamma);
    coefficients[c] = static_cast<Value>(d_beta / rows);
    coefficients[cut.columns + c] = static_cast<Value>(d_gamma * b.rstd[c] / rows);
  }
}

/// The gradients of a thread's columns, row by row: d_residual = dy, and d_input = gamma·rstd·(dy - coefficients), or
/// without coefficients gamma·rstd·dy.
template <class T, int W>
class InputGradient {
  using Values = Lanes<compute_type_t<T>, W>;

 public:
  OMNI_DEVICE InputGradient(const ColumnCut& cut, const ColumnPlace& place, const BatchNormBackward<T>& b, bool relu,
                            std::int64_t pixels, const compute_type_t<T>* coefficients)
      : b_(b),
        output_gradient_(cut, place, b, relu, pixels),
        corrects_(coefficients != nullptr),
        columns_(cut.columns),
        column_(place.column) {
    if (place.row >= place.end) return;
    mean_ = Values::load_unaligned(b.mean + column_);
    scale_ = Values::load_unaligned(b.gamma + column_) * Values::load_unaligned(b.rstd + column_);
    if (!corrects_) return;
    constant_ = Values::load_unaligned(coefficients + column_);
    slope_ = Values::load_unaligned(coefficients + columns_ + column_);
  }

  /// Writes a row. `dot`, unless it is nullptr, grows by d_input ⊙ input.
  OMNI_DEVICE void operator()(std::int64_t row, Values* dot) {
    const std::int64_t at = row * columns_ + column_;
    Values gradient = output_gradient_(row);
    if (b_.d_residual != nullptr) write(b_.d_residual + at, gradient, b_.accumulate_residual);
    if (b_.d_input == nullptr) return;
    auto input = Values::all(0);
    if (corrects_ || dot != nullptr) input = Values::load(b_.input + at);
    if (corrects_) gradient = gradient - constant_ - (input - mean_) * slope_;
    gradient = gradient * scale_;
    write(b_.d_input + at, gradient, b_.accumulate_input);
    if (dot != nullptr) *dot += gradient * input;
  }

 private:
  const BatchNormBackward<T>& b_;
  OutputGradient<T, W> output_gradient_;
  bool corrects_;
  std::int64_t columns_, column_;
  Values mean_ = Values::all(0), scale_ = mean_, constant_ = mean_, slope_ = mean_;
};

template <class T, int W>
OMNI_KERNEL void input_gradients(ColumnCut cut, BatchNormBackward<T> b, bool relu, std::int64_t pixels,
                                 const compute_type_t<T>* coefficients) {
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  InputGradient<T, W> gradient(cut, place, b, relu, pixels, coefficients);
  for (std::int64_t row = place.row; row < place.end; row += place.step) gradient(row, nullptr);
}

/// input_gradients with the sums over the rows of each chunk, of d_input ⊙ input.
template <class T, int W>
OMNI_KERNEL void input_gradients_and_dots(ColumnCut cut, BatchNormBackward<T> b, bool relu, std::int64_t pixels,
                                          const compute_type_t<T>* coefficients) {
  using Value = compute_type_t<T>;
  const ColumnPlace place = ColumnPlace::of_this_thread<W>(cut);
  InputGradient<T, W> gradient(cut, place, b, relu, pixels, coefficients);
  const auto of_this_thread =
      sum_rows<1, Value, W>(place, [&](std::int64_t row, Lanes<Value, W>* sum) { gradient(row, sum); });
  write_chunk_sums(cut, place, of_this_thread, 1, b.dots);
}

void check_shape(const BatchNormShape& shape) {
  expect(shape.channels >= 1, "batch_norm", "expected at least 1 channel, got ", shape.channels);
  expect(shape.rows >= 1, "batch_norm", "expected at least 1 row, got ", shape.rows);
  expect(shape.samples >= 1 && shape.rows % shape.samples == 0, "batch_norm", "expected rows that ", shape.samples,
         " samples share evenly, got ", shape.rows);
}

void check_rows_of_statistics(const BatchNormShape& shape) {
  check_shape(shape);
  expect(shape.rows >= 2, "batch_norm", "expected at least 2 rows to take statistics of, got ", shape.rows);
}

/// The rows cut at the ends of samples.
template <class T>
ColumnCut cut_samples(const BatchNormShape& shape) {
  return cut_columns<T>(shape.samples, shape.pixels(), shape.channels);
}

}  // namespace

template <class T>
std::int64_t batch_norm_workspace(const BatchNormShape& shape) {
  check_shape(shape);
  const std::int64_t by_channel = (cut_columns<T>(1, shape.rows, shape.channels).chunks + 1) * 2;
  return (by_channel + shape.samples * cut_samples<T>(shape).chunks) * shape.channels;
}

template <class T>
void batch_norm_statistics(const BatchNormShape& shape, const T* input, compute_type_t<T>* mean,
                           compute_type_t<T>* rstd, compute_type_t<T>* running_mean, compute_type_t<T>* running_var,
                           std::int64_t* batches, double momentum, compute_type_t<T>* workspace, Stream stream) {
  check_rows_of_statistics(shape);
  const ColumnCut cut = cut_columns<T>(1, shape.rows, shape.channels);
  with_column_width<T>(shape.channels, {input}, [&](auto width) {
    launch_on_columns<width, Moments<width>>(chunk_moments<T, width>, cut, stream, input, workspace);
  });
  batch_norm_combine<T>(shape, MomentParts::cut(1, shape.rows, cut.chunk_rows), workspace, mean, rstd, running_mean,
                        running_var, batches, momentum, stream);
}

template <class T>
void batch_norm_combine(const BatchNormShape& shape, const MomentParts& parts, const compute_type_t<T>* moments,
                        compute_type_t<T>* mean, compute_type_t<T>* rstd, compute_type_t<T>* running_mean,
                        compute_type_t<T>* running_var, std::int64_t* batches, double momentum, Stream stream) {
  using Value = compute_type_t<T>;
  check_rows_of_statistics(shape);
  expect(parts.rows() == shape.rows, "batch_norm", "expected moments of ", shape.rows, " rows, got those of ",
         parts.rows());
  const Statistics<Value> statistics{parts, shape.epsilon, momentum,    moments, mean,
                                     rstd,  running_mean,  running_var, batches};
  with_column_width<T>(shape.channels, {}, [&](auto width) {
    launch_on_columns<width, Moments<width>>(finish_statistics<Value, width>,
                                             whole_columns(1, parts.count(), shape.channels), stream, statistics);
  });
}

template <class T>
void batch_norm_use_running(const BatchNormShape& shape, const T* running_mean, const T* running_var, T* mean, T* rstd,
                            Stream stream) {
  check_shape(shape);
  const double epsilon = shape.epsilon;
  simt::for_each_index(shape.channels, stream, [=] OMNI_HOST_DEVICE(std::int64_t c) {
    mean[c] = running_mean[c];
    rstd[c] = static_cast<T>(1 / std::sqrt(running_var[c] + epsilon));
  });
}

template <class T>
void batch_norm_apply(const BatchNormShape& shape, const BatchNormApply<T>& arguments, Stream stream) {
  using Value = compute_type_t<T>;
  check_shape(shape);
  const auto with_width = [&](auto body) {
    with_column_width<T>(shape.channels, {arguments.input, arguments.residual, arguments.output}, body);
  };
  if (arguments.pool == nullptr)
    return with_width([&](auto width) {
      launch_on_columns<width>(apply_kernel<T, width>, cut_columns<T>(1, shape.rows, shape.channels), stream, arguments,
                               shape.relu);
    });
  const ColumnCut cut = cut_samples<T>(shape);
  Value* const sums = cut.chunks == 1 ? arguments.pool : arguments.workspace;
  with_width([&](auto width) {
    launch_on_columns<width, ColumnSums<1, width>>(apply_and_pool_kernel<T, width>, cut, stream, arguments, shape.relu,
                                                   1 / static_cast<double>(shape.pixels()), sums);
  });
  if (cut.chunks > 1)
    launch_column_sums<Value>(shape.samples, cut.chunks, shape.channels, sums, 1, arguments.pool, false, stream);
}

template <class T>
void batch_norm_backward(const BatchNormShape& shape, const BatchNormBackward<T>& arguments, Stream stream) {
  using Value = compute_type_t<T>;
  check_shape(shape);
  expect(arguments.dots == nullptr || (arguments.d_input != nullptr && !arguments.accumulate_input), "batch_norm",
         "expected a gradient of the input that is written for its dot product, got ",
         arguments.d_input == nullptr ? "none" : "one to add to");
  const ColumnCut cut = cut_columns<T>(1, shape.rows, shape.channels);
  const ColumnCut by_sample = cut_samples<T>(shape);
  const bool needs_rows = arguments.d_input != nullptr || arguments.d_residual != nullptr;
  const bool corrects_input = arguments.d_input != nullptr && arguments.batch_statistics;
  const bool needs_sums = corrects_input || arguments.d_gamma != nullptr || arguments.d_beta != nullptr;
  Value* const coefficients = arguments.workspace + cut.chunks * 2 * shape.channels;
  with_column_width<T>(
      shape.channels, {arguments.input, arguments.output, arguments.d_output, arguments.d_input, arguments.d_residual},
      [&](auto width) {
        constexpr int W = width;
        if (needs_sums) {
          launch_on_columns<W, ColumnSums<2, W>>(chunk_gradient_sums<T, W>, cut, stream, arguments, shape.relu,
                                                 shape.pixels());
          launch_on_columns<W, ColumnSums<2, W>>(finish_gradient_sums<T, W>,
                                                 whole_columns(1, cut.chunks, shape.channels), stream, arguments,
                                                 shape.rows, coefficients);
        }
        if (!needs_rows) return;
        const Value* const corrections = corrects_input ? coefficients : nullptr;
        if (arguments.dots == nullptr)
          return launch_on_columns<W>(input_gradients<T, W>, cut, stream, arguments, shape.relu, shape.pixels(),
                                      corrections);
        launch_on_columns<W, ColumnSums<1, W>>(input_gradients_and_dots<T, W>, by_sample, stream, arguments, shape.relu,
                                               shape.pixels(), corrections);
      });
}

template <class T>
std::int64_t batch_norm_dot_parts(const BatchNormShape& shape) {
  check_shape(shape);
  return cut_samples<T>(shape).chunks;
}

template void batch_norm_use_running(const BatchNormShape&, const float*, const float*, float*, float*, Stream);
template void batch_norm_use_running(const BatchNormShape&, const double*, const double*, double*, double*, Stream);

#define OMNICONV_INSTANTIATE(T)                                                                                       \
  template std::int64_t batch_norm_workspace<T>(const BatchNormShape&);                                               \
  template std::int64_t batch_norm_dot_parts<T>(const BatchNormShape&);                                               \
  template void batch_norm_statistics(const BatchNormShape&, const T*, compute_type_t<T>*, compute_type_t<T>*,        \
                                      compute_type_t<T>*, compute_type_t<T>*, std::int64_t*, double,                  \
                                      compute_type_t<T>*, Stream);                                                    \
  template void batch_norm_combine<T>(const BatchNormShape&, const MomentParts&, const compute_type_t<T>*,            \
                                      compute_type_t<T>*, compute_type_t<T>*, compute_type_t<T>*, compute_type_t<T>*, \
                                      std::int64_t*, double, Stream);                                                 \
  template void batch_norm_apply(const BatchNormShape&, const BatchNormApply<T>&, Stream);                            \
  template void batch_norm_backward(const BatchNormShape&, const BatchNormBackward<T>&, Stream);
OMNICONV_INSTANTIATE(float)
OMNICONV_INSTANTIATE(double)
OMNICONV_INSTANTIATE(bf16)
OMNICONV_INSTANTIATE(f16)
#undef OMNICONV_INSTANTIATE

}  // namespace omniconv::kernels
