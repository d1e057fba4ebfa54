// Base64, and the SHA-256 that a content security policy names a script by.
#pragma once
#include <string>

#include "core/base/file.h"

namespace t2i {

std::string base64(Bytes bytes);
std::string sha256_base64(Bytes bytes);

}  // namespace t2i
