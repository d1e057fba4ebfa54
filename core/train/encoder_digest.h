// What an entry of a cache depends on beside its picture or text: the encoders, and how they are used.
#pragma once
#include <string>

#include "core/cache/known_files.h"
#include "core/session.h"

namespace t2i {

// 32 digits over the names, types, shapes and contents of a part's tensors: the same however they are spread over files.
// Read once; as long as the system says that the files are the same, `known` tells.
std::string weights_digest(const Session& session, const std::string& part, KnownFiles& known);

// 32 digits over all that the tensors of a `kind` ("latents", "text") depend on: the parts' weights, configurations and
// types, the tokenizers' files, the family's plugin and its options, and the form in which they are stored.
std::string encoder_fingerprint(const Session& session, const Config& config, const std::string& kind, KnownFiles& known);

// The role whose parts encode a kind.
const char* role_of_kind(const std::string& kind);

}  // namespace t2i
