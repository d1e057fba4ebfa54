// The sub-commands: main.cpp holds the table, each command its own file.
#pragma once
#include <string>
#include <vector>

namespace t2i {

struct Command {
  const char* name;
  const char* arguments;                                                       // as the usage line shows them
  const char* doc;                                                             // one line
  int (*run)(const Command& self, const std::vector<std::string>& arguments);  // returns the exit code; throws Failure
};

int run_command(const Command& self, const std::vector<std::string>& arguments);
int generate_command(const Command& self, const std::vector<std::string>& arguments);
int probe_command(const Command& self, const std::vector<std::string>& arguments);
int export_command(const Command& self, const std::vector<std::string>& arguments);
int plan_command(const Command& self, const std::vector<std::string>& arguments);
int cache_command(const Command& self, const std::vector<std::string>& arguments);
int plugins_command(const Command& self, const std::vector<std::string>& arguments);
int schema_command(const Command& self, const std::vector<std::string>& arguments);

// Hands `options` (the struct of core/commands.h that belongs to `command`) to the engine, which is loaded now.
// Throws Failure (E2090) when it cannot be.
int call_engine(const char* command, const void* options);

}  // namespace t2i
