// Training steps on random images, always the same ones, to be timed.
#pragma once

#include <cstdint>
#include <string>

#include "apps/training/dataset.h"
#include "apps/training/recipe.h"
#include "apps/training/totals.h"
#include "engine/optimizer.h"
#include "engine/step_graph.h"

namespace omniconv {

class RandomSteps {
 public:
  /// Steps of `batch_size` images; `model` is one of `recipe`, stays the caller's and is trained.
  RandomSteps(const Model& model, const Recipe& recipe, std::int64_t batch_size);

  /// One step, from the gathering of the batch to the new weights, as training queues it: recorded where steps are.
  void run();
  /// The same, each of its launches queued by itself, for those who look at them.
  void run_in_parts();
  /// As StepGraphs has it.
  const std::string& graph_refusal() const { return graphs_.refusal(); }

 private:
  void begin();
  void queue();

  const Model& model_;
  DType precision_;
  Dataset dataset_;
  Tensor order_;
  Sgd sgd_;
  DeviceTotals totals_;
  Tensor epoch_;  // i64 [1]: as many as steps
  std::int64_t step_ = 0;
  StepGraphs graphs_;
};

}  // namespace omniconv
