// Another program as a child process: its words are read, its input is a pipe, and a Ctrl-C meant for the run does not
// reach it.
#pragma once
#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"

namespace t2i {

// The file that a shell would run for `name`; empty where there is none.
Path find_program(const std::string& name);

class Child {
 public:
  // Starts `command[0]` (found on PATH) in a process group of its own. Failure E8015 when it cannot be started.
  explicit Child(const std::vector<std::string>& command);
  ~Child();  // ends it if it is still there
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // To its standard input; what a child that is gone does not read is lost.
  void say(const std::string& text);
  void close_input();
  // Whole lines of its output and errors that have come by now, without secrets. A carriage return ends a line, too, and
  // of lines that were overwritten on the spot only the last is given.
  std::vector<std::string> lines();
  // The exit code once it has ended (128 + n after signal n).
  std::optional<int> ended();
  // Waits for its end at most so long, reading what it says into `heard`; `stop` is asked several times a second.
  std::optional<int> wait(double seconds, std::vector<std::string>& heard, const std::function<bool()>& stop = {});
  void signal(int number);  // to the whole group

 private:
  void read_more();

  pid_t pid_ = -1;
  int input_ = -1, output_ = -1;
  std::string partial_;
  std::vector<std::string> waiting_, secrets_;
  std::optional<int> code_;
};

}  // namespace t2i
