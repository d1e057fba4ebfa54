// Choosing parameters by name.
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/model/params.h"

namespace t2i {

// `*` stands for any text. An empty list accepts everything.
bool matches_any(const std::string& name, const std::vector<std::string>& patterns);

// `asked` with the model's own words for kinds of parameters (describe(): "parameter_groups") replaced by their patterns.
std::vector<std::string> expand_groups(const std::vector<std::string>& asked, const Json& about);

// Trained parameters that the model asks to be watched (describe(): "watched_gradients": patterns).
std::vector<const Parameter*> watched_parameters(const ParamStore& store, const Json& about);

}  // namespace t2i
