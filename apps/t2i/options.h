// A command's options: declared once as a Boost.Program_options table, from which parsing and help both come.
#pragma once
#include <boost/program_options.hpp>
#include <optional>
#include <string>
#include <vector>

#include "apps/t2i/command.h"
#include "core/base/error.h"
#include "core/commands.h"
#include "core/config/config.h"

namespace t2i {

using Texts = std::vector<std::string>;

// What a command declares, for completion.
struct DeclaredOption {
  std::string name, value, doc;  // "set", "KEY=VALUE" (empty: a switch), a sentence
  Texts choices;                 // of the value; empty: any
};
struct Declared {
  std::vector<DeclaredOption> options;  // with the dashes and names of one letter left out
  DeclaredOption positional;            // no name: there is none
};

// Asks a command for its declarations; nothing else of it is run.
Declared declared_by(const Command& command);

class Options {
 public:
  explicit Options(const Command& command);

  // In the table, `name` without dashes ("file,o" is --file and -o); `value` as help shows it ("DIR"), empty for a
  // switch. `choices` are for completion: choice() checks.
  Options& add(const char* name, const char* value, const char* doc, Texts choices = {});
  Options& add_list(const char* name, const char* value, const char* doc);   // may be given several times
  Options& add_words(const char* name, const char* value, const char* doc);  // several times, or several values at once
  Options& positional(const char* name, int most, Texts choices = {});

  // False when help was asked for and printed (`more` after the table). Throws Failure (exit 64) on unknown options
  // and the like.
  bool parse(const std::vector<std::string>& arguments, const std::string& more = "");

  bool has(const char* name) const { return values_.count(name) != 0; }
  std::string text(const char* name, const std::string& standard = "") const;
  Texts texts(const char* name) const;
  std::vector<LoraFile> loras() const;  // of --lora FILE[:SCALE]

  // Problems are collected; finish() throws them all.
  std::optional<int64_t> integer(const char* name, int64_t low, int64_t high);
  std::optional<double> number(const char* name, double low, double high);
  std::string choice(const char* name, const Texts& choices, const std::string& standard);
  void require(const char* name);
  void problem(const std::string& where, const std::string& what, const std::string& todo, const char* id = "E1022");
  void finish() const;

  // --set and the options that stand for a key, in the order in which they count.
  struct Stands {
    const char *option, *key;
  };
  std::vector<Setting> settings(const std::vector<Stands>& named);

 private:
  const Command& command_;
  boost::program_options::options_description table_;
  boost::program_options::options_description hidden_;
  boost::program_options::positional_options_description positional_;
  boost::program_options::variables_map values_;
  std::vector<std::string> names_;
  Declared declared_;
  std::vector<Error> problems_;

  void declare(const char* name, const char* value, const char* doc, Texts choices = {});
  void help(const std::string& more) const;
};

}  // namespace t2i
