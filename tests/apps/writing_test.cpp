// The files of an epoch are written while the next one is trained.
#include <filesystem>
#include <stdexcept>

#include "tests/apps/tiny_runs.h"

namespace omniconv::test {
namespace {

/// A run of tiny_data() until it ends or fails, and its folder.
struct WrittenRun {
  TemporaryFolder place;
  RunFolder folder{place.file("run")};
  std::vector<EpochMetrics> history;
  std::int64_t finished_steps = 0;

  WrittenRun() { folder.prepare(); }
  void run(std::int64_t last_step, RunObserver* observer = nullptr) {
    const TextFile people;
    Console console(people.stream());
    Trainer trainer(tiny_recipe(), tiny_data());
    trainer.set_observer(observer);
    try {
      trainer.run(folder, last_step, false, console, history);
    } catch (...) {
      finished_steps = trainer.finished_steps();
      throw;
    }
  }
  bool has(const char* name) const { return std::filesystem::is_regular_file(folder.file(name)); }
  auto written(const char* name) const { return std::filesystem::last_write_time(folder.file(name)); }
};

TEST_CASE("files that cannot be written end the run an epoch late, in the state before") {
  WrittenRun run;
  std::filesystem::create_directories(run.folder.file(RunFolder::last_name) + "/in the way");
  CHECK_THAT(message_of<Error>([&] { run.run(9); }),
             StartsWith("[safetensors] " + run.folder.file(RunFolder::last_name) + ": expected to write "));
  CHECK(run.finished_steps == 6);
  CHECK_FALSE(run.has(RunFolder::metrics_name));
  CHECK_FALSE(run.has(RunFolder::resume_name));
}

TEST_CASE("files that cannot be written at the end of a run end it with an error, too") {
  WrittenRun run;
  std::filesystem::create_directories(run.folder.file(RunFolder::last_name) + "/in the way");
  CHECK_THAT(message_of<Error>([&] { run.run(3); }), ContainsSubstring("expected to write "));
  CHECK_FALSE(run.has(RunFolder::resume_name));
}

TEST_CASE("an observer that fails does not cost the epoch that it was told of") {
  struct Failing : RunObserver {
    void on_steps(const StepMetrics&) override {}
    void on_epoch(const EpochMetrics&, const Model&, const Dataset&) override { throw std::runtime_error("no"); }
  } observer;
  WrittenRun run;
  CHECK_THROWS_WITH(run.run(9, &observer), "no");
  REQUIRE(run.has(RunFolder::resume_name));
  CHECK(stored_run(run.folder.read_resume(), "test").finished_steps == 3);
  CHECK(run.folder.read_metrics().size() == 1);
}

TEST_CASE("a state is written behind what it must not be without") {
  WrittenRun run;
  SECTION("of a whole epoch it comes last") {
    run.run(3);
    CHECK(run.written(RunFolder::resume_name) >= run.written(RunFolder::best_name));
  }
  SECTION("of a stop within an epoch it comes before the best model, which it knows how to undo") {
    run.run(2);
    CHECK(run.written(RunFolder::best_name) >= run.written(RunFolder::resume_name));
  }
  CHECK(run.written(RunFolder::resume_name) >= run.written(RunFolder::metrics_name));
  CHECK(run.written(RunFolder::resume_name) >= run.written(RunFolder::last_name));
}

}  // namespace
}  // namespace omniconv::test
