// Runs small enough for tests: a data set of a few dozen images, a net of width 8.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/training/session.h"
#include "data/cifar10.h"
#include "data/synthetic.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {

/// A CIFAR-10 folder of drawn images. With 37 for training and a batch of 12, the tail of one joins the third batch.
inline std::string write_small_data(const TemporaryFolder& folder, std::int64_t train = 37, std::int64_t test = 20) {
  write_cifar10(folder.file("data"), make_synthetic(1, train, test));
  return folder.file("data");
}

/// Two epochs of three steps.
inline TrainOptions small_options(const std::string& data, const std::string& out) {
  TrainOptions options;
  options.recipe.data = data;
  options.recipe.model.width = 8;
  options.recipe.model.kernels = 2;
  options.given.insert("kernels");
  options.recipe.epochs = 2;
  options.recipe.batch_size = 12;
  options.recipe.lr = 0.02;
  options.recipe.temperature = {4, 2, 1};
  options.out = out;
  return options;
}

/// Everything that goes beyond plain SGD with crops and flips, over three epochs.
inline void refine(Recipe& recipe) {
  recipe.epochs = 3;
  recipe.warmup = 1;
  recipe.label_smoothing = 0.1;
  recipe.clip_norm = 0.5;
  recipe.no_decay = {"bn", "bias"};
  recipe.ema = 0.9;
  recipe.accumulate = 2;
  recipe.model.dropout = 0.2;
  recipe.temperature_guard = true;
  recipe.temperature = {4, 2, 2, TemperatureShape::harmonic};
  recipe.flip = kernels::Flip::alternating;
  recipe.cutout = 8;
  recipe.mixing = {0.4, 1};
}

inline TrainOptions resume_options(const std::string& run) {
  TrainOptions options;
  options.resume = run;
  return options;
}

/// A temporary file and the text in it.
class TextFile {
 public:
  TextFile() : file_(std::tmpfile()) {}
  ~TextFile() { std::fclose(file_); }
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;

  std::FILE* stream() const { return file_; }
  std::string text() const {
    std::fflush(file_);
    std::rewind(file_);
    std::string result;
    for (int c = std::fgetc(file_); c != EOF; c = std::fgetc(file_)) result += static_cast<char>(c);
    return result;
  }

 private:
  std::FILE* file_;
};

/// train() with its text thrown away; returns the exit code.
inline int train_quietly(const TrainOptions& options) {
  const TextFile people, machines;
  return train(options, people.stream(), machines.stream());
}

inline std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    lines.push_back(nlohmann::json::parse(text.substr(begin, end - begin)));
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  return lines;
}

/// Lines of metrics.jsonl without what no two runs share.
inline std::vector<nlohmann::json> timeless_metrics(const std::string& run) {
  std::vector<nlohmann::json> lines = json_lines(read_text(run + "/metrics.jsonl"));
  for (nlohmann::json& line : lines)
    for (const char* key : {"images_per_second", "peak_bytes", "peak_rss_bytes"}) line.erase(key);
  return lines;
}

}  // namespace omniconv::test
