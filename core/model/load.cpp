#include "core/model/load.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/base/file_progress.h"
#include "core/model/block_swap.h"
#include "core/model/packed_files.h"
#include "core/model/stored_pieces.h"

namespace t2i {

at::ScalarType scalar_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::boolean: return at::kBool;
    case Dtype::u8: return at::kByte;
    case Dtype::i8: return at::kChar;
    case Dtype::i16: return at::kShort;
    case Dtype::f16: return at::kHalf;
    case Dtype::bf16: return at::kBFloat16;
    case Dtype::i32: return at::kInt;
    case Dtype::f32: return at::kFloat;
    case Dtype::f64: return at::kDouble;
    case Dtype::f8_e4m3: return at::kFloat8_e4m3fn;
    case Dtype::f8_e5m2: return at::kFloat8_e5m2;
    case Dtype::i64: return at::kLong;
    default: TORCH_CHECK(false, "tensors of type ", std::string(dtype_name(dtype)), " are not supported here");
  }
}

Dtype stored_dtype(at::ScalarType type) {
  switch (type) {
    case at::kBool: return Dtype::boolean;
    case at::kByte: return Dtype::u8;
    case at::kChar: return Dtype::i8;
    case at::kShort: return Dtype::i16;
    case at::kHalf: return Dtype::f16;
    case at::kBFloat16: return Dtype::bf16;
    case at::kInt: return Dtype::i32;
    case at::kFloat: return Dtype::f32;
    case at::kDouble: return Dtype::f64;
    case at::kFloat8_e4m3fn: return Dtype::f8_e4m3;
    case at::kFloat8_e5m2: return Dtype::f8_e5m2;
    case at::kLong: return Dtype::i64;
    default: TORCH_CHECK(false, "tensors of type ", type, " cannot be stored");
  }
}

at::Tensor stored_tensor(const TensorEntry& entry) {
  return at::from_blob(const_cast<std::byte*>(entry.bytes.data()), entry.shape, at::TensorOptions().dtype(scalar_type(entry.dtype)));
}

TensorSource tensor_source(const std::string& name, const at::Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous() && tensor.is_cpu(), "only contiguous tensors in host memory are written: ", name);
  auto bytes = std::span(static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes());
  return {name, stored_dtype(tensor.scalar_type()), tensor.sizes().vec(), bytes, {}};
}

// The tensor under the name itself, with or without the optional prefix, or under an older name.
const TensorEntry* find_tensor(const WeightSet& weights, const std::string& name, const LoadRules& rules) {
  if (const TensorEntry* e = weights.find(name)) return e;
  const std::string& prefix = rules.optional_prefix;
  if (!prefix.empty())
    if (const TensorEntry* e = name.starts_with(prefix) ? weights.find(name.substr(prefix.size())) : weights.find(prefix + name)) return e;
  for (const auto& [now, before] : rules.aliases)
    if (size_t at = name.find(now); at != name.npos)
      if (const TensorEntry* e = weights.find(std::string(name).replace(at, now.size(), before))) return e;
  return nullptr;
}

std::vector<std::string> load_weights(ParamStore& store, const WeightSet& weights, const LoadRules& rules) {
  at::NoGradGuard no_grad;
  std::vector<std::string> missing, wrong, fresh, untrained;
  int64_t fresh_elements = 0;
  auto is_added = [&](const std::string& name) {
    return std::any_of(rules.added.begin(), rules.added.end(), [&](const std::string& begin) { return name.starts_with(begin); });
  };
  std::set<const TensorEntry*> used;
  PackedProblems packing;
  const Unload unload = unload_of(weights);
  uint64_t read = 0, to_read = 0;
  for (const auto& [name, entry] : weights.tensors) to_read += entry->bytes.size();
  for (Parameter& p : store.parameters) {
    const TensorEntry* entry = find_tensor(weights, p.name, rules);
    if (!entry && is_added(p.name)) {
      fresh.push_back(p.name);
      fresh_elements += p.value.numel();
      if (!p.trainable) untrained.push_back(p.name);
      store.initialize(p, rules.seed);
      continue;
    }
    if (!entry) {
      missing.push_back(p.name);
      continue;
    }
    used.insert(entry);
    std::optional<PackedWeight> packed;
    if (is_packed(*entry)) {
      for (const TensorEntry* one : beside(weights, *entry)) used.insert(one);
      packed = read_packed(weights, *entry, packing);
      if (!packed) continue;
    }
    const std::vector<int64_t> shape = packed ? packed->shape : entry->shape;
    auto stored = [&] { return packed ? unpacked(*packed, at::kFloat) : stored_tensor(*entry); };
    std::vector<int64_t> narrower = p.shape;
    if (p.name == rules.widened && narrower.size() > 1 && shape.size() > 1) narrower[1] = shape[1];
    if (shape == p.shape && !p.value.defined()) {
      if (!packed) packed = pack(stored_tensor(*entry), rules.packing.value());
      p.packed = std::make_shared<const PackedWeight>(p.swapped ? store.swap->on_host(std::move(*packed)) : to_device(std::move(*packed), store.device));
    } else if (shape == p.shape && packed) {
      p.value.copy_(stored());
    } else if (shape == p.shape) {
      copy_stored(*entry, p.value, unload);
    } else if (p.name == rules.widened && shape == narrower && narrower[1] < p.shape[1]) {
      p.value.zero_();  // the added channels see nothing at first, so step 0 equals the base model
      p.value.narrow(1, 0, narrower[1]).copy_(stored());
    } else {
      wrong.push_back(fmt::format("{} is [{}] in the file, [{}] by config.json", p.name, fmt::join(shape, ","), fmt::join(p.shape, ",")));
    }
    weights.unload(*entry);
    tell_file_progress("reading", rules.where, read += entry->bytes.size(), to_read);
  }
  std::vector<Error> errors;
  auto first_few = [](const std::vector<std::string>& all) {
    std::vector<std::string> few(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(all.size(), 3)));
    return fmt::format("{}{}", fmt::join(few, "; "), all.size() > 3 ? "; …" : "");
  };
  if (!missing.empty())
    errors.push_back({rules.where, fmt::format("{} of {} tensors are not in the weights: {}", missing.size(), store.parameters.size(), first_few(missing)),
                      "config.json describes another network than the weights belong to", "download the folder again, or use the weights' own config.json",
                      "E2102", Exit::bad_data});
  if (!wrong.empty())
    errors.push_back({rules.where, fmt::format("{} tensors have another shape: {}", wrong.size(), first_few(wrong)), "",
                      rules.todo_about_shapes, "E2103", Exit::bad_data});
  for (Error& e : packed_errors(packing, rules.where)) errors.push_back(std::move(e));
  if (!untrained.empty())
    errors.push_back({rules.where, fmt::format("{} new tensors are not in the weights and are not trained here: {}", untrained.size(), first_few(untrained)),
                      "They would stay random", "train them, by a run whose train.parameters names them, or use the folder that such a run left",
                      "E2104", Exit::config});
  if (auto damage = weights.damage()) errors.push_back(*damage);
  if (!errors.empty()) throw Failure(std::move(errors));
  if (store.swap) store.swap->adopt(store);
  std::vector<std::string> notices;
  for (const auto& [name, entry] : weights.tensors)
    if (!used.contains(entry) && !std::count(rules.ignored.begin(), rules.ignored.end(), name)) notices.push_back(name);
  if (!notices.empty())
    notices = {fmt::format("{}: {} tensors in the weights are not part of the model and were left out: {}", rules.where, notices.size(), first_few(notices))};
  if (!fresh.empty())
    notices.push_back(fmt::format("{}: {} tensors are new beside its weights, {} parameters that begin as train.seed draws them: {}", rules.where,
                                  fresh.size(), fresh_elements, first_few(fresh)));
  return notices;
}

}  // namespace t2i
