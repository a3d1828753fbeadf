// Blocks of both kinds against PyTorch: both down-samplings and none; output, every gradient, running statistics.
#include "models/block.h"

#include "tests/pytorch/algorithms.h"
#include "tests/pytorch/comparison.h"
#include "tests/pytorch/results.h"

namespace omniconv::pytorch {
namespace {

Results run_block(const std::string& model, const Case& test, DType dtype) {
  const ModelConfig config{.model = model,
                           .kernels = test.integer("kernels"),
                           .reduction = test.number("reduction"),
                           .downsample = test.text("downsample") == "static" ? Downsample::fixed : Downsample::odconv};
  ParameterStore store(dtype, 0);
  const Block block(config, store, "", test.integer("in_planes"),
                    test.integer("out_planes") / config.architecture().expansion(), test.integer("stride"));
  store.allocate();
  fill(store, test.seed());
  return run_module(test, store, [&](const Pass& pass, const Variable& input) { return block.forward(pass, input); });
}

/// The tensors of a case but for the attentions inside the block, which it does not show: the layers' tests compare
/// attentions, and here every other tensor depends on them.
Results expected_of(const Fixture& fixture, const Case& test) {
  Results expected = fixture.expected(test);
  std::erase_if(expected, [](const auto& entry) {
    return entry.first.starts_with("value/") && entry.first.find(".attention.") != std::string::npos;
  });
  return expected;
}

void check_blocks(const std::string& kind, const std::string& model, DType dtype) {
  const Fixture fixture = read_fixture(concat(kind, '.', name_of(dtype)));
  REQUIRE(fixture.cases.size() >= 6);
  for_each_algorithm(dtype, [&](const std::string& algorithm) {
    for (const Case& test : fixture.cases)
      check_agreement(concat(test.name(), ", ", name_of(dtype), ", ", algorithm), run_block(model, test, dtype),
                      expected_of(fixture, test), Bars::layer(dtype), Form::tensors);
  });
}

TEST_CASE("basic blocks agree with PyTorch, every algorithm", "[pytorch]") {
  check_blocks("basic_block", "od_resnet18", GENERATE(DType::f64, DType::f32));
}

TEST_CASE("bottlenecks agree with PyTorch, every algorithm", "[pytorch]") {
  check_blocks("bottleneck", "od_resnet50", GENERATE(DType::f64, DType::f32));
}

}  // namespace
}  // namespace omniconv::pytorch
