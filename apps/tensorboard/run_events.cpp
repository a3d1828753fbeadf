#include "apps/tensorboard/run_events.h"

#include <nlohmann/json.hpp>

#include "apps/report/attention_files.h"
#include "apps/tensorboard/event_file.h"

namespace omniconv {
namespace {

using Scalars = std::vector<std::pair<std::string, double>>;

class RunEvents : public RunObserver {
 public:
  explicit RunEvents(const ObservedRun& run)
      : run_(run), file_(run.folder, run.finished_steps + 1), interval_((run.epochs + most_maps - 1) / most_maps) {}

  void on_steps(const StepMetrics& metrics) override {
    file_.add_scalars(metrics.step, {{"step/loss", metrics.loss},
                                     {"step/accuracy", metrics.accuracy},
                                     {"step/lr", metrics.lr},
                                     {"step/temperature", metrics.temperature},
                                     {"step/images_per_second", metrics.images_per_second}});
  }

  void on_epoch(const EpochMetrics& metrics, const Model& model, const Dataset& images) override {
    Scalars scalars;
    const nlohmann::ordered_json line = to_json(metrics);
    for (const auto& [key, value] : line.items())
      if (value.is_number() && key != "step" && key != "epoch") scalars.emplace_back("epoch/" + key, value);
    file_.add_scalars(metrics.step, scalars);
    // Counted from the last epoch, so that the maps of a finished run are among them.
    if (model.config.dynamic() && (run_.epochs - metrics.epoch) % interval_ == 0) add_maps(metrics.step, model, images);
    file_.flush();
  }

 private:
  void add_maps(std::int64_t step, const Model& model, const Dataset& images) {
    const AttentionStatistics statistics = attention_statistics(model, images, map_images, model.config.class_names);
    for (const LayerAttention& layer : statistics.layers)
      for (const AttentionMap& map : layer.maps)
        file_.add_picture(step, concat("attention/", layer.name, '.', map.attention), heat_map(map, usual_cell(map)));
  }

  ObservedRun run_;
  EventFile file_;
  std::int64_t interval_;  // epochs between two sets of maps
};

}  // namespace

std::unique_ptr<RunObserver> make_run_events(const ObservedRun& run) {
  return std::make_unique<RunEvents>(run);
}

}  // namespace omniconv
