#include "apps/report/charts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/training/text.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

constexpr double width = 560, height = 260, left = 58, right = 14, top = 12, bottom = 38;
constexpr std::size_t colours = 6;      // classes s0 to s5 of the page's style
constexpr std::size_t most_marks = 60;  // with more points, a curve is a line alone

/// An axis from `low` to `high`, both multiples of `step`, which is 1, 2 or 5 times a power of ten.
struct Scale {
  double low, high, step;

  Scale(double least, double most) {
    if (!(most > least)) {
      const double around = least == 0 ? 1 : std::abs(least) * 0.1;
      least -= around;
      most += around;
    }
    constexpr double intervals = 5;
    const double rough = (most - least) / intervals, power = std::pow(10, std::floor(std::log10(rough)));
    step = power * (rough / power < 1.5 ? 1 : rough / power < 3.5 ? 2 : rough / power < 7.5 ? 5 : 10);
    low = std::floor(least / step + 1e-9) * step;
    high = std::ceil(most / step - 1e-9) * step;
  }
  double fraction(double value) const { return (value - low) / (high - low); }
};

double x_of(const Scale& scale, double value) {
  return left + scale.fraction(value) * (width - left - right);
}
double y_of(const Scale& scale, double value) {
  return height - bottom - scale.fraction(value) * (height - top - bottom);
}

std::string grid(const Scale& x, const Scale& y, std::string_view x_name) {
  std::string svg;
  for (int i = 0; y.low + i * y.step <= y.high + y.step / 2; ++i) {
    const double value = y.low + i * y.step, place = y_of(y, value);
    svg += text("<line class=\"grid\" x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>", left, width - right, place, place);
    svg += text("<text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>", left - 8, place + 4,
                std::abs(value) < y.step / 2 ? 0.0 : value);
  }
  for (int i = 0; x.low + i * x.step <= x.high + x.step / 2; ++i) {
    const double value = x.low + i * x.step;
    svg += text("<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%.6g</text>", x_of(x, value), height - bottom + 18,
                std::abs(value) < x.step / 2 ? 0.0 : value);
  }
  return svg + text("<text x=\"%g\" y=\"%g\" text-anchor=\"end\">", width - right, height - 4) + escape(x_name) +
         "</text>";
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

std::string line_chart(std::string_view title, std::string_view x_name, const std::vector<Series>& series) {
  std::vector<Series> shown;
  double x_least = std::numeric_limits<double>::infinity(), x_most = -x_least, y_least = x_least, y_most = -x_least;
  for (const Series& one : series) {
    Series finite{one.name, {}};
    for (const auto& [x, y] : one.points) {
      if (!std::isfinite(x) || !std::isfinite(y)) continue;
      finite.points.emplace_back(x, y);
      x_least = std::min(x_least, x);
      x_most = std::max(x_most, x);
      y_least = std::min(y_least, y);
      y_most = std::max(y_most, y);
    }
    shown.push_back(std::move(finite));
  }
  if (!(x_most >= x_least)) return "";

  const Scale x_scale(x_least, x_most), y_scale(y_least, y_most);
  std::string html = concat("<figure><figcaption>", escape(title), "</figcaption>");
  std::string svg;
  std::string legend;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (shown[i].points.empty()) continue;
    const std::string style = concat("s", i % colours, i / colours % 2 ? " dashed" : "");
    legend += concat("<span><i class=\"", style, "\"></i>", escape(shown[i].name), "</span>");
    std::string path;
    for (const auto& [x, y] : shown[i].points) path += text("%.1f,%.1f ", x_of(x_scale, x), y_of(y_scale, y));
    svg += concat("<polyline class=\"", style, "\" points=\"", path, "\"/>");
    if (shown[i].points.size() > most_marks) continue;
    for (const auto& [x, y] : shown[i].points)
      svg += text("<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>", style.c_str(), x_of(x_scale, x),
                  y_of(y_scale, y)) +
             escape(concat(shown[i].name, ", ", x_name, ' ', x, ": ", text("%.6g", y))) + "</title></circle>";
  }
  if (shown.size() > 1) html += concat("<div class=\"legend\">", legend, "</div>");
  return concat(html, text("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"",
                           width, height),
                escape(title), "\">", grid(x_scale, y_scale, x_name), svg, "</svg></figure>");
}

}  // namespace omniconv
