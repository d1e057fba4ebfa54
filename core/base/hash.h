// Hashes. XXH3-128 finds damage (faster than memory; not against an attacker); SHA-256 names files as the model hubs
// do.
#pragma once
#include <memory>
#include <string>

#include "core/base/file.h"

struct XXH3_state_s;

namespace t2i {

// XXH3-128 of bytes given in pieces.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  Xxh3(Xxh3&&) noexcept;
  Xxh3& operator=(Xxh3&&) noexcept;
  void update(Bytes bytes);
  std::string hex() const;  // of all so far, 32 lower-case digits, most significant first; more may follow
  void reset();

 private:
  struct Free {
    void operator()(XXH3_state_s*) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

std::string xxh3_hex(Bytes bytes);
Result<std::string> xxh3_of_file(const Path& path, FileSystem& disk = real_file_system());
std::string sha256_hex(Bytes bytes);
Result<std::string> sha256_of_file(const Path& path);  // 64 lower-case digits

}  // namespace t2i
