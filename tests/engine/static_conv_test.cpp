// The libraries' static convolutions against plain loops, and the dynamic convolution that is one.
#include "engine/conv/static_conv.h"

#include "tests/engine/conv_check.h"

namespace omniconv::test {
namespace {

/// The library's convolution against loops, gradients and accumulation included.
template <class T>
void check_static(const ConvCase& c, std::uint64_t seed) {
  INFO(text_of(c));
  using Value = compute_type_t<T>;
  const ConvShape& s = c.shape;
  reference::DynamicConv problem = make_problem<T>(c, seed);
  problem.channel.clear();
  const Tensor input = tensor_of<T>(problem.input), weight = tensor_of<T>(problem.weight);
  const Tensor output = Tensor::empty({s.output_count()}, DTypeOf<T>::value);
  conv::conv2d_forward(s, input.data<T>(), weight.data<T>(), output.data<T>(), main_stream());
  require_close(output.to_host<T>(), problem.forward(), Tolerance::rounding<T>(), "output");

  const reference::Values d_output = rounded_to<T>(uniform_values(s.output_count(), seed * 16 + 7));
  reference::DynamicConv::Gradients expected = problem.backward(d_output);
  const Tensor upstream = tensor_of<T>(d_output);
  const reference::Values ones(problem.input.size(), 1), weight_ones(problem.weight.size(), 1);
  const Tensor d_input = tensor_of<T>(ones), d_weight = tensor_of<Value>(weight_ones);
  for (const bool accumulate : {true, false}) {
    conv::conv2d_data_gradient(s, weight.data<T>(), upstream.data<T>(), d_input.data<T>(), accumulate, main_stream());
    conv::conv2d_weight_gradient(s, input.data<T>(), weight.data<T>(), upstream.data<T>(), d_weight.data<Value>(),
                                 accumulate, main_stream());
    reference::Values of_input = expected.input, of_weight = d_weight.to_doubles();
    for (double& value : of_input) value += accumulate ? 1 : 0;
    for (double& value : of_weight) value -= accumulate ? 1 : 0;
    require_close(d_input.to_host<T>(), of_input, Tolerance::rounding<T>(), "d_input");
    // A library for 16 bits may round its sums to them, before they are added to what was there.
    require_close(of_weight, expected.weight, OMNICONV_CUDA ? Tolerance::rounding<T>() : Tolerance::rounding<Value>(),
                  "d_weight");
  }
}

TEST_CASE("static convolutions agree with plain loops in every type", "[dynamic_conv]") {
  const ConvShape shape =
      GENERATE(ConvShape{3, 6, 5, 8, 16, 3, 3, {1, 1, 1, 1}}, ConvShape{2, 7, 5, 3, 7, 3, 3, {2, 1, 1, 1}},
               ConvShape{2, 4, 4, 16, 8, 1, 1, {2, 0, 1, 1}}, ConvShape{2, 6, 6, 4, 6, 5, 5, {1, 2, 1, 2}},
               ConvShape{9, 4, 4, 10, 12, 3, 3, {1, 1, 1, 1}},   // many samples of few pixels
               ConvShape{5, 9, 8, 32, 48, 3, 3, {1, 1, 1, 1}});  // Winograd's, on a CPU
  const ConvCase c{shape, 1, false, false, false};
  check_static<float>(c, 61);
  check_static<double>(c, 62);
  check_static<bf16>(c, 63);
  check_static<f16>(c, 64);
}

TEMPLATE_TEST_CASE("a static convolution of no images writes nothing, and its weight gradient is zero",
                   "[dynamic_conv]", float, double, bf16, f16) {
  using Value = compute_type_t<TestType>;
  const ConvShape shape{0, 6, 6, 8, 8, 3, 3, {1, 1, 1, 1}};
  const Tensor nothing = Tensor::zeros({1}, DTypeOf<TestType>::value);
  const Tensor weight = uniform_tensor<TestType>({shape.weight_count()}, 1);
  const Tensor d_weight = uniform_tensor<Value>({shape.weight_count()}, 2);
  TestType* const none = nothing.data<TestType>();
  conv::conv2d_forward(shape, none, weight.data<TestType>(), none, main_stream());
  conv::conv2d_data_gradient(shape, weight.data<TestType>(), none, none, false, main_stream());
  conv::conv2d_weight_gradient(shape, none, weight.data<TestType>(), none, d_weight.data<Value>(), false,
                               main_stream());
  CHECK(nothing.to_doubles() == std::vector<double>{0});
  CHECK(d_weight.to_doubles() == std::vector<double>(static_cast<std::size_t>(shape.weight_count())));
}

TEST_CASE("constant attention is a scaled static convolution", "[dynamic_conv]") {
  const ConvShape shape{2, 6, 6, 16, 16, 3, 3, {1, 1, 1, 1}};
  const std::int64_t kernels = 4;
  const auto constant = [](std::int64_t count, float value) {
    return Tensor::from_host(std::vector<float>(static_cast<std::size_t>(count), value));
  };
  const Tensor c = constant(shape.samples * shape.in_channels, 0.5f),
               f = constant(shape.samples * shape.out_channels, 0.5f);
  const Tensor s = constant(shape.samples * shape.taps(), 0.5f), p = constant(shape.samples * kernels, 0.25f);
  const Tensor input = uniform_tensor<float>({shape.input_count()}, 31);
  const std::vector<float> one = uniform_values<float>(shape.weight_count(), 32);
  std::vector<float> all;
  for (std::int64_t k = 0; k < kernels; ++k) all.insert(all.end(), one.begin(), one.end());
  const Tensor weight = Tensor::from_host(all), static_weight = Tensor::from_host(one);
  const Tensor output = Tensor::empty({shape.output_count()}, DType::f32);
  const Tensor static_output = Tensor::empty({shape.output_count()}, DType::f32);
  conv::dynamic_forward<float>(shape, {c.data<float>(), f.data<float>(), s.data<float>(), p.data<float>(), kernels},
                               input.data<float>(), weight.data<float>(), output.data<float>(), main_stream());
  conv::conv2d_forward(shape, input.data<float>(), static_weight.data<float>(), static_output.data<float>(),
                       main_stream());
  std::vector<float> expected = static_output.to_host<float>();
  for (float& value : expected) value *= 0.125f;
  require_close(output.to_host<float>(), expected, Tolerance::rounding<float>(), "output");
}

}  // namespace
}  // namespace omniconv::test
