// BasicBlock against PyTorch: both down-samplings and none; output, every gradient, running statistics.
#include "models/basic_block.h"

#include "tests/pytorch/algorithms.h"
#include "tests/pytorch/comparison.h"
#include "tests/pytorch/results.h"

namespace omniconv::pytorch {
namespace {

Results run_block(const Case& test, DType dtype) {
  const ModelConfig config{
      .kernels = test.integer("kernels"),
      .reduction = test.number("reduction"),
      .downsample = test.text("downsample") == "static" ? Downsample::fixed : Downsample::odconv};
  ParameterStore store(dtype, 0);
  const BasicBlock block(config, store, "", test.integer("in_planes"), test.integer("out_planes"),
                         test.integer("stride"));
  store.allocate();
  fill(store, test.seed());
  return run_module(test, store,
                    [&](const Pass& pass, const Variable& input) { return block.forward(pass, input); });
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

void check_blocks(DType dtype) {
  const Fixture fixture = read_fixture(concat("basic_block.", name_of(dtype)));
  REQUIRE(fixture.cases.size() >= 6);
  for_each_algorithm(dtype, [&](const std::string& algorithm) {
    for (const Case& test : fixture.cases)
      check_agreement(concat(test.name(), ", ", name_of(dtype), ", ", algorithm), run_block(test, dtype),
                      expected_of(fixture, test), Bars::layer(dtype), Form::tensors);
  });
}

TEST_CASE("BasicBlock agrees with PyTorch in f64, every algorithm", "[pytorch]") { check_blocks(DType::f64); }

TEST_CASE("BasicBlock agrees with PyTorch in f32, every algorithm", "[pytorch]") { check_blocks(DType::f32); }

}  // namespace
}  // namespace omniconv::pytorch
