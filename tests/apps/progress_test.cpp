// What is shown during a run.
#include "apps/training/progress.h"

#include "apps/training/metrics.h"
#include "apps/training/summary.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"

namespace omniconv::test {
namespace {

const Moment usual{.epoch = 3,
                   .epochs = 8,
                   .batch = 12,
                   .batches = 40,
                   .loss = 1.81234,
                   .accuracy = 0.331,
                   .images_per_second = 520.4,
                   .seconds_left = 222,
                   .stage = ""};

TEST_CASE("the progress line says all that matters and fits 60 columns") {
  CHECK(progress_line(usual, 79) == "epoch 3/8 batch 12/40 loss 1.812 acc 0.331 520/s 3m42s");
  Moment staged = usual;
  staged.stage = "joint";
  CHECK(progress_line(staged, 79) == "epoch 3/8 joint batch 12/40 loss 1.812 acc 0.331 520/s 3m42s");
  Moment long_run = usual;
  long_run.epoch = long_run.epochs = 200;
  long_run.batch = long_run.batches = 391;
  long_run.loss = 12.345;
  long_run.images_per_second = 12345;
  long_run.seconds_left = 1e7;
  CHECK(progress_line(long_run, 200).size() <= 60);
  CHECK_THAT(progress_line(long_run, 200), ContainsSubstring("115d17h"));
}

TEST_CASE("the progress line never exceeds a narrow terminal") {
  for (int width = 1; width < 90; ++width) CHECK(progress_line(usual, width).size() <= static_cast<std::size_t>(width));
  CHECK(progress_line(usual, 39) == "3/8 12/40 1.812 0.331 520/s 3m42s");
}

TEST_CASE("a speed that is not known yet is a dash") {
  Moment first = usual;
  first.images_per_second = 0;
  CHECK_THAT(progress_line(first, 60), ContainsSubstring(" -/s  - left"));
}

TEST_CASE("durations and numbers are written for people") {
  CHECK(duration_text(0.4) == "0s");
  CHECK(duration_text(59) == "59s");
  CHECK(duration_text(125) == "2m05s");
  CHECK(duration_text(7500) == "2h05m");
  CHECK(duration_text(100000) == "1d03h");
  CHECK(grouped(7) == "7");
  CHECK(grouped(44416202) == "44 416 202");
}

TEST_CASE("a terminal's line is replaced, a log gets only what stays") {
  const TextFile terminal, log;
  {
    Console live(terminal.stream(), true, 20), plain(log.stream(), false, 20);
    for (Console* console : {&live, &plain}) {
      console->print("start");
      console->show("a line that is too long for this");
      console->print("end");
      console->show("left");
    }
  }
  CHECK(terminal.text() == "start\n\ra line that is too \033[K\r\033[Kend\n\rleft\033[K\r\033[K");
  CHECK(log.text() == "start\nend\n");
}

TEST_CASE("rows stand under their headings and fit 80 columns") {
  EpochMetrics metrics;
  metrics.epoch = 200;
  metrics.lr = 0.0961937;
  metrics.temperature = 27.4512;
  metrics.train_loss = 12.34567;
  metrics.images_per_second = 12345.6;
  for (const bool dynamic : {false, true})
    for (const bool validated : {false, true}) {
      metrics.test_loss = metrics.test_accuracy = metrics.val_loss = metrics.val_accuracy = std::nullopt;
      (validated ? metrics.val_loss : metrics.test_loss) = 0.5;
      (validated ? metrics.val_accuracy : metrics.test_accuracy) = 0.25;
      CHECK(table_line(metrics, dynamic).size() == table_heading(dynamic, validated).size());
      CHECK(table_heading(dynamic, validated).size() <= 80);
      CHECK_THAT(table_line(metrics, dynamic), ContainsSubstring("0.5000    0.2500"));
    }
}

TEST_CASE("metrics have exactly the published keys, in order, and survive the way through a file") {
  EpochMetrics metrics;
  metrics.epoch = 1;
  metrics.step = 40;
  metrics.lr = 0.1;
  metrics.temperature = 29.3;
  metrics.train_loss = 2.1;
  metrics.train_accuracy = 0.2;
  metrics.test_loss = 2.0;
  metrics.test_accuracy = 1.0 / 3;
  metrics.images_per_second = 123.4;
  metrics.peak_bytes = 5;
  metrics.peak_rss_bytes = 6;
  const std::string line = format_metrics({metrics});
  CHECK(line ==
        "{\"epoch\":1,\"step\":40,\"lr\":0.1,\"temperature\":29.3,\"train_loss\":2.1,\"train_accuracy\":0.2,"
        "\"test_loss\":2.0,\"test_accuracy\":0.3333333333333333,\"images_per_second\":123.4,\"peak_bytes\":5,"
        "\"peak_rss_bytes\":6}\n");
  CHECK(parse_metrics(line + line, "m") == std::vector<EpochMetrics>{metrics, metrics});
  CHECK_THAT(message_of<Error>([&] { parse_metrics(line + "{\"epoch\":2}\n", "run/metrics.jsonl"); }),
             StartsWith("[metrics] run/metrics.jsonl: expected an epoch's metrics in line 2, got: "));

  metrics.loss_scale = 32768;
  metrics.skipped_steps = 1;
  const std::string of_f16 = format_metrics({metrics});
  CHECK_THAT(of_f16, ContainsSubstring("\"peak_rss_bytes\":6,\"loss_scale\":32768.0,\"skipped_steps\":1}\n"));
  CHECK(parse_metrics(of_f16, "m") == std::vector<EpochMetrics>{metrics});
}

TEST_CASE("metrics of stages and validation have their keys where they belong, and null for what was not evaluated") {
  EpochMetrics metrics;
  metrics.stage = "joint";
  metrics.val_loss = 1.5;
  metrics.val_accuracy = 0.5;
  std::string line = format_metrics({metrics});
  CHECK_THAT(line,
             StartsWith(R"({"epoch":0,"step":0,"stage":"joint","lr":0.0,)") &&
                 ContainsSubstring(R"("val_loss":1.5,"val_accuracy":0.5,"test_loss":null,"test_accuracy":null,"im)"));
  CHECK(parse_metrics(line, "m") == std::vector<EpochMetrics>{metrics});
  metrics.test_loss = metrics.best_test_loss = 2.5;
  metrics.test_accuracy = metrics.best_test_accuracy = 0.25;
  line = format_metrics({metrics});
  CHECK_THAT(line, ContainsSubstring(R"("best_test_loss":2.5,"best_test_accuracy":0.25,"images)"));
  CHECK(parse_metrics(line, "m") == std::vector<EpochMetrics>{metrics});
}

TEST_CASE("the first of equally good epochs is the best, and held-out images decide where there are some") {
  std::vector<EpochMetrics> history(4);
  history[1].test_accuracy = history[3].test_accuracy = 0.5;
  CHECK(&best_of(history) == &history[1]);
  for (EpochMetrics& line : history) line.val_accuracy = 0.1;
  history[2].val_accuracy = 0.2;
  CHECK(&best_of(history) == &history[2]);
}

TEST_CASE("suggested commands quote what a shell would split") {
  CHECK(shell_word("runs/a-1") == "runs/a-1");
  CHECK(shell_word("my runs/it's") == "'my runs/it'\\''s'");
}

}  // namespace
}  // namespace omniconv::test
