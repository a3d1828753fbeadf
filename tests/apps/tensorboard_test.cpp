// TensorBoard's event files, read back by a plain reader of the format.
#if OMNICONV_TENSORBOARD
#include <sys/resource.h>
#include <sys/wait.h>

#include <bit>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/tensorboard/event_file.h"
#include "apps/tensorboard/run_events.h"
#include "data/synthetic.h"
#include "kernels/error.h"
#include "tests/apps/program.h"
#include "tests/apps/small_runs.h"

namespace omniconv::test {
namespace {

/// CRC-32C bit by bit, masked.
std::uint32_t plain_masked_crc(std::string_view bytes) {
  std::uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
  }
  return std::rotr(~crc, 15) + 0xA282EAD8u;
}

std::uint64_t little_endian(std::string_view bytes, std::size_t at, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = count; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
  return value;
}

/// The whole records of a file; what is behind the last one goes to `rest`.
std::vector<std::string> records_of(std::string_view bytes, std::string_view* rest = nullptr) {
  std::vector<std::string> records;
  while (bytes.size() >= 16) {
    const std::uint64_t length = little_endian(bytes, 0, 8);
    REQUIRE(little_endian(bytes, 8, 4) == plain_masked_crc(bytes.substr(0, 8)));
    if (length > bytes.size() - 16) break;
    records.emplace_back(bytes.substr(12, length));
    REQUIRE(little_endian(bytes, 12 + length, 4) == plain_masked_crc(records.back()));
    bytes.remove_prefix(16 + length);
  }
  if (rest != nullptr) *rest = bytes;
  if (rest == nullptr) CHECK(bytes.empty());
  return records;
}

/// A protobuf message field by field: numbers as they lie there, texts and messages as bytes.
struct Message {
  std::multimap<std::uint64_t, std::uint64_t> numbers;
  std::multimap<std::uint64_t, std::string> texts;

  explicit Message(std::string_view bytes) {
    std::size_t at = 0;
    const auto varint = [&] {
      std::uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(bytes.at(at++));
        value |= std::uint64_t{byte & 0x7Fu} << shift;
        if (byte < 0x80) return value;
      }
    };
    while (at < bytes.size()) {
      const std::uint64_t key = varint(), field = key >> 3;
      if ((key & 7) == 0) {
        numbers.emplace(field, varint());
      } else if ((key & 7) == 2) {
        const std::uint64_t length = varint();
        REQUIRE(length <= bytes.size() - at);
        texts.emplace(field, bytes.substr(at, length));
        at += length;
      } else {
        REQUIRE(((key & 7) == 1 || (key & 7) == 5));
        const std::size_t size = (key & 7) == 1 ? 8 : 4;
        numbers.emplace(field, little_endian(bytes, at, size));
        at += size;
      }
    }
  }
  std::uint64_t number(std::uint64_t field) const { return numbers.find(field)->second; }
  const std::string& text(std::uint64_t field) const { return texts.find(field)->second; }
};

std::vector<Message> events_of(const std::string& path) {
  std::vector<Message> events;
  for (const std::string& record : records_of(read_text(path))) events.emplace_back(record);
  return events;
}

/// What a file says of each tag: its steps, ascending or not.
std::map<std::string, std::vector<std::uint64_t>> steps_by_tag(const std::vector<Message>& events) {
  std::map<std::string, std::vector<std::uint64_t>> steps;
  for (const Message& event : events) {
    if (event.texts.count(5) == 0) continue;
    const Message summary(event.text(5));
    for (const auto& [field, value] : summary.texts) steps[Message(value).text(1)].push_back(event.number(2));
  }
  return steps;
}

TEST_CASE("checksums of records are those of RFC 3720, masked") {
  const auto mask = [](std::uint32_t crc) { return (crc >> 15 | crc << 17) + 0xA282EAD8u; };
  std::string ascending;
  for (char i = 0; i < 32; ++i) ascending += i;
  CHECK(masked_crc(std::string(32, '\0')) == mask(0x8A9136AAu));
  CHECK(masked_crc(std::string(32, '\xFF')) == mask(0x62A8AB43u));
  CHECK(masked_crc(ascending) == mask(0x46DD794Eu));
  CHECK(masked_crc("123456789") == mask(0xE3069283u));
  CHECK(masked_crc("") == 0xA282EAD8u);
  CHECK(plain_masked_crc(ascending) == masked_crc(ascending));
}

TEST_CASE("a record stands between its length and its checksum") {
  // The length 3, its masked checksum and that of "abc", worked out by hand from CRC-32C: 0x364B3FB7 for "abc".
  const std::string record = framed("abc");
  REQUIRE(record.size() == 19);
  CHECK(record.substr(0, 8) == std::string("\3\0\0\0\0\0\0\0", 8));
  CHECK(record.substr(12, 3) == "abc");
  CHECK(little_endian(record, 15, 4) == (((0x364B3FB7u >> 15) | (0x364B3FB7u << 17)) + 0xA282EAD8u));
  CHECK(records_of(record + framed("") + framed(std::string(300, 'x'))) ==
        std::vector<std::string>{"abc", "", std::string(300, 'x')});
}

TEST_CASE("events hold what was added under TensorBoard's field numbers") {
  const TemporaryFolder folder;
  EventFile file(folder.path().string(), 41);
  file.add_scalars(42, {{"step/loss", 2.3}, {"step/lr", 0.1}});
  const Picture picture{2, 1, {255, 0, 0, 0, 0, 255}};
  file.add_picture(43, "attention/layer1.0.conv1.kernel", picture);
  file.flush();

  CHECK(folder.names() == std::vector<std::string>{std::filesystem::path(file.path()).filename().string()});
  CHECK_THAT(folder.names()[0], StartsWith("events.out.tfevents."));
  const std::vector<Message> events = events_of(file.path());
  REQUIRE(events.size() == 4);
  double last_time = 1.7e9;  // 2023
  for (const Message& event : events) {
    const auto time = std::bit_cast<double>(event.number(1));
    CHECK(time >= last_time);
    last_time = time;
  }
  CHECK(events[0].text(3) == "brain.Event:2");
  CHECK(events[1].number(2) == 41);
  CHECK(Message(events[1].text(7)).number(1) == 1);  // SessionLog.START

  CHECK(events[2].number(2) == 42);
  const Message scalars(events[2].text(5));
  REQUIRE(scalars.texts.count(1) == 2);
  const Message loss(scalars.texts.begin()->second), lr(std::next(scalars.texts.begin())->second);
  CHECK(loss.text(1) == "step/loss");
  CHECK(loss.number(2) == std::bit_cast<std::uint32_t>(2.3f));
  CHECK(lr.text(1) == "step/lr");
  CHECK(lr.number(2) == std::bit_cast<std::uint32_t>(0.1f));

  CHECK(events[3].number(2) == 43);
  const Message value(Message(events[3].text(5)).text(1)), image(value.text(4));
  CHECK(value.text(1) == "attention/layer1.0.conv1.kernel");
  CHECK(image.number(1) == 2);
  CHECK(image.number(2) == 1);
  CHECK(image.number(3) == 3);
  write_text(folder.file("picture.png"), image.text(4));
  CHECK(read_picture(folder.file("picture.png")) == picture);
}

TEST_CASE("each process has an event file of its own, later ones behind earlier ones") {
  const TemporaryFolder folder;
  std::vector<std::string> names;
  for (int i = 0; i < 12; ++i) {
    const EventFile file(folder.path().string(), 1);
    names.push_back(std::filesystem::path(file.path()).filename().string());
  }
  CHECK(names == folder.names());
  CHECK_THAT(message_of<Error>([&] { EventFile(folder.file("absent"), 1); }),
             StartsWith("[tensorboard] " + folder.file("absent/events")) &&
                 ContainsSubstring("expected to make a new file, got: No such file or directory"));
}

TEST_CASE("a run's events: steps, the numbers of an epoch's line, and maps of at most twenty epochs") {
  const TemporaryFolder folder;
  const ImageData data = make_synthetic(1, 3, 12);
  ModelConfig config;
  config.width = 8;
  config.kernels = 2;
  config.class_names = data.class_names;
  const Model model(config, 1);
  const Dataset images(data.test);
  const auto events = make_run_events({folder.path().string(), 6, 50});
  using Steps = std::vector<std::uint64_t>;
  EpochMetrics metrics;
  metrics.test_accuracy = 0.5;
  for (std::int64_t epoch = 3; epoch <= 8; ++epoch) {
    events->on_steps({3 * epoch - 1, 2.5, 0.25, 0.1, 4, 100});
    metrics.epoch = epoch;
    metrics.step = 3 * epoch;
    events->on_epoch(metrics, model, images);
  }
  const std::vector<Message> read = events_of(folder.file(folder.names()[0]));
  CHECK(read[1].number(2) == 7);  // what a killed process wrote behind step 6 does not count
  const auto steps = steps_by_tag(read);
  const Steps all{9, 12, 15, 18, 21, 24};
  for (const char* tag : {"step/loss", "step/accuracy", "step/lr", "step/temperature", "step/images_per_second"}) {
    INFO(tag);
    REQUIRE(steps.count(tag) == 1);
    CHECK(steps.at(tag) == Steps{8, 11, 14, 17, 20, 23});
  }
  std::size_t numbers = 0;
  const auto line = to_json(metrics);
  for (const auto& [key, value] : line.items()) numbers += value.is_number() && key != "step" && key != "epoch" ? 1 : 0;
  std::size_t epoch_tags = 0, maps = 0;
  for (const auto& [tag, found] : steps) {
    INFO(tag);
    epoch_tags += tag.starts_with("epoch/") ? 1 : 0;
    if (tag.starts_with("epoch/")) CHECK(found == all);
    maps += tag.starts_with("attention/") ? 1 : 0;
    // Every third of fifty epochs, the fiftieth among them: epochs 5 and 8.
    if (tag.starts_with("attention/")) CHECK(found == Steps{15, 24});
  }
  CHECK(epoch_tags == numbers);
  CHECK(steps.count("epoch/test_accuracy") == 1);
  CHECK(maps == 16 * 4 + 3 * 2);
  CHECK(steps.count("attention/layer1.0.conv1.kernel") == 1);

  // A static model has no attentions.
  ModelConfig twin = config;
  twin.model = "resnet18";
  twin.kernels = 1;
  make_run_events({folder.path().string(), 0, 1})->on_epoch(EpochMetrics{}, Model(twin, 1), images);
  for (const auto& [tag, found] : steps_by_tag(events_of(folder.file(folder.names()[1]))))
    CHECK_THAT(tag, StartsWith("epoch/"));
}

/// Scalars of a run's event files, by tag and step; what a START takes back is left out, as TensorBoard does.
std::map<std::string, std::map<std::uint64_t, float>> scalars_of(const std::string& run) {
  std::map<std::string, std::map<std::uint64_t, float>> scalars;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(run))
    if (entry.path().filename().string().starts_with("events.")) paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths)
    for (const Message& event : events_of(path)) {
      const std::uint64_t step = event.numbers.count(2) != 0 ? event.number(2) : 0;
      if (event.texts.count(7) != 0)
        for (auto& [tag, values] : scalars) values.erase(values.lower_bound(step), values.end());
      if (event.texts.count(5) == 0) continue;
      const Message summary(event.text(5));
      for (const auto& [field, bytes] : summary.texts) {
        const Message value(bytes);
        if (value.numbers.count(2) == 0) continue;
        scalars[value.text(1)][step] = std::bit_cast<float>(static_cast<std::uint32_t>(value.number(2)));
      }
    }
  return scalars;
}

/// Every number of metrics.jsonl and no other, but for those of a stop within an epoch behind step `stop`; losses that
/// are means of those in steps.jsonl.
void check_scalars(const std::string& run, std::uint64_t stop = 0) {
  const auto scalars = scalars_of(run);
  std::map<std::string, std::map<std::uint64_t, float>> lines, found;
  for (const auto& line : json_lines(read_text(run + "/metrics.jsonl")))
    for (const auto& [key, value] : line.items())
      if (value.is_number() && key != "epoch" && key != "step")
        lines["epoch/" + key][line.at("step").get<std::uint64_t>()] = value.get<float>();
  for (const auto& [tag, values] : scalars)
    if (tag.starts_with("epoch/")) found[tag] = values;
  if (stop > 0) CHECK(found.at("epoch/train_loss").count(stop) == 1);
  for (auto& [tag, values] : found) values.erase(stop);
  CHECK(found == lines);
  const auto steps = json_lines(read_text(run + "/steps.jsonl"));
  std::uint64_t before = 0;
  REQUIRE(scalars.count("step/loss") == 1);
  for (const auto& [step, loss] : scalars.at("step/loss")) {
    double sum = 0;
    for (std::uint64_t i = before; i < step; ++i) sum += steps.at(i).at("loss").get<double>();
    CHECK(loss == Approx(sum / static_cast<double>(step - before)));
    before = step;
  }
  CHECK(before == steps.size());
}

TEST_CASE("an observed run writes what its metrics say, stopped and resumed, and trains to the same bits") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  TrainOptions options = small_options(data, folder.file("alone"));
  options.recipe.validation = 10;
  options.log_steps = true;
  REQUIRE(train_quietly(options) == 0);
  options.observe = make_run_events;
  options.out = folder.file("observed");
  REQUIRE(train_quietly(options) == 0);
  CHECK(read_text(folder.file("observed/last.safetensors")) == read_text(folder.file("alone/last.safetensors")));
  CHECK(timeless_metrics(folder.file("observed")) == timeless_metrics(folder.file("alone")));
  check_scalars(folder.file("observed"));
  const auto whole = scalars_of(folder.file("observed"));
  CHECK(whole.count("epoch/val_accuracy") == 1);
  CHECK(whole.at("epoch/best_test_accuracy").size() == 1);
  CHECK(whole.at("step/temperature").rbegin()->second == whole.at("epoch/temperature").rbegin()->second);
  for (const auto& [step, accuracy] : whole.at("step/accuracy")) CHECK((accuracy >= 0 && accuracy <= 1));

  options.out = folder.file("stopped");
  options.max_steps = 4;  // of two epochs of three
  REQUIRE(train_quietly(options) == 0);
  TrainOptions more = resume_options(options.out);
  more.log_steps = true;
  more.observe = make_run_events;
  REQUIRE(train_quietly(more) == 0);
  CHECK(read_text(folder.file("stopped/last.safetensors")) == read_text(folder.file("alone/last.safetensors")));
  check_scalars(folder.file("stopped"), 4);

  // A new run takes the place of the old one, whoever observes it.
  options.observe = {};
  REQUIRE(train_quietly(options) == 0);
  CHECK(scalars_of(folder.file("stopped")).empty());
}

TEST_CASE("train --tensorboard writes an event file into the run folder") {
  const TemporaryFolder folder;
  const std::string data = write_small_data(folder);
  REQUIRE(run({"train", "--data", data, "--out", folder.file("run"), "--model", "resnet18", "--width", "8", "--epochs",
               "1", "--batch-size", "20", "--log-steps", "--tensorboard"})
              .exit_code == 0);
  check_scalars(folder.file("run"));
}

TEST_CASE("a process that is killed leaves whole records, and at most one torn one behind them") {
  const TemporaryFolder folder;
  const std::string path = folder.file("records");
  const pid_t child = ::fork();
  const auto record = [](std::size_t i) { return std::string(i % 5000, static_cast<char>('a' + i % 26)); };
  if (child == 0) {
    ::alarm(60);  // whatever becomes of its parent
    RecordFile file(path);
    for (std::size_t i = 0;; ++i) file.append(record(i));
  }
  std::error_code error;
  const auto size = [&] { return std::filesystem::exists(path, error) ? std::filesystem::file_size(path, error) : 0; };
  while (size() < 1'000'000 && ::waitpid(child, nullptr, WNOHANG) == 0) ::usleep(1000);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const std::string content = read_text(path);
  std::string_view rest;
  const std::vector<std::string> records = records_of(content, &rest);
  REQUIRE(records.size() > 100);
  CHECK(framed(record(records.size())).starts_with(rest));
  for (std::size_t i = 0; i < records.size(); ++i) REQUIRE(records[i] == record(i));
}

TEST_CASE("a record that does not fit on the disk is taken back whole") {
  const TemporaryFolder folder;
  const std::string path = folder.file("records");
  RecordFile file(path);
  file.append("first");
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  rlimit small = limit;
  small.rlim_cur = 100;  // a disk that is full
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const std::string message = message_of<Error>([&] { file.append(std::string(200, 'x')); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(message == "[tensorboard] " + path + ": expected to append 216 bytes, got: File too large");
  file.append("second");
  CHECK(records_of(read_text(path)) == std::vector<std::string>{"first", "second"});
  CHECK_THAT(message_of<Error>([&] { RecordFile again(path); }),
             ContainsSubstring("records: expected to make a new file, got: File exists"));
}

}  // namespace
}  // namespace omniconv::test

#else
#include "apps/tensorboard/run_events.h"
#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {

TEST_CASE("a build without event files says what to install") {
  CHECK_THAT(message_of<Error>([] { make_run_events({}); }),
             StartsWith("[tensorboard] expected a build with event files") && ContainsSubstring("protobuf-compiler"));
}

}  // namespace omniconv::test
#endif
