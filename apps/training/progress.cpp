#include "apps/training/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "apps/training/text.h"

namespace omniconv {
namespace {

constexpr std::size_t widest_line = 60;
constexpr std::chrono::milliseconds redraw_interval{100};

std::string speed_text(double images_per_second) {
  if (!(images_per_second > 0)) return "-";
  return text(images_per_second < 99.95 ? "%.1f" : "%.0f", images_per_second);
}

std::string left_text(const Moment& moment) {
  return moment.images_per_second > 0 ? duration_text(moment.seconds_left) : "-";
}

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<long long>(std::clamp(std::round(seconds), 0.0, 1e9));
  if (whole < 60) return text("%llds", whole);
  if (whole < 3600) return text("%lldm%02llds", whole / 60, whole % 60);
  if (whole < 86400) return text("%lldh%02lldm", whole / 3600, whole / 60 % 60);
  return text("%lldd%02lldh", whole / 86400, whole / 3600 % 24);
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (auto i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), 1, ' ');
  return digits;
}

std::string progress_line(const Moment& moment, int width) {
  const std::size_t limit = std::min(widest_line, static_cast<std::size_t>(std::max(width, 1)));
  const std::string epoch =
      text("%lld/%lld", static_cast<long long>(moment.epoch), static_cast<long long>(moment.epochs));
  const std::string batch =
      text("%lld/%lld", static_cast<long long>(moment.batch), static_cast<long long>(moment.batches));
  const std::string loss = text("%.3f", moment.loss), accuracy = text("%.3f", moment.accuracy);
  const std::string speed = speed_text(moment.images_per_second), left = left_text(moment);
  // The most important first, so that a narrow terminal cuts off the least.
  const std::string staged = moment.stage.empty() ? epoch : epoch + ' ' + moment.stage;
  const std::string forms[] = {
      "epoch " + staged + "  batch " + batch + "  loss " + loss + "  acc " + accuracy + "  " + speed + "/s  " + left +
          " left",
      "epoch " + staged + " batch " + batch + " loss " + loss + " acc " + accuracy + " " + speed + "/s " + left,
      staged + " " + batch + " loss " + loss + " acc " + accuracy + " " + speed + "/s " + left,
      epoch + " " + batch + " loss " + loss + " acc " + accuracy + " " + speed + "/s " + left,
      epoch + " " + batch + " " + loss + " " + accuracy + " " + speed + "/s " + left,
  };
  for (const std::string& form : forms)
    if (form.size() <= limit) return form;
  return forms[4].substr(0, limit);
}

Console::Console(std::FILE* out) : out_(out) {
  const char* terminal = std::getenv("TERM");
  live_ = ::isatty(::fileno(out)) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

int Console::width() const {
  if (width_ > 0) return width_;
  const char* columns = std::getenv("COLUMNS");
  if (const int value = columns == nullptr ? 0 : std::atoi(columns); value > 0) return value;
  struct winsize size {};
  return ::ioctl(::fileno(out_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void Console::print(const std::string& line) {
  clear();
  std::fprintf(out_, "%s\n", line.c_str());
  std::fflush(out_);
}

bool Console::due() const {
  return std::chrono::steady_clock::now() - last_ >= redraw_interval;
}

void Console::show(const Moment& moment) {
  // One column stays free: a terminal breaks the line behind its last one.
  show(progress_line(moment, width() - 1));
}

void Console::show(const std::string& line) {
  last_ = std::chrono::steady_clock::now();
  if (!live_) return;
  const auto limit = static_cast<std::size_t>(std::max(width() - 1, 1));
  std::fprintf(out_, "\r%s\033[K", line.substr(0, limit).c_str());
  std::fflush(out_);
  shown_ = true;
}

void Console::clear() {
  if (!shown_) return;
  std::fputs("\r\033[K", out_);
  std::fflush(out_);
  shown_ = false;
}

}  // namespace omniconv
