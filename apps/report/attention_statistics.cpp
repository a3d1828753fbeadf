#include "apps/report/attention_statistics.h"

#include <algorithm>
#include <cmath>

#include "apps/training/dataset.h"
#include "apps/training/evaluator.h"
#include "apps/training/text.h"
#include "data/batches.h"
#include "layers/graph.h"

namespace omniconv {
namespace {

constexpr std::string_view where = "attention";
constexpr double lowest = 0.01, highest = 0.99;  // outside, a sigmoid passes less than 4 % of the gradient it passes at 0.5

/// Sums over the images, from which an AttentionMap is made.
class Sums {
 public:
  Sums(std::string attention, std::int64_t width, std::size_t classes)
      : attention_(std::move(attention)),
        width_(static_cast<std::size_t>(width)),
        sum_(classes * width_),
        square_(classes * width_) {}

  /// `values` [labels, width]
  void add(const std::vector<double>& values, const std::vector<std::int32_t>& labels) {
    for (std::size_t image = 0; image < labels.size(); ++image) {
      const auto label = static_cast<std::size_t>(labels[image]);
      double entropy = 0;
      for (std::size_t i = 0; i < width_; ++i) {
        const double value = values[image * width_ + i];
        expect(std::isfinite(value), where, "expected finite attentions, got ", value,
               ": the checkpoint is of a run that diverged");
        sum_[label * width_ + i] += value;
        square_[label * width_ + i] += value * value;
        saturated_ += value < lowest || value > highest ? 1 : 0;
        if (value > 0) entropy -= value * std::log(value);
      }
      entropy_ += entropy;
    }
  }

  AttentionMap map(const std::vector<std::int64_t>& counts) const {
    AttentionMap map{attention_, static_cast<std::int64_t>(width_), {}, {}, {}, {}};
    std::vector<double> sum(width_), square(width_);
    double images = 0;
    for (std::size_t label = 0; label < counts.size(); ++label) {
      const auto count = static_cast<double>(counts[label]);
      images += count;
      for (std::size_t i = 0; i < width_; ++i) {
        append(map.mean, map.standard_deviation, sum_[label * width_ + i], square_[label * width_ + i], count);
        sum[i] += sum_[label * width_ + i];
        square[i] += square_[label * width_ + i];
      }
    }
    for (std::size_t i = 0; i < width_; ++i)
      append(map.mean_all, map.standard_deviation_all, sum[i], square[i], images);
    map.saturated = static_cast<double>(saturated_) / (images * static_cast<double>(width_));
    if (attention_ == "kernel") map.entropy = entropy_ / images / std::log(static_cast<double>(width_));
    return map;
  }

 private:
  static void append(std::vector<double>& means, std::vector<double>& deviations, double sum, double square,
                     double count) {
    const double mean = count > 0 ? sum / count : 0;
    means.push_back(mean);
    deviations.push_back(count > 0 ? std::sqrt(std::max(0.0, square / count - mean * mean)) : 0);
  }

  std::string attention_;
  std::size_t width_;
  std::vector<double> sum_, square_;  // [classes, width]
  std::int64_t saturated_ = 0;
  double entropy_ = 0;
};

struct LayerSums {
  const NormedConv* layer;
  std::vector<Sums> sums;
};

/// [K, K] of a weight [K, O, R, S, I/g].
std::vector<double> cosines(const Tensor& weight) {
  const auto kernels = static_cast<std::size_t>(weight.size(0));
  if (kernels == 1) return {};
  const std::vector<double> values = weight.to_doubles();
  const std::size_t count = values.size() / kernels;
  std::vector<double> products(kernels * kernels), result;
  for (std::size_t a = 0; a < kernels; ++a)
    for (std::size_t b = 0; b < kernels; ++b)
      for (std::size_t i = 0; i < count; ++i) products[a * kernels + b] += values[a * count + i] * values[b * count + i];
  for (std::size_t a = 0; a < kernels; ++a)
    for (std::size_t b = 0; b < kernels; ++b) {
      const double norms = std::sqrt(products[a * kernels + a] * products[b * kernels + b]);
      result.push_back(norms > 0 ? products[a * kernels + b] / norms : 0);
    }
  return result;
}

std::string percent(double fraction) {
  return text("%.0f %%", 100 * fraction);
}

void find_in_kernels(const AttentionMap& map, std::vector<Finding>& findings) {
  const auto largest = std::max_element(map.mean_all.begin(), map.mean_all.end());
  if (map.entropy > 0.99)
    findings.push_back({map.attention, "uniform",
                        text("the kernel attention is nearly uniform (entropy %.3f of ln K): the %d kernels act as "
                             "their mean",
                             map.entropy, static_cast<int>(map.width))});
  else if (*largest > 0.95)
    findings.push_back({map.attention, "single",
                        text("kernel %d has %s of the kernel attention on average: the others go unused",
                             static_cast<int>(largest - map.mean_all.begin()), percent(*largest).c_str())});
  else if (map.entropy < 0.05)
    findings.push_back({map.attention, "saturated",
                        text("each image picks one kernel (entropy %.3f of ln K): a softmax so hard passes hardly any "
                             "gradient; a higher temperature softens it",
                             map.entropy)});
}

}  // namespace

std::vector<Finding> find_collapse(const LayerAttention& layer) {
  std::vector<Finding> findings;
  for (const AttentionMap& map : layer.maps) {
    const bool kernel = map.attention == "kernel";
    if (kernel) find_in_kernels(map, findings);
    if (!kernel && map.saturated > 0.5)
      findings.push_back({map.attention, "saturated",
                          text("%s of the %s attention's values are below %.2f or above %.2f, where a sigmoid passes "
                               "hardly any gradient; a higher temperature softens it",
                               percent(map.saturated).c_str(), map.attention.c_str(), lowest, highest)});
    const double deviation = *std::max_element(map.standard_deviation_all.begin(), map.standard_deviation_all.end());
    if (deviation <= 0.001)
      findings.push_back({map.attention, "constant",
                          text("the %s attention is the same for every image (largest deviation %.2g): it only scales",
                               map.attention.c_str(), deviation)});
  }
  const auto kernels = static_cast<std::size_t>(std::sqrt(static_cast<double>(layer.kernel_cosines.size())) + 0.5);
  for (std::size_t a = 0; a < kernels; ++a)
    for (std::size_t b = a + 1; b < kernels; ++b)
      if (const double cosine = layer.kernel_cosines[a * kernels + b]; cosine > 0.99)
        findings.push_back({"kernel", "duplicates",
                            text("kernels %d and %d nearly duplicate each other (cosine %.4f)", static_cast<int>(a),
                                 static_cast<int>(b), cosine)});
  return findings;
}

AttentionStatistics attention_statistics(const Model& model, const Dataset& dataset, std::int64_t most_images,
                                         const std::vector<std::string>& class_names,
                                         const std::function<void(std::int64_t)>& on_batch) {
  expect(model.config.dynamic(), where, "expected a model with dynamic convolutions, got the static ",
         model.config.model);
  const std::int64_t count = std::min(most_images, dataset.count());
  expect(count > 0, where, "expected images to look at, got none");
  AttentionStatistics statistics{class_names, std::vector<std::int64_t>(class_names.size()), {}};

  const Tensor order = Tensor::from_host(epoch_order(dataset.count(), 0, 0, false));
  std::vector<LayerSums> layers;
  for (const BatchRange& range : batch_ranges(count, evaluation_batch_size, false)) {
    const Batch gathered = dataset.gather(order.view(range.begin, {range.size()}), model.store.precision());
    const Variable batch(gathered.images);
    const std::vector<std::int32_t> labels = gathered.labels.to_host<std::int32_t>();
    for (const std::int32_t label : labels) ++statistics.class_counts.at(static_cast<std::size_t>(label));
    // The graph keeps the input of every layer, from which its attentions are computed once more.
    Graph graph(batch);
    Tape tape(false);
    Pass pass = model.pass(tape, false);
    pass.graph = &graph;
    model.net.forward(pass, batch);
    pass.graph = nullptr;
    std::size_t index = 0;
    for (const GraphNode& node : graph.nodes()) {
      if (node.operation != GraphNode::Operation::convolution) continue;
      const auto* layer = dynamic_cast<const ODConv2d*>(&node.convolution->conv());
      if (layer == nullptr) continue;
      const ops::Attentions attentions =
          ops::attentions(layer->attention(pass, graph.value(node.input)), pass.temperature);
      const std::pair<const char*, const Tensor*> named[] = {{"channel", &attentions.channel},
                                                             {"filter", &attentions.filter},
                                                             {"spatial", &attentions.spatial},
                                                             {"kernel", &attentions.kernel}};
      if (index == layers.size()) {
        layers.push_back({node.convolution, {}});
        for (const auto& [name, tensor] : named)
          if (tensor->defined()) layers.back().sums.emplace_back(name, tensor->size(1), class_names.size());
      }
      auto sums = layers[index++].sums.begin();
      for (const auto& [name, tensor] : named)
        if (tensor->defined()) (sums++)->add(tensor->to_doubles(), labels);
    }
    if (on_batch) on_batch(range.end);
  }

  for (const LayerSums& sums : layers) {
    const std::string& prefix = sums.layer->prefix();
    LayerAttention layer{prefix.substr(0, prefix.size() - 1), {}, cosines(sums.layer->conv().weight().value()), {}};
    for (const Sums& sum : sums.sums) layer.maps.push_back(sum.map(statistics.class_counts));
    layer.findings = find_collapse(layer);
    statistics.layers.push_back(std::move(layer));
  }
  return statistics;
}

}  // namespace omniconv
