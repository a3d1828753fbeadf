#include "apps/report/charts.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "apps/training/statistics.h"
#include "apps/training/text.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

constexpr double width = 560, height = 260, left = 58, right = 14, top = 12, bottom = 38;
constexpr std::size_t colours = 6;      // classes s0 to s5 of the page's style
constexpr std::size_t most_marks = 60;  // with more points, a curve is a line alone
// Values whose size is in [smallest, largest] have scales with ends, steps and ratios that are finite and not 0.
constexpr double smallest = 1e-100, largest = 1e100;

/// A scale with round tick marks, the outer ones at its ends.
struct Scale {
  std::vector<double> ticks;  ///< ascending, at least two
  bool logarithmic = false;

  double low() const { return ticks.front(); }
  double high() const { return ticks.back(); }
  /// From 0 at the lower end to 1 at the upper one, which values above it share.
  double fraction(double value) const {
    const double part = logarithmic ? std::log(value / low()) / std::log(high() / low())
                                    : (value - low()) / (high() - low());
    return std::min(part, 1.0);
  }
};

/// Ticks at the multiples of 1, 2 or 5 times a power of ten around [least, most].
Scale linear_scale(double least, double most) {
  // Values that lie closer together differ by rounding, and doubles could not count the steps from 0 to them.
  constexpr double flat = 1e-9;
  const double size = std::max(std::abs(least), std::abs(most));
  if (!(most - least > std::max(flat * size, smallest))) {
    const double around = size < smallest ? 1 : size * 0.1;
    least -= around;
    most += around;
  }
  constexpr double intervals = 5;
  const double rough = (most - least) / intervals, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
  const auto first = static_cast<std::int64_t>(std::floor(least / step + 1e-9));
  const auto last = static_cast<std::int64_t>(std::ceil(most / step - 1e-9));
  Scale scale;
  for (std::int64_t i = first; i <= last; ++i) scale.ticks.push_back(static_cast<double>(i) * step);
  return scale;
}

/// Ticks at 1, 2 and 5 times the powers of ten around [least, most], least >= smallest, or at powers alone where it is
/// wide.
Scale logarithmic_scale(double least, double most) {
  constexpr int wide = 3, most_ticks = 8;
  // One tolerance for the powers and for the ticks among them: values a hair beyond a power of ten end at it.
  constexpr double near = 1e-8;
  least *= 1 + near;
  most *= 1 - near;
  const int first = static_cast<int>(std::floor(std::log10(least)));
  const int last = static_cast<int>(std::ceil(std::log10(most)));
  Scale scale{{}, true};
  if (last - first > wide) {
    const int step = (last - first + most_ticks - 1) / most_ticks;
    for (int power = first; power < last + step; power += step) scale.ticks.push_back(std::pow(10, power));
    return scale;
  }
  std::vector<double> all;
  for (int power = first - 1; power <= last; ++power)  // from one below: logarithms are rounded
    for (const double digit : {1, 2, 5}) all.push_back(digit * std::pow(10, power));
  // From the last tick at or below the values to the first one at or above them.
  const auto begin = std::prev(std::upper_bound(all.begin(), all.end(), least));
  const auto end = std::next(std::lower_bound(all.begin(), all.end(), most));
  scale.ticks.assign(begin, end);
  return scale;
}

/// The largest of a curve's values, sorted and positive, that is not far above the others.
double largest_usual(const std::vector<double>& values) {
  std::vector<double> logarithms;
  for (const double value : values) logarithms.push_back(std::log(value));
  const double q1 = quantile(logarithms, 0.25), q3 = quantile(logarithms, 0.75);
  const double limit = q3 + std::max(std::log(2.0), 3 * (q3 - q1));
  const auto usual = std::upper_bound(logarithms.begin(), logarithms.end(), limit) - logarithms.begin();
  return values[static_cast<std::size_t>(usual) - 1];
}

/// The scale of curves whose values are in [least, most].
Scale robust_scale(const std::vector<Series>& curves, double least, double most) {
  if (least < smallest) return linear_scale(least, most);
  double usual = least;
  for (const Series& curve : curves) {
    std::vector<double> values;
    for (const auto& [x, y] : curve.points) values.push_back(y);
    std::sort(values.begin(), values.end());
    if (!values.empty()) usual = std::max(usual, largest_usual(values));
  }
  constexpr double wide = 10;
  return usual > wide * least ? logarithmic_scale(least, usual) : linear_scale(least, usual);
}

double x_of(const Scale& scale, double value) {
  return left + scale.fraction(value) * (width - left - right);
}
double y_of(const Scale& scale, double value) {
  return height - bottom - scale.fraction(value) * (height - top - bottom);
}

std::string tick_text(const Scale& scale, double value) {
  const bool zero = !scale.logarithmic && std::abs(value) < (scale.ticks[1] - scale.ticks[0]) / 2;
  return text("%.6g", zero ? 0.0 : value);
}

std::string grid(const Scale& x, const Scale& y, std::string_view x_name, std::string_view y_note) {
  std::string svg;
  for (const double value : y.ticks) {
    const double place = y_of(y, value);
    svg += text("<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>", left, width - right, place,
                place);
    svg += text("<text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%s</text>", left - 8, place + 4,
                tick_text(y, value).c_str());
  }
  for (const double value : x.ticks)
    svg += text("<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%s</text>", x_of(x, value), height - bottom + 18,
                tick_text(x, value).c_str());
  if (!y_note.empty())
    svg += text("<text x=\"%g\" y=\"%g\">", left, height - 4) + escape(y_note) + "</text>";
  return svg + text("<text x=\"%g\" y=\"%g\" text-anchor=\"end\">", width - right, height - 4) + escape(x_name) +
         "</text>";
}

/// What a reader has to know of the scale of `values`, which are sorted.
std::string note_on(const Scale& scale, const std::vector<double>& values) {
  std::string note = scale.logarithmic ? "logarithmic" : "";
  const auto above = values.end() - std::upper_bound(values.begin(), values.end(), scale.high() * (1 + 1e-9));
  if (above > 0)
    note += concat(note.empty() ? "" : "; ", above, " above the edge, up to ", text("%.3g", values.back()));
  return note;
}

}  // namespace

std::string escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else
      result += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
  }
  return result;
}

std::string line_chart(std::string_view title, std::string_view x_name, const std::vector<Series>& series, Axis axis) {
  std::vector<Series> shown;
  std::vector<double> all_x, all_y;
  for (const Series& one : series) {
    Series within{one.name, {}};
    for (const auto& [x, y] : one.points) {
      if (!(std::abs(x) <= largest && std::abs(y) <= largest)) continue;  // NaN neither
      within.points.emplace_back(x, y);
      all_x.push_back(x);
      all_y.push_back(y);
    }
    shown.push_back(std::move(within));
  }
  if (all_x.empty()) return "";
  std::sort(all_x.begin(), all_x.end());
  std::sort(all_y.begin(), all_y.end());

  const Scale x_scale = linear_scale(all_x.front(), all_x.back());
  const Scale y_scale = axis == Axis::robust ? robust_scale(shown, all_y.front(), all_y.back())
                                             : linear_scale(all_y.front(), all_y.back());
  std::string html = concat("<figure><figcaption>", escape(title), "</figcaption>");
  std::string svg;
  std::string legend;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (shown[i].points.empty()) continue;
    const std::string style = concat("s", i % colours, i / colours % 2 ? " dashed" : "");
    legend += concat("<span><i class=\"", style, "\"></i>", escape(shown[i].name), "</span>");
    std::string path, marks;
    for (const auto& [x, y] : shown[i].points) {
      const double across = x_of(x_scale, x), down = y_of(y_scale, y);
      path += text("%.1f,%.1f ", across, down);
      const bool above = y > y_scale.high() * (1 + 1e-9);
      if (!above && shown[i].points.size() > most_marks) continue;
      const std::string about = escape(concat(shown[i].name, ", ", x_name, ' ', x, ": ", text("%.6g", y)));
      marks += above ? text("<polygon class=\"%s\" points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\"><title>", style.c_str(),
                            across - 5, down + 5, across, down - 5, across + 5, down + 5) +
                           about + "</title></polygon>"
                     : text("<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>", style.c_str(), across,
                            down) +
                           about + "</title></circle>";
    }
    svg += concat("<polyline class=\"", style, "\" points=\"", path, "\"/>", marks);
  }
  if (shown.size() > 1) html += concat("<div class=\"legend\">", legend, "</div>");
  return concat(html, text("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"",
                           width, height),
                escape(title), "\">", grid(x_scale, y_scale, x_name, note_on(y_scale, all_y)), svg, "</svg></figure>");
}

}  // namespace omniconv
