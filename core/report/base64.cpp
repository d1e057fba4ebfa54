#include "core/report/base64.h"

#include <openssl/evp.h>

#include <algorithm>

namespace t2i {

std::string base64(Bytes bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // and the zero that OpenSSL ends it with
  constexpr size_t block = 3 << 20;                         // lengths are int there
  size_t written = 0;
  for (size_t at = 0; at < bytes.size(); at += block) {
    Bytes part = bytes.subspan(at, std::min(block, bytes.size() - at));
    written += static_cast<size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()) + written,
                                                   reinterpret_cast<const unsigned char*>(part.data()), static_cast<int>(part.size())));
  }
  out.resize(written);
  return out;
}

std::string sha256_base64(Bytes bytes) {
  std::byte digest[32];
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest), nullptr, EVP_sha256(), nullptr);
  return base64(digest);
}

}  // namespace t2i
