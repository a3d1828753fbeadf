#include "data/hold_out.h"

#include "kernels/error.h"

namespace omniconv {
namespace {

/// How many images each class gives away.
std::vector<std::int64_t> shares_of(std::int64_t count, std::int64_t classes) {
  std::vector<std::int64_t> shares(static_cast<std::size_t>(classes), count / classes);
  for (std::int64_t c = 0; c < count % classes; ++c) ++shares[static_cast<std::size_t>(c)];
  return shares;
}

/// Whether each image is one of those that are taken.
std::vector<bool> taken(const ImageSet& set, std::int64_t count, bool stratified, std::int64_t classes) {
  std::vector<bool> result(static_cast<std::size_t>(set.count()), false);
  std::vector<std::int64_t> left = shares_of(count, stratified ? classes : 1);
  for (std::size_t i = result.size(); i-- > 0;) {
    std::int64_t& of_class = left[stratified ? set.labels[i] : 0];
    if (of_class == 0) continue;
    result[i] = true;
    --of_class;
  }
  for (std::size_t c = 0; c < left.size(); ++c)
    expect(left[c] == 0, "validation", "expected as many training images of every class as are held out, got ", left[c],
           " too few of class ", c, ": hold out fewer");
  return result;
}

}  // namespace

ImageSet hold_out(ImageSet& set, std::int64_t count, bool stratified, std::int64_t classes) {
  expect(count >= 1 && count < set.count(), "validation", "expected to hold out 1 to ", set.count() - 1, " of ",
         set.count(), " training images, got ", count);
  const std::vector<bool> held = taken(set, count, stratified, classes);
  const std::int64_t bytes = image_channels * set.extent * set.extent;
  ImageSet kept{{}, {}, set.extent}, result{{}, {}, set.extent};
  for (std::size_t i = 0; i < held.size(); ++i) {
    ImageSet& target = held[i] ? result : kept;
    const auto begin = set.images.begin() + static_cast<std::ptrdiff_t>(i) * bytes;
    target.images.insert(target.images.end(), begin, begin + bytes);
    target.labels.push_back(set.labels[i]);
  }
  set = std::move(kept);
  return result;
}

}  // namespace omniconv
