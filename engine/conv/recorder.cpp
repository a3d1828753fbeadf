#include "engine/conv/recorder.h"

#include <utility>

namespace omniconv::conv {

namespace {

RunRecorder* recorder = nullptr;
int depth = 0;  // of convolutions within convolutions

}  // namespace

RunRecorder::RunRecorder() {
  expect(recorder == nullptr, "run_recorder", "expected to be the only one, got a second");
  recorder = this;
}
RunRecorder::~RunRecorder() {
  recorder = nullptr;
}

std::vector<Run> RunRecorder::take() {
  std::vector<Run> runs;
  for (const Entry& entry : entries_) {
    runs.push_back(entry.run);
    runs.back().seconds = entry.end.seconds_since(entry.begin);
  }
  entries_.clear();
  return runs;
}

RunTimer::RunTimer(const Run& run) {
  if (++depth > 1 || recorder == nullptr) return;
  entry_.reset(new RunRecorder::Entry{run, {}, {}});
  entry_->begin.record(main_stream());
}

RunTimer::~RunTimer() {
  --depth;
  if (!entry_ || recorder == nullptr) return;
  entry_->end.record(main_stream());
  recorder->entries_.push_back(std::move(*entry_));
}

void RunTimer::replace_algorithm(std::string_view algorithm, std::string_view reason) {
  if (!entry_) return;
  entry_->run.algorithm = algorithm;
  entry_->run.reason = reason;
}

}  // namespace omniconv::conv
