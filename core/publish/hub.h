// hub.repo: final/ is uploaded by the program hf when the run is done, with a model card.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/config/config.h"
#include "core/publish/model_card.h"

namespace t2i {

// Before anything is loaded: E8012 (66) where hf is not on PATH, E8013 (78) where hub.repo is no name of a repository.
// Nothing to say without hub.repo.
std::vector<Error> check_hub(const Config& config);

// A sentence when nobody seems to be logged in, so that the upload would fail; tokens are looked for, not read.
std::string login_notice(const Config& config);

// What the card says as far as the run's folder and configuration tell it. `base_folder`: where the base model lies.
CardFacts card_facts(const Config& config, const std::string& base_folder, int64_t steps, bool edits);

// README.md and samples/ beside the weights in RUN/final; a README.md that is there already stays. May throw E4101/E4102.
void write_card(const Config& config, CardFacts facts);

// Runs `hf upload` and waits. `address` is where it can be seen. E8014 (74) with what to type when it fails: the run is
// done all the same.
std::optional<Error> upload_final(const Config& config, int64_t steps, std::string& address, const std::function<bool()>& stop);

}  // namespace t2i
