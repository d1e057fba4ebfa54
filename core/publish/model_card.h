// README.md of an uploaded model: what it is made from, how, and what it draws, in the form that the hub reads.
#pragma once
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/config/config.h"

namespace t2i {

struct CardFacts {
  std::string repo;             // "org/name"
  std::string base_model;       // "org/name" where it came from the hub, else a folder's own name
  bool base_is_on_hub = false;
  std::string license, license_name, license_link;  // of the card's head; empty: not known
  std::string pipeline;         // "StableDiffusionPipeline"; empty for an adapter
  bool adapter = false, edits = false;  // low-rank; reads a picture
  std::vector<std::string> prompts, pictures;  // pictures: paths within the repository, one a prompt; may be fewer
  int64_t steps = 0;
  Json settings = Json::object();  // key → value as YAML, of what was set
  std::string version;
};

// The whole text. Prompts and names are quoted for YAML above and for Markdown below.
std::string model_card(const CardFacts& facts);

// license, license_name and license_link out of the head of another card; empty texts where it has none.
struct License {
  std::string id, name, link;
};
License license_of_card(const std::string& readme);

// What was set, with paths cut to their last part: nobody's folders are published.
Json settings_for_card(const Config& config);

}  // namespace t2i
