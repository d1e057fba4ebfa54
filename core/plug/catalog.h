// What the installed plugins offer, read from their descriptors alone: no engine, no LibTorch, and of the plugins' code
// nothing but the function that hands the descriptor out. For the schema, for completion, for questions, for the doctor.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace t2i {

struct Offer {
  std::string kind, id, doc;       // "task", "text", a sentence
  nlohmann::json options;          // in the form of schema_check.h
  std::vector<std::string> opens;  // a model's pipeline classes
  std::string path;                // of the library
};

struct Catalog {
  std::string interface;                      // "0.1": of the plugins that this core takes
  std::vector<std::filesystem::path> places;  // that were searched
  size_t libraries = 0;                       // that were read
  std::vector<Offer> offers;                  // by kind and id
  std::vector<Error> refused;                 // libraries, or single components, with the reason
  std::vector<std::string> not_read;          // libraries that need LibTorch to be opened: the engine knows of them

  std::vector<std::string> ids(const std::string& kind) const;
  const Offer* find(const std::string& kind, const std::string& id) const;
};

// `extra` is --plugin-path; the rest is plugin_search_path()'s. A library that is not beside the engine is opened in a
// child process first. Failure E2050 as there.
Catalog read_catalog(const std::vector<std::string>& extra = {});

}  // namespace t2i
