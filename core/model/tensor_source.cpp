#include "core/model/tensor_source.h"

#include <ATen/ATen.h>

#include "core/model/load.h"
#include "core/model/stored_pieces.h"

namespace t2i {
namespace {

bool is_float8(at::ScalarType type) { return type == at::kFloat8_e4m3fn || type == at::kFloat8_e5m2; }

at::ScalarType written_type(const TensorEntry& entry, std::optional<at::ScalarType> asked, bool no_float8) {
  at::ScalarType stored = scalar_type(entry.dtype);
  if (!at::isFloatingType(stored)) return stored;
  if (asked) return *asked;
  return no_float8 && is_float8(stored) ? at::kBFloat16 : stored;
}

at::Tensor as_written(const at::Tensor& stored, at::ScalarType type) {
  return is_float8(type) || !is_float8(stored.scalar_type()) ? stored.to(type) : stored.to(at::kFloat).to(type);
}

at::Tensor converted(const TensorEntry& entry, at::ScalarType type, const TensorEdits* edits) {
  at::Tensor stored = stored_tensor(entry);
  if (edits)
    if (auto edit = edits->find(&entry); edit != edits->end()) return edit->second(stored.to(at::kFloat)).to(type).contiguous();
  return as_written(stored, type);
}

Bytes bytes_of(const at::Tensor& t) { return std::span(static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()); }

bool is_edited(const TensorEntry& entry, const TensorEdits* edits) { return edits && edits->contains(&entry); }

// Elements `begin` to `end`, converted a piece at a time.
void put_pieces(const TensorEntry& entry, int64_t begin, int64_t end, const WeightSet& weights, at::ScalarType type, const ByteSink& sink) {
  for_each_piece(entry, begin, end, unload_of(weights), [&](const at::Tensor& piece, int64_t) { sink(bytes_of(as_written(piece, type))); });
}

}  // namespace

TensorSource converted_source(const std::string& name, const TensorEntry& entry, const WeightSet& weights,
                              std::optional<at::ScalarType> dtype, bool no_float8, const TensorEdits* edits) {
  at::ScalarType type = written_type(entry, dtype, no_float8);
  TensorSource source{name, stored_dtype(type), entry.shape, {}, {}};
  source.produce = [&entry, &weights, type, edits](const ByteSink& sink) {
    if (!is_edited(entry, edits)) return put_pieces(entry, 0, entry.elements(), weights, type, sink);
    sink(bytes_of(converted(entry, type, edits)));
    weights.unload(entry);
  };
  return source;
}

TensorSource joined_source(const std::string& name, const std::vector<const TensorEntry*>& entries, FileRow::Change change,
                           const WeightSet& weights, std::optional<at::ScalarType> dtype, const TensorEdits* edits) {
  using enum FileRow::Change;
  const TensorEntry& first = *entries.front();
  at::ScalarType type = written_type(first, dtype, false);
  TensorSource source{name, stored_dtype(type), first.shape, {}, {}};
  for (size_t i = 1; i < entries.size(); ++i) source.shape[0] += entries[i]->shape[0];
  if (change == conv1x1 && source.shape.size() == 2) source.shape.insert(source.shape.end(), {1, 1});
  if (change == transposed) std::swap(source.shape.at(0), source.shape.at(1));
  source.produce = [entries, change, type, &weights, edits](const ByteSink& sink) {
    for (const TensorEntry* entry : entries) {
      if (const int64_t n = entry->elements(); change != transposed && !is_edited(*entry, edits)) {
        const int64_t half = change == swapped ? n / 2 : 0;  // the halves are of rows, so of all
        put_pieces(*entry, half, n, weights, type, sink), put_pieces(*entry, 0, half, weights, type, sink);
        continue;
      }
      at::Tensor t = converted(*entry, type, edits);
      if (change == swapped) t = at::cat({t.narrow(0, t.size(0) / 2, t.size(0) / 2), t.narrow(0, 0, t.size(0) / 2)});
      if (change == transposed) t = t.t();
      sink(bytes_of(t.contiguous()));
      weights.unload(*entry);
    }
  };
  return source;
}

void replace_tensor(WeightSet& weights, const std::string& name, const at::Tensor& value) {
  TensorEntry entry = *weights.tensors.at(name);
  const at::Tensor stored = value.to(at::kCPU, scalar_type(entry.dtype)).contiguous();
  entry.shape = stored.sizes().vec();
  const Bytes bytes = bytes_of(stored);
  entry.bytes = weights.reordered.emplace_back(bytes.begin(), bytes.end());
  weights.tensors[name] = &weights.made.emplace_back(std::move(entry));
}

bool is_identity(const TensorEntry& entry) {
  if (entry.shape.size() != 2 || entry.shape[0] != entry.shape[1]) return false;
  return stored_tensor(entry).to(at::kFloat).equal(at::eye(entry.shape[0], at::kFloat));
}

std::string torch_name(at::ScalarType dtype) {
  return dtype == at::kHalf ? "float16" : dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

}  // namespace t2i
