// One of TensorBoard's event files: scalars and pictures over the steps of a run.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "apps/tensorboard/record_file.h"
#include "data/picture.h"

namespace omniconv {

class EventFile {
 public:
  /// A new file in `folder`, which exists, named so that it sorts behind those of earlier processes:
  /// events.out.tfevents.SECONDS.NUMBER. It says that what earlier files have from `first_step` on no longer counts.
  /// @throws Error if none can be made.
  EventFile(const std::string& folder, std::int64_t first_step);

  const std::string& path() const { return file_.path(); }

  /// Values of a step by their tags, of which "group/name" are shown by group; written as f32. One record.
  /// @throws Error if the file cannot take it.
  void add_scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values);
  /// A picture of a step. One record. @throws Error if the file cannot take it.
  void add_picture(std::int64_t step, const std::string& tag, const Picture& picture);
  /// Waits until everything is on the disk. @throws Error if it does not get there.
  void flush() { file_.flush(); }

 private:
  RecordFile file_;
};

}  // namespace omniconv
