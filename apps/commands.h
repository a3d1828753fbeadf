// The sub-commands of the program: each declares its options and, when chosen, runs.
#pragma once

#include <CLI/CLI.hpp>

namespace omniconv {

/// `exit_code` is set by the sub-command that ran.
void add_train(CLI::App& program, int& exit_code);
void add_eval(CLI::App& program, int& exit_code);
void add_bench(CLI::App& program, int& exit_code);
void add_inspect(CLI::App& program, int& exit_code);
void add_convert(CLI::App& program, int& exit_code);
void add_export(CLI::App& program, int& exit_code);
void add_attention(CLI::App& program, int& exit_code);
void add_predict(CLI::App& program, int& exit_code);
void add_report(CLI::App& program, int& exit_code);
void add_pack(CLI::App& program, int& exit_code);
void add_completion(CLI::App& program, int& exit_code);
void add_synth(CLI::App& program, int& exit_code);

}  // namespace omniconv
