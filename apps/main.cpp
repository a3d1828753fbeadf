#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>

#include "apps/commands.h"
#include "apps/training/text.h"
#include "engine/library/gemm.h"
#include "kernels/error.h"

namespace {

constexpr int failure = 1;
constexpr int usage_failure = 2;

/// One line, whatever the message has in it.
void print_error(const std::string& message) {
  std::fprintf(stderr, "omniconv: %s\n", omniconv::one_line(message).c_str());
}

/// Where stdout is closed, the next file that is opened would take its number, and all that is printed. Writing to what
/// takes it here fails.
void occupy_standard_descriptors() {
  int descriptor = 0;
  while (descriptor >= 0 && descriptor <= STDERR_FILENO) descriptor = ::open("/dev/null", O_RDONLY);
  if (descriptor >= 0) ::close(descriptor);
}

/// @throws Error if anything that was printed is lost, on a full disk for instance.
void expect_printed() {
  const int error = std::fflush(stdout) == 0 ? 0 : errno;
  omniconv::expect(error == 0 && std::ferror(stdout) == 0, "stdout", "expected to write the result, got: ",
                   error == 0 ? "only a part was written" : std::generic_category().message(error));
}

/// "omniconv train", where that is what was called.
std::string called_command(const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  return chosen.empty() ? "omniconv" : "omniconv " + chosen.front()->get_name();
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_descriptors();
  int exit_code = 0;
  CLI::App program("Trains and evaluates networks with omni-dimensional dynamic convolution (ODConv).", "omniconv");
  try {
    program.set_version_flag("--version",
                             [] { return "omniconv " OMNICONV_VERSION "\n" + omniconv::library::versions(); });
    program.require_subcommand(1);
    program.option_defaults()->always_capture_default();  // --help shows them; sub-commands inherit it
    omniconv::add_train(program, exit_code);
    omniconv::add_eval(program, exit_code);
    omniconv::add_bench(program, exit_code);
    omniconv::add_inspect(program, exit_code);
    omniconv::add_convert(program, exit_code);
    omniconv::add_export(program, exit_code);
    omniconv::add_attention(program, exit_code);
    omniconv::add_predict(program, exit_code);
    omniconv::add_report(program, exit_code);
    omniconv::add_pack(program, exit_code);
    omniconv::add_synth(program, exit_code);
    omniconv::add_completion(program, exit_code);
    try {
      program.parse(argc, argv);
    } catch (const CLI::Success& asked_for_help) {
      exit_code = program.exit(asked_for_help);
    }
    expect_printed();
    return exit_code;
  } catch (const CLI::ParseError& error) {
    print_error(omniconv::concat("[options] ", error.what(), " (see ", called_command(program), " --help)"));
    return usage_failure;
  } catch (const omniconv::UsageError& error) {
    print_error(omniconv::concat(error.what(), " (see ", called_command(program), " --help)"));
    return usage_failure;
  } catch (const std::bad_alloc&) {
    print_error("[memory] expected more memory than this machine has left: try a smaller --batch-size or --width");
  } catch (const std::exception& error) {
    print_error(error.what());
  }
  return failure;
}
