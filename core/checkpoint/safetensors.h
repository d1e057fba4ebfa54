// safetensors: the only code that knows the bytes (docs/format-safetensors.md). The reader is as strict as a file from
// a stranger needs: every rule of the format is checked against the file's size before anything is believed, no byte of
// data is left out or used twice, and nothing is executed. Tensors are spans of a memory map: opening costs the header.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"

namespace t2i {

// clang-format off
enum class Dtype : uint8_t {
  boolean, f4, f6_e2m3, f6_e3m2, u8, i8, f8_e5m2, f8_e4m3, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz,
  i16, u16, f16, bf16, i32, u32, f32, c64, f64, i64, u64,
};
// clang-format on
std::string_view dtype_name(Dtype dtype);              // as in the header: "BF16", "BOOL", "F8_E4M3"
std::optional<Dtype> dtype_of(std::string_view name);  // nothing for an unknown name
int dtype_bits(Dtype dtype);                           // of one element; 4 and 6 exist

struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<int64_t> shape;  // empty: a scalar
  Bytes bytes;                 // little-endian, row-major, within the map of the file that it came from
  int64_t elements() const;
};

struct SafetensorsFile {
  Path path;
  std::vector<TensorEntry> tensors;                  // in the order of their data
  std::map<std::string, size_t, std::less<>> index;  // name → place in `tensors`
  std::map<std::string, std::string> metadata;
  std::shared_ptr<const MappedFile> map;  // keeps `bytes` alive (null for parse_safetensors)
  const TensorEntry* find(std::string_view name) const;
  std::optional<Error> damage() const;  // ask after copying: E4108 when the file was changed meanwhile
};

// Errors say what the file is instead, where that can be told, and the way out: E2001 a pickle (65), E2002 a Git-LFS
// pointer (66), E2003 cut short (65), E2004 a web page (66), E2005 against a rule of the format (65), E4103 not there.
Result<SafetensorsFile> open_safetensors(const Path& path);

// The same of bytes in memory; `path` only for messages. Pure: this is what fuzzers call.
Result<SafetensorsFile> parse_safetensors(Bytes bytes, const Path& path);

// The error of a file that is not safetensors, from its name and first bytes: a pickle, a pointer, a web page; else
// nothing.
std::optional<Error> foreign_file(const Path& path, Bytes start, uint64_t size);

bool is_pickle_name(const Path& path);  // .ckpt .bin .pt .pth .pkl .pickle
// The command line that turns the one file into the other.
std::string pickle_conversion(const Path& pickle, const Path& safetensors);

// ---- writing ----

struct TensorSource {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<int64_t> shape;
  Bytes bytes;                                        // the data, or where it is not in memory yet:
  std::function<void(const ByteSink&)> produce = {};  // hands exactly the tensor's bytes to the sink, in pieces
};
using SafetensorsMetadata = std::map<std::string, std::string>;

// The size that the file will have, to the byte.
uint64_t safetensors_size(const std::vector<TensorSource>& tensors, const SafetensorsMetadata& metadata = {});

// The file's bytes in order. Tensors are sorted by element size (largest first), then name; data begins at a multiple
// of 64. Throws Failure E2006 where a tensor's bytes do not fit its shape or a name comes twice.
void stream_safetensors(const std::vector<TensorSource>& tensors, const SafetensorsMetadata& metadata,
                        const ByteSink& sink);

// Written beside, synced, renamed. Returns the XXH3-128 of all bytes.
std::string write_safetensors(const Path& path, const std::vector<TensorSource>& tensors,
                              const SafetensorsMetadata& metadata = {}, FileSystem& disk = real_file_system());

}  // namespace t2i
