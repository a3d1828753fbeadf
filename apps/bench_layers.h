// What `omniconv bench` tells about each convolution of a network, direction by direction.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/training/progress.h"
#include "engine/conv/recorder.h"
#include "models/resnet.h"

namespace omniconv {

/// One direction of one convolution of a network, measured over several steps.
struct LayerRow {
  std::string layer;
  conv::Run run;  ///< with the median of the seconds
};

/// Runs `step`, a whole training step, once to warm up and `steps` times more, and records its convolutions. Rows are
/// in the order of the network, the directions of a layer together.
std::vector<LayerRow> record_layers(const Model& model, const std::function<void()>& step, std::int64_t steps);

/// The algorithm of every layer and direction, and why.
void print_plan(const std::vector<LayerRow>& rows, Console& console);
nlohmann::ordered_json plan_json(const std::vector<LayerRow>& rows);

/// Time, algorithm, speed at the arithmetic of the static convolution, bytes that have to move, share of the step.
void print_layers(const std::vector<LayerRow>& rows, double step_seconds, Console& console);
nlohmann::ordered_json layers_json(const std::vector<LayerRow>& rows, double step_seconds);

/// The dynamic layers under one algorithm forced on them, and the name it has in the tables.
struct Ablation {
  std::string algorithm;
  std::vector<LayerRow> rows;
};

/// record_layers under each algorithm in turn, as far as this build has them for the type and for speed.
std::vector<Ablation> ablate(const Model& model, DType dtype, const std::function<void()>& step, std::int64_t steps,
                             Console& console);
void print_ablation(const std::vector<Ablation>& ablations, Console& console);
nlohmann::ordered_json ablation_json(const std::vector<Ablation>& ablations);

}  // namespace omniconv
