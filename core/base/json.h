// JSON as strict as a file from a stranger needs: one value and nothing after it, valid UTF-8, no key twice (the usual
// parsers silently keep the last), limited depth and size, and errors that say line and column.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace t2i {

using Json = nlohmann::json;

struct JsonRules {
  uint64_t max_bytes = uint64_t{256} << 20;
  int max_depth = 64;        // of arrays and objects within each other
  size_t first_line = 1;     // of `text` within its file: a row of a .jsonl passes its own
  const char* id = "E2010";  // of the error; other rooms give theirs
  bool python_numbers = false;  // Infinity, -Infinity and NaN, as Python writes them, are read as texts of those names
};

// `where` is the file's name; errors read "where:line:column: …", column counted in bytes from 1. Exit::bad_data.
Result<Json> parse_json(std::string_view text, const std::string& where, const JsonRules& rules = {});

// The same of a file; not there is E4103.
Result<Json> read_json(const std::string& path, const JsonRules& rules = {});

// As Python's json.dumps(indent=2, sort_keys=True) writes it, with a newline at the end; the texts that python_numbers
// made become bare words again. Published configurations are written so.
std::string python_json(const Json& value);

}  // namespace t2i
