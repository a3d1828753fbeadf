// What a checkpoint says about its model: our metadata, or else names and shapes.
#include <algorithm>
#include <optional>
#include <sstream>

#include "engine/files.h"
#include "engine/number_text.h"
#include "models/checkpoint.h"
#include "models/resnet.h"

namespace omniconv {

namespace {

using Tensors = std::map<std::string, HostTensor>;
using Metadata = std::map<std::string, std::string>;

const Shape* shape_of(const Tensors& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second.shape;
}

/// Blocks that have any tensor at all: which of their tensors are missing is for the loader to say.
std::int64_t blocks_in_stage(const Tensors& tensors, int stage) {
  const auto has_block = [&](std::int64_t block) {
    const std::string prefix = concat("layer", stage, '.', block, '.');
    const auto first = tensors.lower_bound(prefix);
    return first != tensors.end() && first->first.starts_with(prefix);
  };
  std::int64_t blocks = 0;
  while (has_block(blocks)) ++blocks;
  return blocks;
}

bool any_name_contains(const Tensors& tensors, std::string_view part) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& entry) { return entry.first.find(part) != std::string::npos; });
}

std::int64_t extent(const Tensors& tensors, const std::string& name, std::size_t rank, std::size_t axis,
                    const std::string& source) {
  const Shape* shape = shape_of(tensors, name);
  if (shape == nullptr) {
    std::vector<std::string> names;
    for (const auto& [other, tensor] : tensors) names.push_back(in_quotes(other));
    fail("checkpoint", source, ": expected a ResNet's tensors, got none named ", name, " but ",
         names.empty() ? "none at all" : first_few(names));
  }
  expect(shape->size() == rank, "checkpoint", source, ": expected ", name, " of rank ", rank, ", got shape ", *shape);
  return (*shape)[axis];
}

/// The architecture whose blocks the file has.
const Architecture& infer_architecture(const Tensors& tensors, const std::string& source) {
  const bool dynamic = any_name_contains(tensors, ".attention.");
  const bool bottleneck = any_name_contains(tensors, ".conv3.");
  std::array<std::int64_t, 4> blocks;
  for (int stage = 0; stage < 4; ++stage) blocks[static_cast<std::size_t>(stage)] = blocks_in_stage(tensors, stage + 1);
  for (const Architecture& known : architectures())
    if (known.dynamic == dynamic && known.bottleneck == bottleneck && known.blocks == blocks) return known;
  fail("checkpoint", source, ": expected the blocks of one of ", model_names(), ", got ",
       bottleneck ? "bottlenecks, " : "basic blocks, ", Shape(blocks.begin(), blocks.end()), " in the four stages");
}

/// The kernels of the first dynamic convolution that the file has.
std::int64_t infer_kernels(const Tensors& tensors, const std::string& source) {
  constexpr std::size_t dynamic_rank = 5;  // [K, O, I/g, k, k]
  for (const auto& [name, tensor] : tensors)
    if (tensor.shape.size() == dynamic_rank && name.find(".conv") != std::string::npos) return tensor.shape[0];
  return extent(tensors, "layer1.0.conv1.weight", dynamic_rank, 0, source);
}

/// Outputs of the classifier, from whichever half of it the file has.
std::int64_t infer_classes(const Tensors& tensors, const std::string& source) {
  const bool bias_alone = !tensors.contains("fc.weight") && tensors.contains("fc.bias");
  return bias_alone ? extent(tensors, "fc.bias", 1, 0, source) : extent(tensors, "fc.weight", 2, 0, source);
}

Stem infer_stem(const Tensors& tensors, const std::string& source) {
  const std::int64_t size = extent(tensors, "conv1.weight", 4, 2, source);
  expect(size == 3 || size == 7, "checkpoint", source, ": expected a first convolution of 3x3 or 7x7, got shape ",
         *shape_of(tensors, "conv1.weight"));
  return size == 3 ? Stem::cifar : Stem::imagenet;
}

/// The number that the metadata hold under `key`, if they hold any.
template <class T>
std::optional<T> stored_number(const Metadata& metadata, const std::string& key, const std::string& source) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  const std::optional<T> value = parse_number<T>(found->second);
  expect(value.has_value(), "checkpoint", source, ": expected a number as ", key, " in the metadata, got ",
         in_quotes(found->second));
  return value;
}

/// The reduction that gives the trunk widths of the file: of the one stored there, the usual one and the least that
/// the widths allow, the first that fits every layer.
double infer_reduction(const Tensors& tensors, const Metadata& metadata, const std::string& source) {
  std::vector<double> candidates = {1.0 / 16};
  // A layer of I channels and width A allows reductions from A / I on: the largest of these bounds is the tightest.
  double bound = 0;
  for (const auto& [name, tensor] : tensors) {
    if (!name.ends_with("attention.fc.weight") || tensor.shape.size() < 2 || tensor.shape[1] < 1) continue;
    if (tensor.shape[0] > ODConvAttention::trunk_width(1, 1))
      bound = std::max(bound, static_cast<double>(tensor.shape[0]) / static_cast<double>(tensor.shape[1]));
  }
  if (bound > 0 && bound <= 1) candidates.push_back(bound);
  if (const auto stored = stored_number<double>(metadata, "reduction", source); stored > 0 && stored <= 1)
    candidates.insert(candidates.begin(), *stored);
  for (const double reduction : candidates) {
    bool fits = true;
    for (const auto& [name, tensor] : tensors) {
      if (!name.ends_with("attention.fc.weight") || tensor.shape.size() < 2) continue;
      fits = fits && ODConvAttention::trunk_width(tensor.shape[1], reduction) == tensor.shape[0];
    }
    if (fits) return reduction;
  }
  fail("checkpoint", source, ": expected attention widths of one reduction up to 1, got others");
}

/// Class names, which metadata hold one a line.
std::vector<std::string> split_lines(const std::string& lines) {
  std::vector<std::string> names;
  std::istringstream input(lines);
  for (std::string name; std::getline(input, name);) names.push_back(name);
  return names;
}

}  // namespace

std::map<std::string, HostTensor> without_module_prefix(Tensors tensors) {
  constexpr std::string_view prefix = "module.";
  Tensors stripped;
  for (auto& [name, tensor] : tensors) {
    const auto [place, added] =
        stripped.emplace(name.starts_with(prefix) ? name.substr(prefix.size()) : name, std::move(tensor));
    expect(added, "checkpoint", "expected each name once, got ", in_quotes(place->first), " with and without ", prefix);
  }
  return stripped;
}

std::map<std::string, std::string> to_metadata(const ModelConfig& config) {
  std::map<std::string, std::string> metadata = {
      {"model", config.model},
      {"width", concat(config.width)},
      {"kernels", concat(config.kernels)},
      {"reduction", number_text(config.reduction)},
      {"downsample", std::string(name_of(config.downsample))},
      {"classes", concat(config.classes)},
      {"attention_norm", std::string(name_of(config.attention_norm))},
      {"attention_init", std::string(name_of(config.attention_init))},
      {"stem", std::string(name_of(config.stem))},
      {"image_size", concat(config.image_size)},
      {"dropout", number_text(config.dropout)}};
  if (config.folded) metadata["folded"] = "yes";  // for readers; names tell as well
  if (!config.class_names.empty()) metadata["class_names"] = joined(config.class_names, "\n");
  return metadata;
}

ModelConfig config_from_file(const Tensors& tensors, const Metadata& metadata, const std::string& source) {
  const Stem stem = infer_stem(tensors, source);
  const Architecture& architecture = infer_architecture(tensors, source);
  ModelConfig config = default_config(std::string(architecture.name), stem);
  config.folded = tensors.contains("conv1.bias");
  config.width = extent(tensors, "conv1.weight", 4, 0, source);
  config.classes = infer_classes(tensors, source);
  if (architecture.dynamic) {
    config.kernels = infer_kernels(tensors, source);
    config.reduction = infer_reduction(tensors, metadata, source);
    config.downsample =
        tensors.contains("layer2.0.downsample.0.attention.fc.weight") ? Downsample::odconv : Downsample::fixed;
  }
  if (config.folded && tensors.contains("layer1.0.conv1.attention.bn.weight"))
    config.attention_norm = AttentionNorm::layer;  // the one norm that does not fold
  // What shapes do not show.
  try {
    if (const auto found = metadata.find("attention_norm"); found != metadata.end())
      config.attention_norm = parse_attention_norm(found->second);
    if (const auto found = metadata.find("attention_init"); found != metadata.end())
      config.attention_init = parse_attention_init(found->second);
    if (const auto found = metadata.find("class_names"); found != metadata.end())
      config.class_names = split_lines(found->second);
    if (const auto size = stored_number<std::int64_t>(metadata, "image_size", source)) config.image_size = *size;
    if (const auto probability = stored_number<double>(metadata, "dropout", source)) config.dropout = *probability;
    check(config);
  } catch (const UsageError& error) {
    fail("checkpoint", source, ": expected the tensors of a known model, got one where ", error.what());
  }
  return config;
}

}  // namespace omniconv
