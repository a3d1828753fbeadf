#include "engine/library/packed_conv_cpu.h"

#include <oneapi/dnnl/dnnl.hpp>

#include <cmath>
#include <map>
#include <utility>

#include "kernels/error.h"

namespace omniconv::library {

namespace {

using dnnl::memory;

dnnl::engine& cpu() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& queue() {
  thread_local dnnl::stream stream(cpu());
  return stream;
}

memory::desc activations(std::int64_t samples, std::int64_t channels, std::int64_t height, std::int64_t width) {
  return {{samples, channels, height, width}, memory::data_type::f32, memory::format_tag::nhwc};
}

memory::dims weight_dims(const ConvShape& s) {
  if (s.params.groups == 1) return {s.out_channels, s.in_channels, s.kernel_height, s.kernel_width};
  return {s.params.groups, s.group_out(), s.group_in(), s.kernel_height, s.kernel_width};
}

memory::desc plain_weights(const ConvShape& s, std::int64_t row) {
  const std::int64_t out_stride = s.taps() * row;
  memory::dims strides{out_stride, 1, s.kernel_width * row, row};
  if (s.params.groups > 1) strides.insert(strides.begin(), s.group_out() * out_stride);
  return {weight_dims(s), memory::data_type::f32, strides};
}

struct Problem {
  memory::desc input, weight, output;
  memory::dims strides, dilates, padding_before, padding_after;
};

/// Trailing padding as the library wants it: what the last window reaches beyond the input.
std::int64_t padding_after(std::int64_t extent, std::int64_t out, std::int64_t kernel, const Conv2dParams& p) {
  return (out - 1) * p.stride + p.dilation * (kernel - 1) + 1 - extent - p.padding;
}

Problem problem_of(const ConvShape& s) {
  const Conv2dParams& p = s.params;
  return {activations(s.samples, s.in_channels, s.height, s.width),
          {weight_dims(s), memory::data_type::f32, memory::format_tag::any},
          activations(s.samples, s.out_channels, s.out_height(), s.out_width()),
          {p.stride, p.stride},
          {p.dilation - 1, p.dilation - 1},
          {p.padding, p.padding},
          {padding_after(s.height, s.out_height(), s.kernel_height, p),
           padding_after(s.width, s.out_width(), s.kernel_width, p)}};
}

#if DNNL_VERSION_MAJOR >= 3

auto forward_description(const Problem& p) {
  return dnnl::convolution_forward::primitive_desc(cpu(), dnnl::prop_kind::forward_training,
                                                   dnnl::algorithm::convolution_direct, p.input, p.weight, p.output,
                                                   p.strides, p.dilates, p.padding_before, p.padding_after);
}
auto data_description(const Problem& p) {
  return dnnl::convolution_backward_data::primitive_desc(cpu(), dnnl::algorithm::convolution_direct, p.input, p.weight,
                                                         p.output, p.strides, p.dilates, p.padding_before,
                                                         p.padding_after, forward_description(p));
}
auto weight_description(const Problem& p) {
  return dnnl::convolution_backward_weights::primitive_desc(cpu(), dnnl::algorithm::convolution_direct, p.input,
                                                            p.weight, p.output, p.strides, p.dilates, p.padding_before,
                                                            p.padding_after, forward_description(p));
}

#else

auto forward_description(const Problem& p) {
  return dnnl::convolution_forward::primitive_desc(
      {dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, p.input, p.weight, p.output, p.strides,
       p.dilates, p.padding_before, p.padding_after},
      cpu());
}
auto data_description(const Problem& p) {
  return dnnl::convolution_backward_data::primitive_desc(
      {dnnl::algorithm::convolution_direct, p.input, p.weight, p.output, p.strides, p.dilates, p.padding_before,
       p.padding_after},
      cpu(), forward_description(p));
}
auto weight_description(const Problem& p) {
  return dnnl::convolution_backward_weights::primitive_desc(
      {dnnl::algorithm::convolution_direct, p.input, p.weight, p.output, p.strides, p.dilates, p.padding_before,
       p.padding_after},
      cpu(), forward_description(p));
}

#endif

}  // namespace

struct PackedConv::State {
  dnnl::primitive primitive;
  memory source, packed, destination;
  int source_argument, packed_argument, destination_argument;
};

PackedConv::PackedConv(Direction direction, const ConvShape& shape) : shape_(shape) {
  const Problem problem = problem_of(shape);
  const memory input(problem.input, cpu(), nullptr);
  const memory output(problem.output, cpu(), nullptr);
  switch (direction) {
    case Direction::forward: {
      const auto description = forward_description(problem);
      state_.reset(new State{dnnl::convolution_forward(description), input,
                             memory(description.weights_desc(), cpu(), nullptr), output, DNNL_ARG_SRC, DNNL_ARG_WEIGHTS,
                             DNNL_ARG_DST});
      break;
    }
    case Direction::data_gradient: {
      const auto description = data_description(problem);
      state_.reset(new State{dnnl::convolution_backward_data(description), output,
                             memory(description.weights_desc(), cpu(), nullptr), input, DNNL_ARG_DIFF_DST,
                             DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_SRC});
      break;
    }
    case Direction::weight_gradient: {
      const auto description = weight_description(problem);
      state_.reset(new State{dnnl::convolution_backward_weights(description), input,
                             memory(description.diff_weights_desc(), cpu(), nullptr), output, DNNL_ARG_SRC,
                             DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST});
      break;
    }
  }
  packed_count_ = static_cast<std::int64_t>(state_->packed.get_desc().get_size() / sizeof(float));
  find_runs();
}

PackedConv::~PackedConv() = default;

// The library does not tell where its layout puts a tap, but it packs a tensor whose values are the taps.
void PackedConv::find_runs() {
  std::vector<float> taps(static_cast<std::size_t>(shape_.weight_count()));
  const std::int64_t group_in = shape_.group_in();
  for (std::size_t i = 0; i < taps.size(); ++i)
    taps[i] = static_cast<float>(static_cast<std::int64_t>(i) / group_in % shape_.taps());
  std::vector<float> packed(static_cast<std::size_t>(packed_count_));
  pack(taps.data(), group_in, packed.data());
  for (std::int64_t i = 0; i < packed_count_; ++i) {
    const auto tap = static_cast<std::int64_t>(std::lround(packed[static_cast<std::size_t>(i)]));
    if (runs_.empty() || runs_.back().tap != tap) runs_.push_back({i, 0, tap});
    ++runs_.back().count;
  }
}

PackedConv& PackedConv::get(Direction direction, const ConvShape& shape) {
  thread_local std::map<std::pair<Direction, ConvShape>, std::unique_ptr<PackedConv>> cache;
  std::unique_ptr<PackedConv>& entry = cache[{direction, shape}];
  if (!entry) {
    try {
      entry.reset(new PackedConv(direction, shape));
    } catch (const dnnl::error& error) {
      fail("conv2d", "expected oneDNN to know a convolution of ", shape.in_channels, " to ", shape.out_channels,
           " channels on ", shape.height, "x", shape.width, " pixels, got: ", error.what());
    }
  }
  return *entry;
}

void PackedConv::pack(const float* weight, std::int64_t row, float* packed) const {
  memory plain(plain_weights(shape_, row), cpu(), const_cast<float*>(weight));
  memory target(state_->packed.get_desc(), cpu(), packed);
  dnnl::reorder(plain, target).execute(queue(), plain, target);
}

void PackedConv::unpack(const float* packed, float* weight, std::int64_t row) const {
  memory source(state_->packed.get_desc(), cpu(), const_cast<float*>(packed));
  memory plain(plain_weights(shape_, row), cpu(), weight);
  dnnl::reorder(source, plain).execute(queue(), source, plain);
}

void PackedConv::run(const float* source, float* packed, float* destination) const {
  state_->source.set_data_handle(const_cast<float*>(source));
  state_->packed.set_data_handle(packed);
  state_->destination.set_data_handle(destination);
  state_->primitive.execute(queue(), {{state_->source_argument, state_->source},
                                      {state_->packed_argument, state_->packed},
                                      {state_->destination_argument, state_->destination}});
}

}  // namespace omniconv::library
