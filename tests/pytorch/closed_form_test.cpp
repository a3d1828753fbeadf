// The generator gives the same doubles as closed_form.py. Every expected number was printed by that file.
#include "tests/pytorch/closed_form.h"

#include "tests/catch.h"

namespace omniconv::pytorch {
namespace {

TEST_CASE("the hash is Python's", "[pytorch]") {
  CHECK(fnv1a("") == 0xCBF29CE484222325);
  CHECK(fnv1a("a") == 0xAF63DC4C8601EC8C);
  CHECK(fnv1a("attention.channel_fc.weight") == 0xD5491AD5FA512174);
  CHECK(hash64(0, "conv1.weight", 0) == 0x8B8A08A85128A1B0);
  CHECK(hash64(3, "layer1.0.conv1.weight", 12345) == 0x9A3971C3F3D24A07);
}

TEST_CASE("values are Python's, bit for bit", "[pytorch]") {
  CHECK(value(0, "conv1.weight", 0) == 0x1.7141150a25140p-4);
  CHECK(value(1000, "input", 7) == 0x1.c801a0d5a0680p-2);
  CHECK(value(42, "input.mean", 11) == 0x1.e07374e302388p-1);
  CHECK(value(7, "fc.weight", 8589934592) == -0x1.591542002a92cp-1);
}

TEST_CASE("a tensor's name and rank say how it is filled", "[pytorch]") {
  struct Expected {
    const char* name;
    Shape shape;
    double first, last;
  };
  const Expected rules[] = {
      {"bn1.running_mean", {4}, -0x1.6f85412568d60p-7, 0x1.40da041ea5c20p-5},
      {"bn1.running_var", {4}, 0x1.1a90f2c2102adp-1, 0x1.1cc6ab92362ffp+0},
      {"fc.bias", {3}, 0x1.dc2fd82312e68p-6, 0x1.20f705f11685cp-5},
      {"bn1.weight", {4}, 0x1.141dc7187d648p+0, 0x1.17e35d4d041f6p+0},
      {"attention.channel_fc.weight", {3, 2, 1, 1}, -0x1.b8901b17262a4p-2, -0x1.2bec0aaf51a8ap-2},
      {"fc.weight", {2, 5}, -0x1.280271251edc5p-1, 0x1.6633340664785p-1},
      {"attention.fc.weight", {2, 3, 1, 1}, 0x1.c2502deefb532p-1, 0x1.30273920d8faap-1},
      {"weight", {2, 3, 2, 3, 3}, -0x1.2e7322002114ep-2, 0x1.c5ec31a307fbbp-3},
      {"conv1.weight", {2, 3, 3, 3}, 0x1.b46b36e73d085p-4, 0x1.1392bfc6ff1dap-3},
  };
  for (const Expected& expected : rules) {
    INFO(expected.name);
    const std::vector<double> values = state_values(1000, expected.name, expected.shape);
    CHECK(values.front() == expected.first);
    CHECK(values.back() == expected.last);
  }
  const auto state = make_state(1000, {{"bn.num_batches_tracked", make_host_tensor(std::vector<std::int64_t>{7}, {})},
                                       {"bn.bias", make_host_tensor(std::vector<float>{7}, {1})}});
  CHECK(to_integers(state.at("bn.num_batches_tracked"), "counter") == std::vector<std::int64_t>{0});
  CHECK(to_doubles(state.at("bn.bias"), "bias") == std::vector{value(1000, "bn.bias", 0) / 8});
}

TEST_CASE("activations are numbered as in NCHW", "[pytorch]") {
  const Shape shape{2, 4, 5, 3};
  const auto at = [](std::size_t n, std::size_t h, std::size_t w, std::size_t c) {
    return ((n * 4 + h) * 5 + w) * 3 + c;
  };
  CHECK(input_values(1000, "input", shape).at(at(1, 3, 1, 2)) == 0x1.28ce2e029bce0p-3);
  CHECK(cotangent_values(1000, shape).at(at(1, 2, 3, 0)) == -0x1.b5e49eb5bb368p-2);
  CHECK(input_values(1000, "input", shape).size() == 120);
}

TEST_CASE("labels and samples are Python's", "[pytorch]") {
  CHECK(labels(4, 5) == std::vector<std::int32_t>{3, 6, 9, 2, 5});
  CHECK(sample_indices("layer1.0.conv1.weight", 2304) ==
        std::vector<std::int64_t>{127, 1065, 962, 673, 2098, 1109, 39, 1060, 1583, 1973, 938, 1511, 1099, 393, 2139,
                                  2267});
}

}  // namespace
}  // namespace omniconv::pytorch
