// What lies where in a tar: the headers are walked, the members' bytes are not read. POSIX ustar and pax, GNU's long names,
// numbers in base 256.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/base/error.h"

namespace t2i {

struct TarMember {
  std::string name;
  uint64_t offset = 0, bytes = 0;  // of its contents in the file
  std::string link_to;             // a hard link to an earlier member, which has the contents; else empty
};

// Calls `visit` for each file and hard link, in order, until it returns false; folders, symbolic links and devices are passed
// over. `bytes` is the file's size. E2133 where it is no tar, is compressed, damaged, or ends within a member. pread alone is used.
std::optional<Error> walk_tar(int fd, uint64_t bytes, const std::string& where,
                              const std::function<bool(const TarMember&)>& visit);

}  // namespace t2i
