// The fixture files: which cases there are, and what PyTorch computed for each. README.md describes the format.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/safetensors.h"

namespace omniconv::pytorch {

/// Tensors of one case in PyTorch's layouts, by "value/output", "grad/conv1.weight", "state/bn1.running_mean", ...
using Results = std::map<std::string, HostTensor>;

/// The configuration of one case, as generate.py ran it.
class Case {
 public:
  explicit Case(nlohmann::json fields) : fields_(std::move(fields)) {}

  std::string text(const char* key) const { return fields_.at(key).get<std::string>(); }
  std::int64_t integer(const char* key) const { return fields_.at(key).get<std::int64_t>(); }
  double number(const char* key) const { return fields_.at(key).get<double>(); }

  std::string name() const { return text("name"); }
  std::uint64_t seed() const { return fields_.at("seed").get<std::uint64_t>(); }
  bool training() const { return text("mode") == "train"; }

 private:
  nlohmann::json fields_;
};

struct Fixture {
  std::vector<Case> cases;
  std::map<std::string, HostTensor> tensors;

  /// The tensors of one case, without its name in front.
  Results expected(const Case& test) const {
    const std::string prefix = test.name() + "/";
    Results results;
    for (const auto& [key, tensor] : tensors)
      if (key.starts_with(prefix)) results.emplace(key.substr(prefix.size()), tensor);
    return results;
  }
};

/// Reads "odconv2d.f64" or the like.
inline Fixture read_fixture(const std::string& name) {
  SafetensorsFile file = read_safetensors(std::string(OMNICONV_PYTORCH_FIXTURES) + "/" + name + ".safetensors");
  Fixture fixture{{}, std::move(file.tensors)};
  for (const nlohmann::json& fields : nlohmann::json::parse(file.metadata.at("cases"))) fixture.cases.emplace_back(fields);
  return fixture;
}

}  // namespace omniconv::pytorch
