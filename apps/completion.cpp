#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "engine/files.h"
#include "engine/usage.h"

namespace omniconv {
namespace {

std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> commands_of(const CLI::App& program) {
  std::vector<std::string> names;
  for (const CLI::App* command : program.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

/// The branches of a case over the sub-commands: `before` the options of each, `after` them.
std::string branches(const CLI::App& program, const std::string& before, const std::string& after) {
  std::string text;
  for (const CLI::App* command : program.get_subcommands({}))
    text += "    " + command->get_name() + ") " + before + joined(options_of(*command), " ") + after + " ;;\n";
  return text;
}

std::string bash_script(const CLI::App& program) {
  return "# bash completion for omniconv: eval \"$(omniconv completion bash)\"\n"
         "_omniconv() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} options=\"\"\n"
         "  case ${COMP_WORDS[1]} in\n" +
         branches(program, "options=\"", "\"") +
         "  esac\n"
         "  if ((COMP_CWORD == 1)); then\n"
         "    COMPREPLY=($(compgen -W \"" +
         joined(commands_of(program), " ") + " " + joined(options_of(program), " ") +
         "\" -- \"$word\"))\n"
         "  elif [[ $word == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _omniconv omniconv\n";
}

std::string zsh_script(const CLI::App& program) {
  return "#compdef omniconv\n"
         "# zsh completion for omniconv: eval \"$(omniconv completion zsh)\", or this text as _omniconv in $fpath\n"
         "_omniconv() {\n"
         "  local -a options\n"
         "  if ((CURRENT == 2)); then\n"
         "    compadd -- " +
         joined(commands_of(program), " ") + " " + joined(options_of(program), " ") +
         "\n"
         "    return\n"
         "  fi\n"
         "  case $words[2] in\n" +
         branches(program, "options=(", ")") +
         "  esac\n"
         "  if [[ $words[CURRENT] == -* ]]; then\n"
         "    compadd -- $options\n"
         "  else\n"
         "    _files\n"
         "  fi\n"
         "}\n"
         "if [[ $funcstack[1] == _omniconv ]]; then _omniconv; else compdef _omniconv omniconv; fi\n";
}

}  // namespace

void add_completion(CLI::App& program, int& exit_code) {
  const auto shell = std::make_shared<std::string>();
  CLI::App& command = *program.add_subcommand("completion", "A script that completes commands and options in a shell.");
  command.add_option("shell", *shell, "bash or zsh")->required();
  command.callback([shell, &program, &exit_code] {
    require_in("completion", *shell == "bash" || *shell == "zsh", "bash or zsh, got ", *shell);
    std::fputs((*shell == "bash" ? bash_script(program) : zsh_script(program)).c_str(), stdout);
    exit_code = 0;
  });
}

}  // namespace omniconv
