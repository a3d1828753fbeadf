#include "data/synthetic.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "data/draws.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

/// All lengths are in eighths of a pixel and all arithmetic is in integers, so that no platform rounds differently.
constexpr std::int64_t pixel = 8;

/// Draws everything that varies about one figure or pattern, then answers whether a point belongs to it.
class Figure {
 public:
  Figure(int label, Draws& draws) : kind_(static_cast<Kind>(label)) {
    center_x_ = draws.between(12 * pixel, 20 * pixel);
    center_y_ = draws.between(12 * pixel, 20 * pixel);
    radius_ = draws.between(7 * pixel, 11 * pixel);
    period_ = draws.between(6 * pixel, 10 * pixel);
    phase_x_ = draws.below(64 * pixel);
    phase_y_ = draws.below(64 * pixel);
    turned_ = draws.below(2) == 1;
  }

  bool covers(std::int64_t x, std::int64_t y) const {
    const std::int64_t dx = x - center_x_;
    const std::int64_t dy = y - center_y_;
    const std::int64_t square_distance = dx * dx + dy * dy;
    const std::int64_t from_axis = std::min(std::abs(dx), std::abs(dy));
    const std::int64_t from_center = std::max(std::abs(dx), std::abs(dy));
    switch (kind_) {
      case Kind::disc:
        return square_distance <= radius_ * radius_;
      case Kind::ring:
        return square_distance <= radius_ * radius_ && 25 * square_distance >= 9 * radius_ * radius_;
      case Kind::square:
        return 8 * from_center <= 7 * radius_;
      case Kind::triangle: {  // on its base or on its tip
        const std::int64_t below_tip = radius_ + (turned_ ? -dy : dy);
        return below_tip <= 2 * radius_ && 2 * std::abs(dx) <= below_tip;
      }
      case Kind::cross:
        return from_center <= radius_ && 4 * from_axis <= radius_;
      case Kind::horizontal_stripes:
        return striped(y + phase_y_, period_);
      case Kind::vertical_stripes:
        return striped(x + phase_x_, period_);
      case Kind::diagonal_stripes:  // either way, as a mirror image is; 7/5 is nearly the root of 2
        return striped((turned_ ? x - y : x + y) + image_extent * pixel + phase_x_, period_ * 7 / 5);
      case Kind::checkerboard:
        return striped(x + phase_x_, period_ * 3 / 2) != striped(y + phase_y_, period_ * 3 / 2);
      case Kind::dots: {
        const std::int64_t in_x = (x + phase_x_) % period_ - period_ / 2;
        const std::int64_t in_y = (y + phase_y_) % period_ - period_ / 2;
        return 9 * (in_x * in_x + in_y * in_y) <= period_ * period_;
      }
    }
    return false;
  }

 private:
  enum class Kind {
    disc,
    ring,
    square,
    triangle,
    cross,
    horizontal_stripes,
    vertical_stripes,
    diagonal_stripes,
    checkerboard,
    dots
  };

  static bool striped(std::int64_t position, std::int64_t period) { return position % period < period / 2; }

  Kind kind_;
  std::int64_t center_x_, center_y_, radius_, period_, phase_x_, phase_y_;
  bool turned_;
};

const std::vector<std::string> figure_names = {
    "disc",         "ring", "square", "triangle", "cross", "horizontal stripes", "vertical stripes", "diagonal stripes",
    "checkerboard", "dots"};

/// Two colours that are told apart easily, equal in distribution. With shading and noise they stay within a byte.
struct Colours {
  std::array<std::int64_t, image_channels> inside, outside;

  explicit Colours(Draws& draws) {
    constexpr std::int64_t least_contrast = 120;  // summed over the channels
    std::int64_t contrast = 0;
    while (contrast < least_contrast) {
      contrast = 0;
      for (std::size_t c = 0; c < inside.size(); ++c) {
        inside[c] = draws.between(56, 199);
        outside[c] = draws.between(56, 199);
        contrast += std::abs(inside[c] - outside[c]);
      }
    }
  }
};

/// Writes one image of class `label`, [3, 32, 32], to `image`.
void draw(int label, Draws draws, std::uint8_t* image) {
  const Figure figure(label, draws);
  const Colours colours(draws);
  constexpr std::int64_t half = image_extent / 2;
  const std::int64_t slope_x = draws.between(-half, half);
  const std::int64_t slope_y = draws.between(-half, half);
  constexpr std::int64_t samples = 4;  // per pixel and direction, for soft edges
  constexpr std::int64_t noise = 20;
  for (std::int64_t y = 0; y < image_extent; ++y) {
    for (std::int64_t x = 0; x < image_extent; ++x) {
      std::int64_t covered = 0;
      for (std::int64_t sample = 0; sample < samples * samples; ++sample) {
        covered += figure.covers(x * pixel + 1 + 2 * (sample % samples), y * pixel + 1 + 2 * (sample / samples));
      }
      // At most 16 up or down, at the corners.
      const std::int64_t shading = ((x - half) * slope_x + (y - half) * slope_y) / image_extent;
      for (std::int64_t c = 0; c < image_channels; ++c) {
        const auto channel = static_cast<std::size_t>(c);
        const std::int64_t colour =
            (colours.inside[channel] * covered + colours.outside[channel] * (samples * samples - covered)) /
            (samples * samples);
        const std::int64_t value = colour + shading + draws.between(-noise, noise);
        image[(c * image_extent + y) * image_extent + x] = static_cast<std::uint8_t>(value);
      }
    }
  }
}

ImageSet draw_set(std::uint64_t seed, DrawPurpose purpose, std::int64_t count) {
  ImageSet set;
  set.images.resize(static_cast<std::size_t>(count * image_bytes));
  for (std::int64_t i = 0; i < count; ++i) {
    const int label = static_cast<int>(i % static_cast<std::int64_t>(figure_names.size()));
    set.labels.push_back(static_cast<std::uint8_t>(label));
    draw(label, Draws(seed, purpose, static_cast<std::uint64_t>(i)), set.images.data() + i * image_bytes);
  }
  return set;
}

}  // namespace

ImageData make_synthetic(std::uint64_t seed, std::int64_t train_count, std::int64_t test_count) {
  expect(train_count >= 1 && test_count >= 1, "synthetic", "expected at least 1 image in each set, got ", train_count,
         " for training and ", test_count, " for testing");
  return {draw_set(seed, DrawPurpose::synthetic_train, train_count),
          draw_set(seed, DrawPurpose::synthetic_test, test_count), figure_names};
}

}  // namespace omniconv
