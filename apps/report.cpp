#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/commands.h"
#include "apps/report/pages.h"
#include "apps/report/run_report.h"
#include "apps/training/json_text.h"
#include "apps/training/options.h"
#include "apps/training/progress.h"
#include "apps/training/run_folder.h"
#include "engine/device.h"
#include "engine/files.h"
#include "engine/usage.h"

namespace omniconv {
namespace {

struct ReportCall {
  std::vector<std::string> runs;
  std::string data, out;
  std::optional<std::int64_t> threads;
  bool json = false;
};

void report(const ReportCall& call) {
  constexpr std::string_view where = "report";
  const bool comparing = call.runs.size() > 1;
  require_in(where, !comparing || !call.out.empty(), "--out with the file for a comparison of several runs, got none");
  require_in(where, !comparing || call.data.empty(),
             "--data with one run, got it with several, whose comparison needs no data");
  require_in(where, !comparing || !call.threads,
             "--threads with one run, got it with several, whose comparison computes nothing");
  check_threads(call.threads);
  const std::string out = call.out.empty() ? RunFolder(call.runs[0]).file(RunFolder::report_name) : call.out;
  if (comparing) {
    std::vector<RunRecord> runs;
    for (const std::string& path : call.runs) runs.push_back(read_run(path));
    expect_writable(where, out);
    write_file(where, out, comparison_page(runs));
  } else {
    require_device();
    if (call.threads) set_threads(static_cast<int>(*call.threads));
    write_run_report(call.runs[0], call.data, out);
  }
  const nlohmann::ordered_json json = {{"report", out}};
  std::printf("%s\n", call.json ? json_line(json).c_str() : concat("Written: ", out).c_str());
}

}  // namespace

void add_report(CLI::App& program, int& exit_code) {
  const auto call = std::make_shared<ReportCall>();
  CLI::App& command = *program.add_subcommand("report", "A page about a run, or one that compares several.");
  command.add_option("RUN", call->runs, "Run folders; several are compared")->required();
  command.add_option("--data", call->data, "The run's data, if they no longer lie where its config.json says");
  command.add_option("--out", call->out, "HTML file to write (default for one run: report.html in its folder)");
  command.add_option("--threads", call->threads, "Host threads (no result depends on them)");
  command.add_flag("--json", call->json, "The file's name as one JSON object on stdout");
  command.callback([call, &exit_code] {
    report(*call);
    exit_code = 0;
  });
}

}  // namespace omniconv
