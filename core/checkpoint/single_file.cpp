#include "core/checkpoint/single_file.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace t2i {
namespace {

// What programs that pack weights leave beside them.
bool tells_of_packing(std::string_view name) {
  for (const char* end : {"scaled_fp8", ".scale_weight", ".scale_input", ".weight_scale", ".absmax", ".quant_map", ".comfy_quant"})
    if (name.ends_with(end)) return true;
  return name.find(".quant_state.") != name.npos;
}

struct Held {
  FilePlace place;
  const TensorEntry* entry;
};

// Where the file has the parameter; entry is null where it has it not.
Held held(const SafetensorsFile& file, const FileForm& form, const std::string& prefix, const std::string& parameter) {
  std::vector<FilePlace> places = places_of(form, parameter);
  for (const FilePlace& place : places)
    if (const TensorEntry* entry = file.find(prefix + place.tensor)) return {place, entry};
  return {places.empty() ? FilePlace{parameter, nullptr, 0} : places.front(), nullptr};
}

// Files leave such a parameter out where it is the identity matrix; one that is not square cannot be it.
bool is_left_out(const Held& from, const NamedShape& parameter) {
  const bool square = parameter.shape.size() == 2 && parameter.shape[0] == parameter.shape[1];
  return !from.entry && square && from.place.row && from.place.row->change == FileRow::Change::identity;
}

class PartReader {
 public:
  PartReader(WeightSet& set, const std::vector<NamedShape>& parameters) : set_(set) {
    for (const NamedShape& p : parameters) shapes_[p.name] = &p.shape;
  }

  void add(const NamedShape& parameter, const Held& from) {
    TensorEntry entry = *from.entry;
    entry.name = parameter.name;
    const FilePlace& place = from.place;
    if (place.row->parameters.size() > 1) take_rows(entry, place, parameter);
    if (place.row->change == FileRow::Change::conv1x1)
      while (entry.shape.size() > parameter.shape.size() && entry.shape.back() == 1) entry.shape.pop_back();
    if (place.row->change == FileRow::Change::swapped) swap_halves(entry);
    if (place.row->change == FileRow::Change::transposed) transpose(entry);
    keep(std::move(entry));
  }

  void add_identity(const NamedShape& parameter) {
    auto n = static_cast<size_t>(parameter.shape.at(0));
    std::vector<std::byte>& bytes = set_.reordered.emplace_back(n * n * sizeof(float));
    const float one = 1;
    for (size_t i = 0; i < n; ++i) std::memcpy(bytes.data() + (i * n + i) * sizeof one, &one, sizeof one);
    keep({parameter.name, Dtype::f32, parameter.shape, bytes});
  }

  void keep(TensorEntry entry) {
    const TensorEntry& kept = set_.made.emplace_back(std::move(entry));
    set_.tensors[kept.name] = &kept;
  }

 private:
  void take_rows(TensorEntry& entry, const FilePlace& place, const NamedShape& parameter) const {
    int64_t before = 0, own = 0, all = 0;
    std::vector<std::string> names = parameters_at(place, parameter.name);
    for (size_t i = 0; i < names.size(); ++i) {
      auto shape = shapes_.find(names[i]);
      int64_t rows = shape == shapes_.end() || shape->second->empty() ? 0 : shape->second->front();
      if (i < place.at) before += rows;
      if (i == place.at) own = rows;
      all += rows;
    }
    if (entry.shape.empty() || entry.shape[0] != all || !all) return;
    size_t row_bytes = entry.bytes.size() / static_cast<size_t>(all);
    entry.bytes = entry.bytes.subspan(static_cast<size_t>(before) * row_bytes, static_cast<size_t>(own) * row_bytes);
    entry.shape[0] = own;
  }

  void swap_halves(TensorEntry& entry) {
    if (entry.shape.empty() || entry.shape[0] % 2) return;
    size_t half = entry.bytes.size() / 2;
    std::vector<std::byte>& bytes = set_.reordered.emplace_back(entry.bytes.size());
    std::ranges::copy(entry.bytes.subspan(half), bytes.begin());
    std::ranges::copy(entry.bytes.first(half), bytes.begin() + static_cast<std::ptrdiff_t>(half));
    entry.bytes = bytes;
  }

  void transpose(TensorEntry& entry) {
    if (entry.shape.size() != 2) return;
    auto rows = static_cast<size_t>(entry.shape[0]), columns = static_cast<size_t>(entry.shape[1]);
    size_t width = static_cast<size_t>(dtype_bits(entry.dtype)) / 8;
    std::vector<std::byte>& bytes = set_.reordered.emplace_back(entry.bytes.size());
    for (size_t r = 0; r < rows; ++r)
      for (size_t c = 0; c < columns; ++c)
        std::memcpy(&bytes[(c * rows + r) * width], &entry.bytes[(r * columns + c) * width], width);
    entry.bytes = bytes;
    std::swap(entry.shape[0], entry.shape[1]);
  }

  WeightSet& set_;
  std::map<std::string, const std::vector<int64_t>*> shapes_;
};

}  // namespace

Result<SafetensorsFile> open_single_file(const Path& path) {
  Result<SafetensorsFile> file = open_safetensors(path);
  if (!file) return file;
  for (const TensorEntry& tensor : file->tensors)
    if (tells_of_packing(tensor.name) || dtype_bits(tensor.dtype) < 8)
      return Error{path.string(),
                   "holds packed weights, as '" + tensor.name + "' tells",
                   "t2i reads float32, float16, bfloat16 and plain float8",
                   "take the model's file in one of these",
                   "E2018",
                   Exit::bad_data};
  return file;
}

std::optional<PartInFile> find_part(const SafetensorsFile& file, const std::vector<FileForm>& forms,
                                    const std::vector<NamedShape>& parameters, bool alone) {
  PartInFile best;
  for (const FileForm& form : forms)
    for (const std::string& prefix : form.prefixes) {
      if (prefix.empty() && !alone) continue;
      PartInFile here{&form, prefix, 0, {}};
      std::set<std::string> missing;
      for (const NamedShape& parameter : parameters) {
        Held at = held(file, form, prefix, parameter.name);
        if (at.entry) ++here.found;
        else if (!is_left_out(at, parameter))
          if (missing.insert(prefix + at.place.tensor).second) here.missing.push_back(prefix + at.place.tensor);
      }
      if (here.found > best.found) best = std::move(here);
    }
  return best.found ? std::optional(best) : std::nullopt;
}

const TensorEntry* tensor_of(const SafetensorsFile& file, const PartInFile& part, const std::string& parameter) {
  return held(file, *part.form, part.prefix, parameter).entry;
}

Result<WeightSet> part_of_file(SafetensorsFile file, const PartInFile& part, const std::vector<NamedShape>& parameters) {
  WeightSet set;
  set.files.push_back(std::move(file));
  const SafetensorsFile& source = set.files.front();
  PartReader reader(set, parameters);
  std::set<const TensorEntry*> used;
  for (const NamedShape& parameter : parameters) {
    Held from = held(source, *part.form, part.prefix, parameter.name);
    if (from.entry) used.insert(from.entry), reader.add(parameter, from);
    else if (is_left_out(from, parameter)) reader.add_identity(parameter);
  }
  for (const TensorEntry& tensor : source.tensors) {
    if (!tensor.name.starts_with(part.prefix) || used.contains(&tensor)) continue;
    if (set.tensors.contains(tensor.name)) continue;
    if (!is_ignored(*part.form, std::string_view(tensor.name).substr(part.prefix.size()))) reader.keep(tensor);
  }
  if (std::optional<Error> changed = set.damage()) return *changed;
  return set;
}

}  // namespace t2i
