// What a person watching sees: lines that stay and, on a terminal, one that is redrawn.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace omniconv {

/// A moment of the training loop.
struct Moment {
  std::int64_t epoch = 0, epochs = 0;   ///< the epoch in progress, from 1
  std::int64_t batch = 0, batches = 0;  ///< finished ones of the epoch
  double loss = 0, accuracy = 0;        ///< of the epoch so far
  double images_per_second = 0;         ///< 0: not known yet
  double seconds_left = 0;              ///< of the run
  std::string stage;                    ///< empty without stages
};

/// One line of at most `width` columns, and of at most 60.
std::string progress_line(const Moment& moment, int width);

/// "42s", "3m05s", "2h07m", "4d11h".
std::string duration_text(double seconds);

/// 1234567 -> "1 234 567".
std::string grouped(std::int64_t number);

class Console {
 public:
  /// Redraws a line only where `out` is a terminal that can do it.
  explicit Console(std::FILE* out);
  /// For tests: live or not, and how wide.
  Console(std::FILE* out, bool live, int width) : out_(out), live_(live), width_(width) {}
  ~Console() { clear(); }
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// Writes a line that stays.
  void print(const std::string& line);

  /// Whether it is time to look at the run again, ten times a second at most.
  bool due() const;
  /// Shows a line until the next one, if this is a terminal.
  void show(const Moment& moment);
  void show(const std::string& line);
  /// Takes the line away.
  void clear();

 private:
  int width() const;

  std::FILE* out_;
  bool live_;
  int width_ = 0;  // 0: asked for at each line, terminals change
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace omniconv
