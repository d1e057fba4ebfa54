// The schema of configurations with what the installed plugins add to it.
#pragma once
#include <string>

#include "core/config/json_schema.h"
#include "core/plug/catalog.h"

namespace t2i {

// The key of the configuration that chooses among components of a kind: a model is the family's plugin.
inline std::string key_of_kind(const std::string& kind) { return kind == "model" ? "plugin" : kind; }

nlohmann::ordered_json schema_of(const Catalog& catalog);

}  // namespace t2i
