// The program as a shell starts it.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/temporary_folder.h"

namespace omniconv::test {

using Words = std::vector<std::string>;

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

/// A started program; its outputs go to files in `folder`.
class Process {
 public:
  Process(const TemporaryFolder& folder, Words words) : folder_(folder) {
    words.insert(words.begin(), OMNICONV_PROGRAM);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const std::string out = folder.file("stdout"), err = folder.file("stderr");
    id_ = ::fork();
    if (id_ != 0) return;
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
    ::execv(OMNICONV_PROGRAM, arguments.data());
    ::_exit(99);
  }
  void signal(int number) const { ::kill(id_, number); }
  Outcome wait() const {
    int status = 0;
    ::waitpid(id_, &status, 0);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return {code, read_text(folder_.file("stdout")), read_text(folder_.file("stderr"))};
  }

 private:
  const TemporaryFolder& folder_;
  pid_t id_;
};

inline Outcome run(const Words& words) {
  const TemporaryFolder folder;
  return Process(folder, words).wait();
}

inline void check_one_line_error(const Words& words, int exit_code, const std::string& part) {
  const Outcome outcome = run(words);
  std::string line;
  for (const std::string& word : words) line += word + ' ';
  INFO(line);
  CHECK(outcome.exit_code == exit_code);
  CHECK(outcome.out.empty());
  CHECK_THAT(outcome.err, StartsWith("omniconv: ") && ContainsSubstring(part));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
}

inline Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace omniconv::test
