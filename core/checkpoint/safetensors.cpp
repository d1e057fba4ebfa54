#include "core/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <set>

#include "core/base/json.h"
#include "core/base/number_text.h"

namespace t2i {
namespace {

constexpr uint64_t max_header_bytes = 100'000'000;  // the format's own limit

struct DtypeRow {
  std::string_view name;
  int bits;
};
// In the order of Dtype.
constexpr std::array<DtypeRow, 22> dtypes = {{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

Error against_rules(const Path& path, const std::string& what) {
  return {path.string(),
          "not a valid safetensors file: " + what,
          "",
          "get the file anew; if it is the same again, whoever wrote it has to repair it",
          "E2005",
          Exit::bad_data};
}

Error cut_short(const Path& path, const std::string& promised, uint64_t promised_bytes, uint64_t size) {
  return {
      path.string(),
      promised + " " + grouped(promised_bytes) + " bytes, file has " + grouped(size) + " (" +
          std::to_string(static_cast<int>(100.0 * static_cast<double>(size) / static_cast<double>(promised_bytes))) +
          " %)",
      "The download did not finish",
      "rerun hf download (it resumes)",
      "E2003",
      Exit::bad_data};
}

// dtype, shape and data_offsets of one tensor, each checked; the bytes are cut from `data`.
struct Placed {
  TensorEntry entry;
  uint64_t begin = 0, end = 0;
};
Result<Placed> place(const std::string& name, const Json& info, const Path& path) {
  auto wrong = [&](const std::string& what) { return against_rules(path, "tensor '" + name + "': " + what); };
  if (!info.is_object()) return wrong("its description is not an object");
  for (const char* field : {"dtype", "shape", "data_offsets"})
    if (!info.contains(field)) return wrong(std::string("'") + field + "' is missing");
  Placed placed;
  placed.entry.name = name;
  std::optional<Dtype> dtype =
      info["dtype"].is_string() ? dtype_of(info["dtype"].get_ref<const std::string&>()) : std::nullopt;
  if (!dtype) return wrong("unknown dtype " + info["dtype"].dump(-1, ' ', true, Json::error_handler_t::replace));
  placed.entry.dtype = *dtype;

  const Json& shape = info["shape"];
  if (!shape.is_array()) return wrong("'shape' is not a list");
  uint64_t bits = 1;
  for (const Json& dim : shape) {
    if (!dim.is_number_unsigned() || dim.get<uint64_t>() > INT64_MAX)
      return wrong("a dimension is not a whole number from 0 on");
    placed.entry.shape.push_back(static_cast<int64_t>(dim.get<uint64_t>()));
    if (__builtin_mul_overflow(bits, dim.get<uint64_t>(), &bits))
      return wrong("its shape has more elements than can be counted");
  }
  if (__builtin_mul_overflow(bits, static_cast<uint64_t>(dtype_bits(*dtype)), &bits))
    return wrong("its shape has more bits than can be counted");
  if (bits % 8) return wrong("its elements do not fill whole bytes");

  const Json& offsets = info["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned())
    return wrong("'data_offsets' is not a pair of whole numbers from 0 on");
  placed.begin = offsets[0].get<uint64_t>();
  placed.end = offsets[1].get<uint64_t>();
  if (placed.begin > placed.end) return wrong("its data end before they begin");
  if (placed.end - placed.begin != bits / 8)
    return wrong("dtype and shape need " + grouped(bits / 8) + " bytes, data_offsets give " +
                 grouped(placed.end - placed.begin));
  return placed;
}

}  // namespace

std::string_view dtype_name(Dtype dtype) { return dtypes[static_cast<size_t>(dtype)].name; }
int dtype_bits(Dtype dtype) { return dtypes[static_cast<size_t>(dtype)].bits; }
std::optional<Dtype> dtype_of(std::string_view name) {
  for (size_t i = 0; i < dtypes.size(); ++i)
    if (dtypes[i].name == name) return static_cast<Dtype>(i);
  return std::nullopt;
}

int64_t TensorEntry::elements() const {
  int64_t n = 1;
  for (int64_t dim : shape) n *= dim;
  return n;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  auto at = index.find(name);
  return at == index.end() ? nullptr : &tensors[at->second];
}

std::optional<Error> SafetensorsFile::damage() const { return map ? map->damage() : std::nullopt; }

Result<SafetensorsFile> parse_safetensors(Bytes bytes, const Path& path) {
  // A name like .ckpt is believed at once. What the first bytes say is asked only when the format does not fit, since a
  // header's length may look like the beginning of something else.
  Bytes start = bytes.first(std::min<size_t>(bytes.size(), 512));
  auto refuse = [&](Error otherwise) -> Error {
    std::optional<Error> other = foreign_file(path, start, bytes.size());
    return other ? *other : otherwise;
  };
  if (is_pickle_name(path)) return refuse(against_rules(path, "its name is that of a pickle"));
  if (bytes.empty()) return against_rules(path, "it is empty");
  if (bytes.size() < 8) return refuse(against_rules(path, "it has " + grouped(bytes.size()) + " bytes"));

  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i)
    header_bytes = header_bytes << 8 | std::to_integer<uint64_t>(bytes[static_cast<size_t>(i)]);
  Bytes after = bytes.subspan(8);
  if (header_bytes > max_header_bytes)
    return refuse(against_rules(path, "its header would have " + grouped(header_bytes) + " bytes"));
  if (header_bytes < 2) return refuse(against_rules(path, "its header would have " + grouped(header_bytes) + " bytes"));
  if (!after.empty() && after[0] != std::byte{'{'})
    return refuse(against_rules(path, "its header does not begin with '{'"));
  if (header_bytes > after.size()) return cut_short(path, "header and its length have", header_bytes + 8, bytes.size());

  std::string_view header(reinterpret_cast<const char*>(after.data()), header_bytes);
  size_t last = header.find_last_not_of(' ');
  if (header[last] != '}') return against_rules(path, "its header does not end with '}' and spaces");
  JsonRules rules;
  rules.max_bytes = max_header_bytes;
  rules.id = "E2005";
  Result<Json> json = parse_json(header, path.string() + " (header)", rules);
  if (!json) return json.error();

  SafetensorsFile file;
  file.path = path;
  std::vector<Placed> placed;
  for (const auto& [name, info] : json->items()) {
    if (name == "__metadata__") {
      if (!info.is_object()) return against_rules(path, "'__metadata__' is not an object");
      for (const auto& [key, value] : info.items()) {
        if (!value.is_string())
          return against_rules(path, "'__metadata__' has a value that is no string, of '" + key + "'");
        file.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    Result<Placed> one = place(name, info, path);
    if (!one) return one.error();
    placed.push_back(std::move(*one));
  }

  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return std::tie(a.begin, a.end, a.entry.name) < std::tie(b.begin, b.end, b.entry.name);
  });
  uint64_t expected = 0;
  for (const Placed& p : placed) {  // contiguous: what one tensor ends, the next begins
    if (p.begin != expected)
      return against_rules(path, "tensor '" + p.entry.name + "' begins at " + grouped(p.begin) +
                                     " where the data before it end at " + grouped(expected));
    expected = p.end;
  }
  Bytes data = after.subspan(header_bytes);
  if (expected > data.size()) {
    uint64_t promised = 0;
    if (__builtin_add_overflow(expected, header_bytes + 8, &promised))
      return against_rules(path, "its header promises more bytes than can be counted");
    return cut_short(path, "header promises", promised, bytes.size());
  }
  if (expected < data.size())
    return against_rules(path, grouped(data.size() - expected) + " bytes after the last tensor belong to nothing");
  for (Placed& p : placed) {
    p.entry.bytes = data.subspan(p.begin, p.end - p.begin);
    file.index[p.entry.name] = file.tensors.size();
    file.tensors.push_back(std::move(p.entry));
  }
  return file;
}

Result<SafetensorsFile> open_safetensors(const Path& path) {
  Result<std::shared_ptr<const MappedFile>> map = MappedFile::open(path);
  if (!map) return map.error();
  Result<SafetensorsFile> file = parse_safetensors((*map)->bytes(), path);
  if (std::optional<Error> damage = (*map)->damage()) return *damage;  // the header itself may be zeros by now
  if (file) file->map = *map;
  return file;
}

}  // namespace t2i
