// Where the bytes of a data set's pictures come from: files of a folder, members of tar shards, cells of a table. A row
// names its pictures; what the name means is known here alone. All of it for any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/data/picture_size.h"

namespace t2i {

using PictureBytes = std::vector<std::byte>;

class Pictures {
 public:
  virtual ~Pictures() = default;

  // Is it there, and how many bytes has it? In messages it is `subject` ("file_name 'a.png'"), found at `where`.
  // Errors: E3008 not there, E3010 not a file that can be read, E3005 it leads out of the folder.
  virtual Result<uint64_t> bytes_of(const std::string& name, const std::string& where, const std::string& subject) const = 0;

  // The whole of it, E3007 where that is more than max_bytes; or its beginning, `bytes` or as many as there are.
  virtual Result<PictureBytes> read(const std::string& name, uint64_t max_bytes, const std::string& where,
                                    const std::string& subject) const = 0;
  virtual Result<PictureBytes> begin(const std::string& name, uint64_t bytes, const std::string& where,
                                     const std::string& subject) const = 0;

  virtual std::string shown(const std::string& name) const = 0;  // as messages have it
  virtual std::string file(const std::string&) const { return ""; }  // the path of a file that holds this picture and nothing else
  virtual std::string own_name(const std::string& name) const { return name; }  // as whoever made the data called it; may be empty
  virtual bool are_named() const { return true; }  // own_name() costs nothing and is a path
};

// By path, relative to `root` and not out of it unless allow_outside.
std::shared_ptr<const Pictures> pictures_in_folder(const std::string& root, bool allow_outside);

// From its first bytes; nothing where they are none of a JPEG, PNG or WebP. Errors as of begin(). `first`, if asked for, gets
// the bytes that were read first, 16 KiB or all there are.
Result<std::optional<PictureSize>> size_of_picture(const Pictures& pictures, const std::string& name, const std::string& where,
                                                   const std::string& subject, PictureBytes* first = nullptr);

}  // namespace t2i
