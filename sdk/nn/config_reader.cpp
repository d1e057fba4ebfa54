#include "config_reader.hpp"

#include <algorithm>
#include <cmath>

namespace t2i {
namespace {

template <class T>
std::string listed(const std::vector<T>& values) {
  std::string text;
  for (const T& v : values) text += (text.empty() ? "" : ", ") + Json(v).dump();
  return text;
}
bool is_integer(const Json& v) {
  return v.is_number_integer() || (v.is_number_float() && v.get<double>() == std::floor(v.get<double>()) &&
                                   std::abs(v.get<double>()) < 1e15);
}
int64_t as_integer(const Json& v) {
  return v.is_number_integer() ? v.get<int64_t>() : static_cast<int64_t>(v.get<double>());
}

}  // namespace

ConfigReader::ConfigReader(const Json& object, std::string file, std::string prefix)
    : json_(object), file_(std::move(file)), prefix_(std::move(prefix)) {
  if (!object.is_object()) fail(file_ + ": not a JSON object. → Restore the file of the published model.");
}

const Json* ConfigReader::find(const char* key) {
  known_.insert(key);
  auto it = json_.find(key);
  return it == json_.end() ? nullptr : &*it;
}

void ConfigReader::problem(const std::string& key, const std::string& rest) {
  auto it = json_.find(key);
  problems_.push_back(file_ + ": '" + prefix_ + key + "' is " + (it == json_.end() ? "not there" : it->dump()) + "; " +
                      rest);
}

int64_t ConfigReader::integer(const char* key, int64_t fallback, int64_t minimum) {
  const Json* v = find(key);
  if (!v) return fallback;
  if (is_integer(*v) && as_integer(*v) >= minimum && as_integer(*v) <= INT32_MAX) return as_integer(*v);
  problem(key, "wanted an integer of at least " + std::to_string(minimum));
  return fallback;
}

std::optional<int64_t> ConfigReader::optional_integer(const char* key) {
  const Json* v = find(key);
  if (!v || v->is_null()) return std::nullopt;
  return integer(key, 1);
}

double ConfigReader::number(const char* key, double fallback) {
  const Json* v = find(key);
  if (!v) return fallback;
  if (v->is_number()) return v->get<double>();
  problem(key, "wanted a number");
  return fallback;
}

std::optional<double> ConfigReader::optional_number(const char* key) {
  const Json* v = find(key);
  if (!v || v->is_null()) return std::nullopt;
  return number(key, 0);
}

bool ConfigReader::flag(const char* key, bool fallback) {
  const Json* v = find(key);
  if (!v) return fallback;
  if (v->is_boolean()) return v->get<bool>();
  problem(key, "wanted true or false");
  return fallback;
}

std::string ConfigReader::choice(const char* key, const std::string& fallback,
                                 const std::vector<std::string>& supported) {
  const Json* v = find(key);
  if (!v) return fallback;
  if (v->is_string() && std::count(supported.begin(), supported.end(), v->get<std::string>()))
    return v->get<std::string>();
  problem(key, "supported: " + listed(supported));
  return fallback;
}

std::string ConfigReader::optional_choice(const char* key, const std::vector<std::string>& supported) {
  const Json* v = find(key);
  return !v || v->is_null() ? std::string() : choice(key, "", supported);
}

std::vector<std::string> ConfigReader::choices(const char* key, const std::vector<std::string>& fallback,
                                               const std::vector<std::string>& supported) {
  const Json* v = find(key);
  if (!v) return fallback;
  std::vector<std::string> out;
  bool good = v->is_array() && !v->empty();
  if (good)
    for (const Json& item : *v) {
      good = good && item.is_string() && std::count(supported.begin(), supported.end(), item.get<std::string>());
      if (good) out.push_back(item.get<std::string>());
    }
  if (good) return out;
  problem(key, "wanted a list of these: " + listed(supported));
  return fallback;
}

std::vector<int64_t> ConfigReader::integers(const char* key, const Json& fallback, size_t count, int64_t minimum) {
  auto read = [&](const Json& v, std::vector<int64_t>& out) {
    auto good = [&](const Json& i) { return is_integer(i) && as_integer(i) >= minimum && as_integer(i) <= INT32_MAX; };
    if (count && good(v)) {
      out.assign(count, as_integer(v));
      return true;
    }
    if (!v.is_array() || (v.empty() && minimum > 0) || (count && v.size() != count)) return false;
    if (!std::all_of(v.begin(), v.end(), good)) return false;
    for (const Json& i : v) out.push_back(as_integer(i));
    return true;
  };
  std::vector<int64_t> out;
  const Json* v = find(key);
  if (v && read(*v, out)) return out;
  if (v)
    problem(key, (count ? "wanted an integer or a list of " + std::to_string(count) + " integers"
                        : std::string("wanted a list of integers")) +
                     " of at least " + std::to_string(minimum));
  out.clear();
  read(fallback, out);
  return out;
}

std::vector<bool> ConfigReader::flags(const char* key, bool fallback, size_t count) {
  const Json* v = find(key);
  if (!v) return std::vector<bool>(count, fallback);
  if (v->is_boolean()) return std::vector<bool>(count, v->get<bool>());
  if (v->is_array() && v->size() == count &&
      std::all_of(v->begin(), v->end(), [](const Json& i) { return i.is_boolean(); }))
    return v->get<std::vector<bool>>();
  problem(key, "wanted true, false or a list of " + std::to_string(count) + " of them");
  return std::vector<bool>(count, fallback);
}

const Json* ConfigReader::raw(const char* key) { return find(key); }

void ConfigReader::only(const char* key, const Json& fallback, const std::vector<Json>& supported) {
  const Json* v = find(key);
  const Json& value = v ? *v : fallback;
  if (!std::count(supported.begin(), supported.end(), value)) problem(key, "supported: " + listed(supported));
}

void ConfigReader::harmless(const std::vector<std::string>& keys) { known_.insert(keys.begin(), keys.end()); }

void ConfigReader::done() {
  for (const auto& [key, value] : json_.items())
    if (!key.starts_with('_') && !known_.contains(key))
      problem(key, "this key is not known here, so what it asks for would be left out. Supported: without it");
  if (problems_.empty()) return;
  std::string text;
  for (const std::string& p : problems_) text += (text.empty() ? "" : "\n") + p;
  fail(text, T2I_E_UNSUPPORTED);
}

}  // namespace t2i
