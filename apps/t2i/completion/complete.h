// What could stand next on a command line, from the same declarations as help, and from the plugins and presets that are
// installed. The scripts in scripts.cpp ask for it at every press of the tab key.
#pragma once
#include <string>
#include <vector>

#include "apps/t2i/options.h"

namespace t2i {

struct Completion {
  enum class Paths { none, files, folders };
  struct Word {
    std::string text, doc;
  };
  std::vector<Word> words;    // each begins with what was typed
  Paths paths = Paths::none;  // the shell completes these as well, behind `prefix` of what was typed
  std::string prefix;
  bool goes_on = false;  // no space behind a word: it ends with '=' or '.'
};

// `typed`: the words behind "t2i", the last of them up to the cursor, and perhaps empty.
Completion complete(const Texts& typed);

// As the scripts read it: a line a word, a tab before its doc; then ":files", ":folders" with a tab and the prefix, ":nospace".
std::string to_text(const Completion& completion);

// The script for bash, zsh or fish.
const char* completion_script(const std::string& shell);

}  // namespace t2i
