#include "engine/parameters.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "engine/device.h"
#include "engine/files.h"
#include "kernels/elementwise.h"
#include "kernels/philox.h"

namespace omniconv {

namespace {

// Libraries and kernels read 16 bytes at once, the CPU 64: in 16 bits that many elements.
constexpr std::int64_t parameter_alignment = 32;

std::int64_t aligned(std::int64_t count) {
  return (count + parameter_alignment - 1) / parameter_alignment * parameter_alignment;
}

/// Stream number of a name, so that a parameter's first values do not depend on what else the model has. FNV-1a.
std::uint64_t stream_of(const std::string& name) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (unsigned char c : name) hash = (hash ^ c) * 1099511628211ULL;
  return hash;
}

/// Visits (index here, index in the file) of a channels-last weight, [.., R·S, I] here and [.., I, R·S] there, in the
/// file's order.
template <class Visit>
void for_each_channels_last(const Shape& shape, const Visit& visit) {
  const std::size_t rank = shape.size();
  const std::int64_t inner = shape[rank - 1];
  const std::int64_t taps = shape[rank - 2] * shape[rank - 3];
  const std::int64_t outer = element_count(shape) / std::max<std::int64_t>(1, inner * taps);
  for (std::int64_t o = 0; o < outer; ++o)
    for (std::int64_t i = 0; i < inner; ++i)
      for (std::int64_t t = 0; t < taps; ++t) visit((o * taps + t) * inner + i, (o * inner + i) * taps + t);
}

bool same_up_to_scalars(const Shape& a, const Shape& b) {
  return a == b || (element_count(a) == 1 && element_count(b) == 1);
}

bool is_floating(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16 || dtype == DType::f16;
}

/// A counter of one element. Where a whole state dict was cast its counters were too, and f16 has no number above
/// 65504: such a count is lost, as if the file had none.
std::int64_t counter_value(const HostTensor& tensor, const std::string& name) {
  if (!is_floating(tensor.dtype)) return to_integers(tensor, name).front();
  const double value = to_doubles(tensor, name).front();
  return std::abs(value) < 0x1p53 ? std::llround(value) : 0;
}

}  // namespace

Initializer Initializer::kaiming(std::int64_t fan_out) { return normal(std::sqrt(2.0 / static_cast<double>(fan_out))); }

Variable ParameterStore::declare(ParameterSpec spec, Initializer initializer, bool trained) {
  expect(!values_.defined(), "parameters", "expected all declarations before allocate(), got ", spec.name);
  expect(!index_.contains(spec.name) && !counters_.contains(spec.name), "parameters", "expected a new name, got ",
         spec.name, " twice");
  if (spec.file_shape.empty()) spec.file_shape = spec.shape;
  expect(element_count(spec.shape) == element_count(spec.file_shape), "parameters", "expected ", spec.name,
         " to have as many elements in files, got shapes ", spec.shape, " and ", spec.file_shape);
  index_.emplace(spec.name, entries_.size());
  entries_.push_back({std::move(spec), Variable::declare(trained), initializer, trained, 0});
  return entries_.back().variable;
}

Variable ParameterStore::add_parameter(ParameterSpec spec, Initializer initializer) {
  return declare(std::move(spec), initializer, true);
}

Variable ParameterStore::add_buffer(ParameterSpec spec, double value) {
  return declare(std::move(spec), Initializer::value(value), false);
}

Variable ParameterStore::add_counter(const std::string& name) {
  expect(!values_.defined(), "parameters", "expected all declarations before allocate(), got ", name);
  const auto [position, added] = counters_.emplace(name, Variable::declare(false));
  expect(added && !index_.contains(name), "parameters", "expected a new name, got ", name, " twice");
  return position->second;
}

void ParameterStore::lay_out() {
  std::int64_t parameters = 0, buffers = 0;
  for (Entry& entry : entries_) {
    std::int64_t& end = entry.trained ? parameters : buffers;
    entry.first = std::exchange(end, end + aligned(element_count(entry.spec.shape)));
  }
  values_ = Tensor::zeros({parameters}, dtype_);
  gradients_ = Tensor::zeros({parameters}, dtype_);
  buffers_ = Tensor::zeros({buffers}, dtype_);
  counts_ = Tensor::zeros({static_cast<std::int64_t>(counters_.size())}, DType::i64);
  std::int64_t counter = 0;
  for (const auto& [name, variable] : counters_) variable.bind(counts_.view(counter++, {1}), {});
  if (precision_ != dtype_) rounded_ = Tensor::empty({parameters}, precision_);
  for (const Entry& entry : entries_) {
    const Shape& shape = entry.spec.shape;
    const Tensor value = (entry.trained ? values_ : buffers_).view(entry.first, shape);
    const auto beside = [&](const Tensor& arena) {
      return entry.trained && arena.defined() ? arena.view(entry.first, shape) : Tensor();
    };
    entry.variable.bind(value, beside(gradients_), beside(rounded_));
  }
}

void ParameterStore::allocate() {
  lay_out();
  for (const Entry& entry : entries_) {
    const Tensor& value = entry.variable.value();
    std::vector<double> drawn(static_cast<std::size_t>(value.count()), entry.initializer.constant);
    if (entry.initializer.standard_deviation > 0) {
      const std::uint64_t stream = stream_of(entry.spec.name);
      for (std::size_t i = 0; i < drawn.size(); ++i)
        drawn[i] += entry.initializer.standard_deviation * Philox(seed_, stream).normal(i);
    }
    write_values(value, drawn);
  }
  round_values();
}

void ParameterStore::allocate(const std::map<std::string, HostTensor>& tensors, const std::string& source) {
  check_state(tensors, source);
  lay_out();
  load_state(tensors, source);
}

void ParameterStore::round_values() const {
  dispatch_storage("parameters", precision_, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (is_half<T>)
      kernels::convert(values_.data<float>(), rounded_.data<T>(), values_.count(), false, main_stream());
  });
}

std::int64_t ParameterStore::parameter_count() const {
  std::int64_t count = 0;
  for (const Entry& entry : entries_) count += entry.trained ? element_count(entry.spec.shape) : 0;
  return count;
}

void ParameterStore::begin_gradients() const {
  for (const Entry& entry : entries_)
    if (entry.trained) entry.variable.begin_gradient();
}

void ParameterStore::finish_gradients() const {
  for (const Entry& entry : entries_)
    if (entry.trained) entry.variable.finish_gradient();
}

const ParameterStore::Entry& ParameterStore::entry(const std::string& name) const {
  const auto found = index_.find(name);
  expect(found != index_.end(), "parameters", "expected the name of a parameter or buffer, got ", name);
  return entries_[found->second];
}

void ParameterStore::write_values(const Tensor& target, const std::vector<double>& values) const {
  if (dtype_ == DType::f64) {
    target.copy_from_host(values.data());
    return;
  }
  const std::vector<float> rounded(values.begin(), values.end());
  target.copy_from_host(rounded.data());
}

HostTensor ParameterStore::to_file(const Entry& entry, const HostCopy& arena) const {
  return dispatch("checkpoint", arena.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t count = element_count(entry.spec.shape);
    const std::span<const T> values =
        arena.values<T>().subspan(static_cast<std::size_t>(entry.first), static_cast<std::size_t>(count));
    HostTensor tensor{arena.dtype(), entry.spec.file_shape, std::vector<std::byte>(values.size_bytes())};
    T* const target = reinterpret_cast<T*>(tensor.bytes.data());
    if (entry.spec.channels_last)
      for_each_channels_last(entry.spec.shape, [&](std::int64_t here, std::int64_t there) {
        target[there] = values[static_cast<std::size_t>(here)];
      });
    else
      std::ranges::copy(values, target);
    return tensor;
  });
}

std::vector<double> ParameterStore::from_file(const Entry& entry, const HostTensor& tensor) const {
  std::vector<double> values = to_doubles(tensor, entry.spec.name);
  if (!entry.spec.channels_last) return values;
  std::vector<double> reordered(values.size());
  for_each_channels_last(entry.spec.shape, [&](std::int64_t here, std::int64_t there) {
    reordered[static_cast<std::size_t>(here)] = values[static_cast<std::size_t>(there)];
  });
  return reordered;
}

std::map<std::string, ParameterStore::FileTensor> ParameterStore::layout() const {
  std::map<std::string, FileTensor> tensors;
  for (const Entry& entry : entries_) tensors.emplace(entry.spec.name, FileTensor{dtype_, entry.spec.file_shape});
  for (const auto& [name, variable] : counters_) tensors.emplace(name, FileTensor{DType::i64, {}});
  return tensors;
}

void ParameterStore::take(Snapshot& snapshot) const {
  snapshot.values.take(values_);
  snapshot.buffers.take(buffers_);
  snapshot.counts.take(counts_);
}

std::map<std::string, HostTensor> ParameterStore::state(const Snapshot& snapshot) const {
  std::map<std::string, HostTensor> tensors;
  for (const Entry& entry : entries_)
    tensors.emplace(entry.spec.name, to_file(entry, entry.trained ? snapshot.values : snapshot.buffers));
  auto count = snapshot.counts.values<std::int64_t>().begin();
  for (const auto& [name, variable] : counters_) tensors.emplace(name, make_host_tensor(std::vector{*count++}, {}));
  return tensors;
}

std::map<std::string, HostTensor> ParameterStore::state() const {
  Snapshot snapshot;
  take(snapshot);
  return state(snapshot);
}

std::map<std::string, HostTensor> ParameterStore::state_of(const HostCopy& arena) const {
  std::map<std::string, HostTensor> tensors;
  for (const Entry& entry : entries_)
    if (entry.trained) tensors.emplace(entry.spec.name, to_file(entry, arena));
  return tensors;
}

std::map<std::string, HostTensor> ParameterStore::state_of(const Tensor& arena) const {
  HostCopy copy;
  copy.take(arena);
  return state_of(copy);
}

void ParameterStore::check_state(const std::map<std::string, HostTensor>& tensors, const std::string& source) const {
  std::vector<std::string> missing, unknown, misshapen, mistyped;
  for (const Entry& entry : entries_) {
    const auto found = tensors.find(entry.spec.name);
    if (found == tensors.end())
      missing.push_back(entry.spec.name);
    else if (!same_up_to_scalars(found->second.shape, entry.spec.file_shape))
      misshapen.push_back(concat(entry.spec.name, ' ', found->second.shape, " instead of ", entry.spec.file_shape));
    else if (!is_floating(found->second.dtype))
      mistyped.push_back(concat(entry.spec.name, ' ', name_of(found->second.dtype)));
  }
  for (const auto& [name, tensor] : tensors)
    if (!index_.contains(name) && !counters_.contains(name)) unknown.push_back(in_quotes(name));
  std::string found;
  for (const auto& [kind, names] : {std::pair("missing", &missing), std::pair("unknown", &unknown),
                                    std::pair("of another shape", &misshapen), std::pair("of another type", &mistyped)})
    if (!names->empty()) found += concat(found.empty() ? "" : "; ", kind, ": ", first_few(*names));
  expect(found.empty(), "checkpoint", source, ": expected the tensors of this model, got ", found);
  for (const auto& [name, variable] : counters_)
    if (const auto counter = tensors.find(name); counter != tensors.end())
      expect(element_count(counter->second.shape) == 1, "checkpoint", source, ": expected ", name,
             " to be a scalar, got shape ", counter->second.shape);
}

void ParameterStore::load_state(const std::map<std::string, HostTensor>& tensors, const std::string& source) {
  check_state(tensors, source);
  for (const Entry& entry : entries_)
    write_values(entry.variable.value(), from_file(entry, tensors.at(entry.spec.name)));
  std::vector<std::int64_t> counts;
  for (const auto& [name, variable] : counters_) {
    const auto found = tensors.find(name);
    counts.push_back(found == tensors.end() ? 0 : counter_value(found->second, name));
  }
  counts_.copy_from_host(counts.data());
  round_values();
}

void ParameterStore::load_state_of(const Tensor& arena, const std::map<std::string, HostTensor>& tensors,
                                   const std::string& source) const {
  for (const Entry& entry : entries_) {
    if (!entry.trained) continue;
    const auto found = tensors.find(entry.spec.name);
    expect(found != tensors.end() && same_up_to_scalars(found->second.shape, entry.spec.file_shape) &&
               is_floating(found->second.dtype),
           "checkpoint", source, ": expected optimizer state for ", entry.spec.name);
  }
  for (const Entry& entry : entries_)
    if (entry.trained)
      write_values(arena.view(entry.first, entry.spec.shape), from_file(entry, tensors.at(entry.spec.name)));
}

}  // namespace omniconv
