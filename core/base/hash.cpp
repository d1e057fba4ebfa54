#include "core/base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <new>

namespace t2i {
namespace {

std::string hex_of(const unsigned char* bytes, size_t size) {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < size; ++i) out += {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
  return out;
}

std::string hex_of(XXH128_hash_t hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  return hex_of(bytes.digest, sizeof bytes.digest);
}

struct Sha256 {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
  Sha256() {
    if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  void update(Bytes bytes) { EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()); }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(context.get(), digest, &size);
    return hex_of(digest, size);
  }
};

}  // namespace

Xxh3::Xxh3() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  reset();
}
Xxh3::~Xxh3() = default;
Xxh3::Xxh3(Xxh3&&) noexcept = default;
Xxh3& Xxh3::operator=(Xxh3&&) noexcept = default;
void Xxh3::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }
void Xxh3::update(Bytes bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }
std::string Xxh3::hex() const { return hex_of(XXH3_128bits_digest(state_.get())); }
void Xxh3::reset() { XXH3_128bits_reset(state_.get()); }

std::string xxh3_hex(Bytes bytes) { return hex_of(XXH3_128bits(bytes.data(), bytes.size())); }

Result<std::string> xxh3_of_file(const Path& path, FileSystem& disk) {
  Xxh3 hash;
  if (auto e = stream_file(
          path, [&](Bytes piece) { hash.update(piece); }, disk))
    return *e;
  return hash.hex();
}

std::string sha256_hex(Bytes bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

Result<std::string> sha256_of_file(const Path& path) {
  Sha256 hash;
  if (auto e = stream_file(path, [&](Bytes piece) { hash.update(piece); })) return *e;
  return hash.hex();
}

}  // namespace t2i
