// Curves as SVG for a page that stands by itself: colours are the page's (apps/report/pages.cpp), text is HTML-escaped.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace omniconv {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< x ascending; those not within 1e100 of 0 are left out
};

enum class Axis {
  linear,
  /// For losses, which are positive. Logarithmic where the values span more than a factor of ten. Values far above the
  /// rest of their curve do not stretch it: above q3 + 3 (q3 - q1), of the quartiles of log y, and above twice e^q3.
  /// They lie on its upper edge, as triangles. The axis says both. Linear if a value is not above 0.
  robust
};

/// A figure of its title, a legend where there are several series, and the curves over x with round tick marks. Every
/// point tells its values under the pointer. Empty for series without a point.
std::string line_chart(std::string_view title, std::string_view x_name, const std::vector<Series>& series,
                       Axis axis = Axis::linear);

/// `text` where HTML and XML expect text or the value of an attribute in double quotes.
std::string escape(std::string_view text);

}  // namespace omniconv
