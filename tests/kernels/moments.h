// Moments that kernels leave, against plain loops.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/moments.h"
#include "tests/tolerance.h"

namespace omniconv::test {

/// Mean and variance of each column, all means first.
using ColumnStatistics = std::vector<double>;

/// Of rows [rows, columns], in two passes.
template <class T>
ColumnStatistics statistics_of_rows(const std::vector<T>& rows, std::size_t columns) {
  const std::size_t count = rows.size() / columns;
  ColumnStatistics result(2 * columns);
  for (std::size_t c = 0; c < columns; ++c) {
    double sum = 0, squares = 0;
    for (std::size_t row = 0; row < count; ++row) sum += static_cast<double>(rows[row * columns + c]);
    const double mean = sum / static_cast<double>(count);
    for (std::size_t row = 0; row < count; ++row) {
      const double deviation = static_cast<double>(rows[row * columns + c]) - mean;
      squares += deviation * deviation;
    }
    result[c] = mean;
    result[columns + c] = squares / static_cast<double>(count);
  }
  return result;
}

/// Of the rows whose parts have these moments: the mean of means, and the variance within parts and among them.
inline ColumnStatistics statistics_of_parts(const kernels::MomentParts& parts, const std::vector<float>& moments,
                                            std::size_t columns) {
  ColumnStatistics result(2 * columns);
  const auto rows = static_cast<double>(parts.rows());
  for (std::size_t c = 0; c < columns; ++c) {
    const auto sum_over_parts = [&](auto term) {
      double sum = 0;
      for (std::int64_t part = 0; part < parts.count(); ++part) {
        const float* const values = moments.data() + static_cast<std::size_t>(part) * 2 * columns + c;
        sum += term(static_cast<double>(parts.rows_of(part)), values[0], values[columns]);
      }
      return sum;
    };
    const double mean =
        sum_over_parts([](double count, double part_mean, double) { return count * part_mean; }) / rows;
    result[c] = mean;
    result[columns + c] = sum_over_parts([mean](double count, double part_mean, double squares) {
                            return squares + count * (part_mean - mean) * (part_mean - mean);
                          }) /
                          rows;
  }
  return result;
}

/// Fails the test unless the parts have all rows and, together, their statistics.
template <class T>
void require_moments(const kernels::MomentParts& parts, const std::vector<float>& moments, const std::vector<T>& rows,
                     std::int64_t channels) {
  const auto columns = static_cast<std::size_t>(channels);
  REQUIRE(static_cast<std::size_t>(parts.rows()) * columns == rows.size());
  REQUIRE(static_cast<std::size_t>(parts.count()) * 2 * columns == moments.size());
  require_close(statistics_of_parts(parts, moments, columns), statistics_of_rows(rows, columns),
                Tolerance::rounding<float>(), "means, then variances");
}

}  // namespace omniconv::test
