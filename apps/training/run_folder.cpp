#include "apps/training/run_folder.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>

#include "apps/training/json_text.h"
#include "engine/files.h"

namespace omniconv {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view where = "run";
constexpr const char* own_names[] = {RunFolder::resume_name,  // first: without it nothing can be mixed up
                                     RunFolder::last_name,   RunFolder::best_name,  RunFolder::metrics_name,
                                     RunFolder::steps_name,  RunFolder::report_name, RunFolder::config_name};

std::optional<std::string> read_if_present(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  return read_text(where, path);
}

}  // namespace

std::string RunFolder::file(const char* name) const {
  return (fs::path(path_) / name).string();
}

bool RunFolder::prepare() const {
  std::error_code error;
  const bool is_new = fs::create_directories(path_, error);
  expect(!error && fs::is_directory(path_, error), where, path_,
         ": expected a folder to write the run to, got: ", error ? error.message() : "a file of that name",
         "; choose another --out");
  if (const auto text = read_if_present(file(config_name))) {
    const auto json = parse_json(*text);
    expect(json.is_object() && json.contains(RunFolder::program_key) &&
               json[RunFolder::program_key] == RunFolder::program_name, where,
           file(config_name),
           ": expected a new folder or one of an earlier run, got another program's config.json; choose another --out");
  }
  expect_writable(where, file(config_name));
  return is_new;
}

void RunFolder::remove_if_empty() const {
  std::error_code error;
  fs::remove(path_, error);  // of a folder with files it makes an error
}

void RunFolder::remove_old_run() const {
  std::error_code error;
  std::vector<std::string> names(std::begin(own_names), std::end(own_names));
  for (const auto& entry : fs::directory_iterator(path_, error))
    if (entry.path().filename().string().starts_with(event_prefix)) names.push_back(entry.path().filename().string());
  for (const std::string& name : names) {
    fs::remove(file(name.c_str()), error);
    expect(!error, where, file(name.c_str()), ": expected to replace an earlier run, got: ", error.message());
  }
}

void RunFolder::remove_temporary_files() const {
  std::error_code error;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename().string();
    for (const char* own : own_names)
      if (name.starts_with(concat(own, ".tmp-"))) found.push_back(entry.path());
  }
  for (const fs::path& path : found) fs::remove(path, error);
}

void RunFolder::write_config(const Recipe& recipe) const {
  nlohmann::json json = to_json(recipe);
  json[program_key] = program_name;
  write_file(where, file(config_name), json.dump(2) + '\n');
}

std::optional<Recipe> RunFolder::read_config() const {
  const auto text = read_if_present(file(config_name));
  if (!text) return std::nullopt;
  const auto json = parse_json(*text);
  expect(json.is_object(), where, file(config_name), ": expected the configuration of a run, got other text");
  return recipe_from_json(json, file(config_name));
}

void RunFolder::write_metrics(const std::vector<EpochMetrics>& lines) const {
  write_file(where, file(metrics_name), format_metrics(lines));
}

std::vector<EpochMetrics> RunFolder::read_metrics() const {
  const auto text = read_if_present(file(metrics_name));
  return text ? parse_metrics(*text, file(metrics_name)) : std::vector<EpochMetrics>{};
}

SafetensorsFile RunFolder::read_resume() const {
  std::error_code error;
  expect(fs::is_directory(path_, error), where, path_, ": expected the folder of a run to resume, got no such folder");
  expect(fs::exists(file(resume_name), error), where, path_,
         ": expected the folder of a run to resume, got one without ", resume_name);
  return read_safetensors(file(resume_name));
}

StepLog::StepLog(const RunFolder& folder, std::int64_t finished_steps) : path_(folder.file(RunFolder::steps_name)) {
  const std::optional<std::string> old = read_if_present(path_);
  std::string kept;
  std::istringstream lines(old.value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const auto json = parse_json(line);
    // The line that a killed process was writing ends the log, too.
    if (!json.is_object() || !json.contains("step") || !(json["step"] <= finished_steps)) break;
    kept += line + '\n';
  }
  write_file(where, path_, kept);
  file_ = std::fopen(path_.c_str(), "ae");
  expect(file_ != nullptr, where, path_,
         ": expected a file to append to, got: ", std::generic_category().message(errno));
}

StepLog::~StepLog() {
  std::fclose(file_);
}

void StepLog::append(std::int64_t first, const std::vector<double>& losses, DType precision) {
  const int digits = precision == DType::f64 ? 17 : 9;
  bool written = true;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto step = static_cast<long long>(first) + static_cast<long long>(i);
    written = std::fprintf(file_, "{\"step\": %lld, \"loss\": %.*g}\n", step, digits, losses[i]) > 0 && written;
  }
  written = std::fflush(file_) == 0 && written;
  expect(written, where, path_, ": expected to append ", losses.size(),
         " lines, got: ", std::generic_category().message(errno));
}

void expect_writable(std::string_view where, const std::string& path) {
  std::error_code ignored;
  expect(!fs::is_directory(path, ignored), where, path, ": expected a file to write, got a folder: add a file name");
  const fs::path folder = fs::path(path).parent_path();
  expect(folder.empty() || fs::is_directory(folder, ignored), where, path,
         ": expected a file in a folder that exists, got no folder ", folder.string(), ": create it");
  const std::string probe = concat(path, ".tmp-probe-", ::getpid());  // so remove_temporary_files() finds it
  write_file(where, probe, "");
  std::error_code error;
  fs::remove(probe, error);
}

std::string new_run_folder(const std::string& model) {
  std::error_code error;
  for (int number = 1;; ++number) {
    const std::string path = concat("runs/", model, '-', number);
    if (!fs::exists(path, error)) return path;
  }
}

}  // namespace omniconv
