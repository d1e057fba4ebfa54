#include <algorithm>
#include <set>

#include "core/base/file_progress.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/base/number_text.h"
#include "core/checkpoint/safetensors.h"

namespace t2i {
namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  fail({"tensor '" + name + "'", what, "", "this is an error in the program that writes it; please report it", "E2006",
        Exit::failed});
}

uint64_t bytes_of(const TensorSource& t) {
  uint64_t bits = static_cast<uint64_t>(dtype_bits(t.dtype));
  for (int64_t dim : t.shape)
    if (dim < 0 || __builtin_mul_overflow(bits, static_cast<uint64_t>(dim), &bits))
      refuse(t.name, "its shape cannot be written");
  if (bits % 8) refuse(t.name, "its elements do not fill whole bytes");
  return bits / 8;
}

// Length and header as they stand in the file, after sorting `tensors` into the order of their data.
std::string header_of(std::vector<const TensorSource*>& tensors, const SafetensorsMetadata& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorSource* a, const TensorSource* b) {
    int left = dtype_bits(a->dtype), right = dtype_bits(b->dtype);
    return left != right ? left > right : a->name < b->name;
  });
  std::set<std::string_view> names;
  std::string json = "{";
  uint64_t offset = 0;
  try {
    if (!metadata.empty()) json += "\"__metadata__\":" + Json(metadata).dump();
    for (const TensorSource* t : tensors) {
      if (t->name == "__metadata__") refuse(t->name, "this name is the format's own");
      if (!names.insert(t->name).second) refuse(t->name, "this name comes twice");
      uint64_t end = offset + bytes_of(*t);
      if (json.size() > 1) json += ',';
      json += Json(t->name).dump() + ":{\"dtype\":\"" + std::string(dtype_name(t->dtype)) +
              "\",\"shape\":" + Json(t->shape).dump() + ",\"data_offsets\":[" + std::to_string(offset) + "," +
              std::to_string(end) + "]}";
      offset = end;
    }
  } catch (const Json::type_error&) {  // thrown for names that are not UTF-8
    refuse("?", "a name or a metadata text is not UTF-8");
  }
  json += '}';
  json.append((64 - (8 + json.size()) % 64) % 64, ' ');
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(json.size() >> (8 * i) & 255);
  return out + json;
}

std::vector<const TensorSource*> pointers(const std::vector<TensorSource>& tensors) {
  std::vector<const TensorSource*> out;
  for (const TensorSource& t : tensors) out.push_back(&t);
  return out;
}

}  // namespace

uint64_t safetensors_size(const std::vector<TensorSource>& tensors, const SafetensorsMetadata& metadata) {
  std::vector<const TensorSource*> order = pointers(tensors);
  uint64_t size = header_of(order, metadata).size();
  for (const TensorSource& t : tensors) size += bytes_of(t);
  return size;
}

void stream_safetensors(const std::vector<TensorSource>& tensors, const SafetensorsMetadata& metadata,
                        const ByteSink& sink) {
  std::vector<const TensorSource*> order = pointers(tensors);
  std::string header = header_of(order, metadata);
  for (const TensorSource* t : order)
    if (!t->produce && t->bytes.size() != bytes_of(*t))
      refuse(t->name, "it has " + grouped(t->bytes.size()) + " bytes where its shape needs " + grouped(bytes_of(*t)));
  sink(as_bytes(header));
  for (const TensorSource* t : order) {
    if (!t->produce) {
      sink(t->bytes);
      continue;
    }
    uint64_t given = 0, wanted = bytes_of(*t);
    t->produce([&](Bytes piece) {
      given += piece.size();
      if (given > wanted) refuse(t->name, "more bytes came than the " + grouped(wanted) + " that its shape needs");
      sink(piece);
    });
    if (given != wanted) refuse(t->name, grouped(given) + " bytes came where its shape needs " + grouped(wanted));
  }
}

std::string write_safetensors(const Path& path, const std::vector<TensorSource>& tensors,
                              const SafetensorsMetadata& metadata, FileSystem& disk) {
  AtomicFile file(path, disk);
  Xxh3 hash;
  const std::string name = path.filename().string();
  uint64_t done = 0;
  const uint64_t total = file_progress() ? safetensors_size(tensors, metadata) : 0;
  stream_safetensors(tensors, metadata, [&](Bytes piece) {
    hash.update(piece);
    file.write(piece);
    tell_file_progress("writing", name, done += piece.size(), total);
  });
  file.commit();
  return hash.hex();
}

}  // namespace t2i
