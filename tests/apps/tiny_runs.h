// Runs on images of 8x8, for tests in f64, which is slow.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "apps/training/trainer.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {

/// The upper left corners of drawn images.
inline ImageSet tiny_images(const ImageSet& set) {
  constexpr std::int64_t extent = 8;
  ImageSet tiny{{}, set.labels, extent};
  for (std::int64_t plane = 0; plane < set.count() * image_channels; ++plane)
    for (std::int64_t row = 0; row < extent; ++row) {
      const auto begin = set.images.begin() + (plane * set.extent + row) * set.extent;
      tiny.images.insert(tiny.images.end(), begin, begin + extent);
    }
  return tiny;
}

/// 13 images for training, 6 for tests: with a batch of 4 the tail of one joins the third batch.
inline ImageData tiny_data() {
  ImageData data = make_synthetic(1, 13, 6);
  data.train = tiny_images(data.train);
  data.test = tiny_images(data.test);
  return data;
}

/// Three epochs of three steps in f64.
inline Recipe tiny_recipe() {
  Recipe recipe = small_options("", "").recipe;
  recipe.model.image_size = 8;
  recipe.epochs = 3;
  recipe.batch_size = 4;
  recipe.precision = DType::f64;
  return recipe;
}

/// Where a run of tiny_data() ends, and what it said.
struct TinyRun {
  SafetensorsFile state;
  std::string steps, text;
};

/// With `stop`, it ends after so many steps and is gone on with by another trainer, its images where `afterwards` says.
inline TinyRun run_tiny(const Recipe& recipe, std::optional<std::int64_t> stop = {},
                        std::optional<Residence> images = {}, std::optional<Residence> afterwards = {}) {
  const TemporaryFolder place;
  const RunFolder folder(place.file("run"));
  folder.prepare();
  const TextFile people;
  Console console(people.stream());
  std::vector<EpochMetrics> history;
  TinyRun run;
  if (stop) {
    Trainer first(recipe, tiny_data(), images);
    first.run(folder, *stop, true, console, history);
    run.state = first.resume_file();
  }
  const auto trainer = stop ? std::make_unique<Trainer>(recipe, tiny_data(), afterwards, run.state, "test")
                            : std::make_unique<Trainer>(recipe, tiny_data(), images);
  trainer->run(folder, trainer->total_steps(), true, console, history);
  return {trainer->resume_file(), read_text(folder.file("steps.jsonl")), people.text()};
}

inline void check_same_runs(const TinyRun& a, const TinyRun& b) {
  CHECK(a.state.metadata == b.state.metadata);
  CHECK(a.state.tensors == b.state.tensors);
  CHECK(a.steps == b.steps);
}

}  // namespace omniconv::test
