// Reads a part's config.json so that nothing in it is passed over: every key is asked for, declared harmless, or an
// error. Problems are collected; done() throws them all, each naming file, key, value and what is supported.
#pragma once
#include <t2i/t2i.hpp>

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace t2i {

class ConfigReader {
 public:
  // `file` as the user knows it ("unet/config.json"); `prefix` stands before keys in messages. Keys that begin with '_'
  // are notes of the writer and harmless.
  ConfigReader(const Json& object, std::string file, std::string prefix = "");

  // A key that is absent has the default; null where `nullable` says so is "not set" and has it too.
  int64_t integer(const char* key, int64_t fallback, int64_t minimum = 1);
  std::optional<int64_t> optional_integer(const char* key);
  double number(const char* key, double fallback);
  std::optional<double> optional_number(const char* key);
  bool flag(const char* key, bool fallback);
  std::string choice(const char* key, const std::string& fallback, const std::vector<std::string>& supported);
  // Null gives "".
  std::string optional_choice(const char* key, const std::vector<std::string>& supported);
  std::vector<std::string> choices(const char* key, const std::vector<std::string>& fallback,
                                   const std::vector<std::string>& supported);
  // A list, or one integer that stands `count` times. count 0: a list of any length.
  std::vector<int64_t> integers(const char* key, const Json& fallback, size_t count = 0, int64_t minimum = 1);
  std::vector<bool> flags(const char* key, bool fallback, size_t count);
  // The value as it is, for keys with a shape of their own.
  const Json* raw(const char* key);
  // A key of which only these values are supported.
  void only(const char* key, const Json& fallback, const std::vector<Json>& supported);
  // Keys that change nothing that is computed here.
  void harmless(const std::vector<std::string>& keys);
  // A problem with `key`: "'key' is VALUE; REST".
  void problem(const std::string& key, const std::string& rest);
  // Throws when a key is left over or a problem was found.
  void done();

 private:
  const Json* find(const char* key);  // marks it as known

  const Json& json_;
  std::string file_, prefix_;
  std::set<std::string> known_;
  std::vector<std::string> problems_;
};

}  // namespace t2i
