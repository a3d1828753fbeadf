#include "apps/tensorboard/event_file.h"

#include <chrono>
#include <filesystem>

#include "apps/tensorboard/event.pb.h"
#include "apps/training/run_folder.h"
#include "apps/training/text.h"
#include "kernels/error.h"

namespace omniconv {
namespace {

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// The first name that is free: files are read in the order of their names.
std::string new_path(const std::string& folder) {
  const auto seconds = static_cast<long long>(seconds_since_1970());
  std::error_code error;
  for (int number = 0;; ++number) {
    const std::filesystem::path name = RunFolder::event_prefix + text("%010lld.%04d", seconds, number);
    const std::string path = (folder / name).string();
    if (!std::filesystem::exists(path, error)) return path;
  }
}

tensorboard::Event event_at(std::int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(seconds_since_1970());
  event.set_step(step);
  return event;
}

}  // namespace

EventFile::EventFile(const std::string& folder, std::int64_t first_step) : file_(new_path(folder)) {
  tensorboard::Event version = event_at(0);
  version.set_file_version("brain.Event:2");
  file_.append(version.SerializeAsString());
  tensorboard::Event start = event_at(first_step);
  start.mutable_session()->set_status(tensorboard::Session::START);
  file_.append(start.SerializeAsString());
}

void EventFile::add_scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  tensorboard::Event event = event_at(step);
  for (const auto& [tag, number] : values) {
    tensorboard::Value& value = *event.mutable_summary()->add_values();
    value.set_tag(tag);
    value.set_scalar(static_cast<float>(number));
  }
  file_.append(event.SerializeAsString());
}

void EventFile::add_picture(std::int64_t step, const std::string& tag, const Picture& picture) {
  tensorboard::Event event = event_at(step);
  tensorboard::Value& value = *event.mutable_summary()->add_values();
  value.set_tag(tag);
  tensorboard::Image& image = *value.mutable_image();
  image.set_height(static_cast<std::int32_t>(picture.height));
  image.set_width(static_cast<std::int32_t>(picture.width));
  image.set_channels(3);  // R, G, B
  image.set_png(encode_png(picture));
  file_.append(event.SerializeAsString());
}

}  // namespace omniconv
