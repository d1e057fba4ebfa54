// The sub-commands: main.cpp holds the table, each command its own file.
#pragma once
#include <span>
#include <string>
#include <vector>

namespace t2i {

struct Command {
  const char* name;
  const char* arguments;                                                       // as the usage line shows them
  const char* doc;                                                             // one line
  int (*run)(const Command& self, const std::vector<std::string>& arguments);  // returns the exit code; throws Failure
};

// The table.
std::span<const Command> commands();

int run_command(const Command& self, const std::vector<std::string>& arguments);
int generate_command(const Command& self, const std::vector<std::string>& arguments);
int probe_command(const Command& self, const std::vector<std::string>& arguments);
int export_command(const Command& self, const std::vector<std::string>& arguments);
int plan_command(const Command& self, const std::vector<std::string>& arguments);
int validate_command(const Command& self, const std::vector<std::string>& arguments);
int convert_command(const Command& self, const std::vector<std::string>& arguments);
int cache_command(const Command& self, const std::vector<std::string>& arguments);
int plugins_command(const Command& self, const std::vector<std::string>& arguments);
int report_command(const Command& self, const std::vector<std::string>& arguments);
int compare_command(const Command& self, const std::vector<std::string>& arguments);
int schema_command(const Command& self, const std::vector<std::string>& arguments);
int init_command(const Command& self, const std::vector<std::string>& arguments);
int doctor_command(const Command& self, const std::vector<std::string>& arguments);
int completion_command(const Command& self, const std::vector<std::string>& arguments);

// What completion_script() calls as `t2i __complete WORD…`: prints what could stand next.
int complete_words(const std::vector<std::string>& typed);

// Hands `options` (the struct of core/commands.h that belongs to `command`) to the engine, which is loaded now.
// Throws Failure (E2090) when it cannot be.
int call_engine(const char* command, const void* options);

}  // namespace t2i
