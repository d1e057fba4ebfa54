#include "core/model/packed_files.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/kernel/nf4.h"
#include "core/model/load.h"
#include "core/model/stored_pieces.h"
#include "core/model/tensor_source.h"

namespace t2i {
namespace {

constexpr const char* state_ending = ".quant_state.bitsandbytes__nf4";

// "proj.weight" → "proj.SCB": the scales of rows lie beside the weight, not under its name.
std::string int8_name(const std::string& weight, const char* ending) {
  const std::string word = "weight";
  return (weight.ends_with(word) ? weight.substr(0, weight.size() - word.size()) : weight + ".") + ending;
}

at::Tensor copied(const TensorEntry& entry, const WeightSet& weights) {
  at::Tensor t = at::empty(entry.shape, scalar_type(entry.dtype));
  copy_stored(entry, t, unload_of(weights));
  return t;
}

// The JSON that is stored as a tensor of bytes; null where it is none.
Json state_in(const TensorEntry& entry) {
  const std::string text(reinterpret_cast<const char*>(entry.bytes.data()), entry.bytes.size());
  Json state = Json::parse(text, nullptr, false);
  return state.is_object() ? state : Json();
}

// Empty where it tells none.
std::vector<int64_t> shape_in(const Json& state) {
  const Json shape = state.is_null() ? Json() : state.value("shape", Json());
  auto is_size = [](const Json& d) { return d.is_number_integer() && d >= 1 && d <= INT32_MAX; };
  if (!shape.is_array() || shape.size() < 2 || shape.size() > 4 || !std::ranges::all_of(shape, is_size)) return {};
  return shape.get<std::vector<int64_t>>();
}

struct Reader {
  const WeightSet& weights;
  const TensorEntry& weight;
  PackedProblems& problems;

  const TensorEntry* entry(const std::string& name) {
    const TensorEntry* found = weights.find(name);
    if (!found) problems.missing.push_back(name);
    return found;
  }
  std::nullopt_t wrong(const std::string& what) {
    problems.wrong.push_back(weight.name + " " + what);
    return std::nullopt;
  }
  // A tensor of that type and number of elements; undefined otherwise.
  at::Tensor take(const std::string& name, Dtype dtype, int64_t count) {
    const TensorEntry* found = entry(name);
    if (!found) return {};
    if (found->dtype == dtype && found->elements() == count) return copied(*found, weights).view({-1});
    problems.wrong.push_back(fmt::format("{} is {} [{}], wanted {} {}", name, dtype_name(found->dtype), fmt::join(found->shape, ","), count,
                                         dtype_name(dtype)));
    return {};
  }
  bool has_table(const std::string& name, std::span<const float> wanted) {
    const size_t before = problems.missing.size() + problems.wrong.size();
    at::Tensor t = take(name, Dtype::f32, static_cast<int64_t>(wanted.size()));
    if (problems.missing.size() + problems.wrong.size() != before) return false;
    if (std::equal(wanted.begin(), wanted.end(), t.const_data_ptr<float>())) return true;
    problems.wrong.push_back(name + " is another table than NF4's");
    return false;
  }

  std::optional<PackedWeight> nf4() {
    const std::string& name = weight.name;
    if (weights.find(name + ".quant_state.bitsandbytes__fp4")) return wrong("is packed as fp4");
    const TensorEntry* stored = entry(name + state_ending);
    if (!stored) {  // and what else is not there
      entry(name + ".absmax");
      return std::nullopt;
    }
    const Json state = state_in(*stored);
    PackedWeight packed;
    packed.shape = shape_in(state);
    if (packed.shape.empty()) return wrong("has a quant_state that does not tell its shape");
    auto is = [&](const char* key, const Json& wanted) { return state.value(key, Json()) == wanted; };
    if (!is("quant_type", "nf4") || !is("blocksize", nf4_block))
      return wrong(fmt::format("is packed as {} in blocks of {}", state.value("quant_type", Json()).dump(), state.value("blocksize", Json()).dump()));
    const int64_t count = packed.numel(), blocks = nf4_blocks(count), scale_blocks = (blocks + nf4_scales_block - 1) / nf4_scales_block;
    if (weight.elements() != nf4_bytes(count))
      return wrong(fmt::format("has {} bytes where a shape of [{}] needs {}", weight.elements(), fmt::join(packed.shape, ","), nf4_bytes(count)));
    if (!has_table(name + ".quant_map", nf4_values)) return std::nullopt;
    const bool twice = state.contains("nested_blocksize");
    packed.scales = take(name + ".absmax", twice ? Dtype::u8 : Dtype::f32, blocks);
    if (twice) {
      if (!is("nested_blocksize", nf4_scales_block) || !state.value("nested_offset", Json()).is_number()) return wrong("has scales packed in another way");
      packed.block_scales = take(name + ".nested_absmax", Dtype::f32, scale_blocks);
      packed.mean = state["nested_offset"].get<float>();
      if (!has_table(name + ".nested_quant_map", dynamic_values())) return std::nullopt;
    }
    if (!packed.scales.defined() || (twice && !packed.block_scales.defined())) return std::nullopt;
    packed.codes = copied(weight, weights).view({-1});
    return packed;
  }

  std::optional<PackedWeight> int8() {
    PackedWeight packed{PackedWeight::Form::int8, weight.shape, {}, {}, {}, 0};
    if (weight.shape.size() < 2) return wrong("is int8 and has no rows");
    packed.scales = take(int8_name(weight.name, "SCB"), Dtype::f32, weight.shape[0]);
    if (const TensorEntry* format = weights.find(int8_name(weight.name, "weight_format")); format && !format->bytes.empty() && format->bytes[0] != std::byte{0})
      return wrong("is int8 in another order than by rows");
    if (!packed.scales.defined()) return std::nullopt;
    packed.codes = copied(weight, weights).view({weight.shape[0], -1});
    return packed;
  }
};

Bytes bytes_of(const at::Tensor& t) { return std::span(static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()); }

// A weight that is being written: packed for what goes beside its codes, and once more for them.
struct Written {
  const TensorEntry& entry;
  const WeightSet& weights;
  PackedWeight::Form form;
  std::optional<at::ScalarType> dtype;
  std::optional<PackedWeight> beside{};  // without its codes

  PackedWeight packed() const {
    at::Tensor t = stored_tensor(entry);
    PackedWeight made = pack(dtype ? t.to(*dtype) : t, form);
    weights.unload(entry);
    return made;
  }
  const PackedWeight& scales() {
    if (!beside) beside = packed(), beside->codes.reset();
    return *beside;
  }
};

// As bitsandbytes writes it, but of a length that does not depend on the mean.
std::string state_text(const TensorEntry& entry, std::optional<at::ScalarType> dtype, float mean) {
  at::ScalarType type = dtype ? *dtype : scalar_type(entry.dtype);
  if (type != at::kFloat && type != at::kHalf) type = at::kBFloat16;
  return fmt::format(R"({{"quant_type": "nf4", "blocksize": {}, "dtype": "{}", "shape": [{}], "nested_blocksize": {}, "nested_dtype": "float32", )"
                     R"("nested_offset": {:<32}}})",
                     nf4_block, torch_name(type), fmt::join(entry.shape, ", "), nf4_scales_block, fmt::format("{}", static_cast<double>(mean)));
}

template <class Numbers>
Bytes bytes_of_numbers(const Numbers& numbers) {
  return std::as_bytes(std::span(numbers));
}

}  // namespace

bool is_packed(const TensorEntry& weight) { return weight.dtype == Dtype::u8 || weight.dtype == Dtype::i8; }

PackedWeight::Form form_of(const TensorEntry& weight) { return weight.dtype == Dtype::i8 ? PackedWeight::Form::int8 : PackedWeight::Form::nf4; }

std::vector<const TensorEntry*> beside(const WeightSet& weights, const TensorEntry& weight) {
  std::vector<const TensorEntry*> list;
  auto add = [&](const std::string& name) {
    if (const TensorEntry* found = weights.find(name)) list.push_back(found);
  };
  if (form_of(weight) == PackedWeight::Form::int8)
    for (const char* ending : {"SCB", "weight_format"}) add(int8_name(weight.name, ending));
  else
    for (const char* ending : {".absmax", ".nested_absmax", ".nested_quant_map", ".quant_map", state_ending}) add(weight.name + ending);
  return list;
}

std::optional<PackedWeight> read_packed(const WeightSet& weights, const TensorEntry& weight, PackedProblems& problems) {
  Reader reader{weights, weight, problems};
  return form_of(weight) == PackedWeight::Form::int8 ? reader.int8() : reader.nf4();
}

std::vector<Error> packed_errors(const PackedProblems& problems, const std::string& where) {
  std::vector<Error> errors;
  auto first_few = [](const std::vector<std::string>& all) {
    std::vector<std::string> few(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(all.size(), 3)));
    return fmt::format("{}{}", fmt::join(few, "; "), all.size() > 3 ? "; …" : "");
  };
  if (!problems.missing.empty())
    errors.push_back({where, "packed weights lack what they are unpacked with: " + first_few(problems.missing),
                      "Codes without their scales are no weights", "download the folder again, or make it anew: t2i export --quantization nf4", "E7151",
                      Exit::bad_data});
  if (!problems.wrong.empty())
    errors.push_back({where, "weights are packed in a form that is not read: " + first_few(problems.wrong),
                      "t2i reads what bitsandbytes writes as nf4, in blocks of 64, and as int8", "take the model's unpacked weights", "E7152", Exit::bad_data});
  return errors;
}

std::vector<TensorSource> packing_sources(const std::string& name, const TensorEntry& entry, const WeightSet& weights, PackedWeight::Form form,
                                          std::optional<at::ScalarType> dtype) {
  auto written = std::make_shared<Written>(Written{entry, weights, form, dtype});
  auto source = [&](const std::string& of, Dtype type, std::vector<int64_t> shape, std::function<void(const ByteSink&)> produce) {
    return TensorSource{of, type, std::move(shape), {}, std::move(produce)};
  };
  auto codes = [written](const ByteSink& sink) { sink(bytes_of(written->packed().codes)); };
  auto scales = [written](const ByteSink& sink) { sink(bytes_of(written->scales().scales)); };
  if (form == PackedWeight::Form::int8)
    return {source(name, Dtype::i8, entry.shape, codes), source(int8_name(name, "SCB"), Dtype::f32, {entry.shape[0]}, scales),
            source(int8_name(name, "weight_format"), Dtype::u8, {}, [](const ByteSink& sink) { sink(bytes_of_numbers(std::array<uint8_t, 1>{0})); })};
  const int64_t count = entry.elements(), blocks = nf4_blocks(count);
  const int64_t length = static_cast<int64_t>(state_text(entry, dtype, 0).size());
  return {source(name, Dtype::u8, {nf4_bytes(count), 1}, codes),
          source(name + ".absmax", Dtype::u8, {blocks}, scales),
          source(name + ".nested_absmax", Dtype::f32, {(blocks + nf4_scales_block - 1) / nf4_scales_block},
                 [written](const ByteSink& sink) { sink(bytes_of(written->scales().block_scales)); }),
          source(name + ".nested_quant_map", Dtype::f32, {256}, [](const ByteSink& sink) { sink(bytes_of_numbers(dynamic_values())); }),
          source(name + ".quant_map", Dtype::f32, {16}, [](const ByteSink& sink) { sink(bytes_of_numbers(nf4_values)); }),
          source(name + state_ending, Dtype::u8, {length}, [written](const ByteSink& sink) {
            const std::string text = state_text(written->entry, written->dtype, written->scales().mean);
            sink(bytes_of_numbers(text));
          })};
}

std::vector<TensorSource> packed_sources(const std::string& name, const TensorEntry& weight, const WeightSet& weights) {
  std::vector<TensorSource> sources{converted_source(name, weight, weights, std::nullopt, false)};
  const std::string before = int8_name(weight.name, ""), now = int8_name(name, "");
  for (const TensorEntry* entry : beside(weights, weight)) {
    const bool longer = entry->name.starts_with(weight.name);
    sources.push_back(converted_source((longer ? name : now) + entry->name.substr((longer ? weight.name : before).size()), *entry, weights, std::nullopt, false));
  }
  return sources;
}

TensorSource unpacking_source(const std::string& name, const TensorEntry& weight, const WeightSet& weights, std::optional<at::ScalarType> dtype,
                              const std::string& where) {
  PackedProblems problems;
  at::ScalarType type = at::kHalf;  // what int8 is made from
  std::vector<int64_t> shape = weight.shape;
  if (form_of(weight) == PackedWeight::Form::nf4) {
    const TensorEntry* stored = weights.find(weight.name + state_ending);
    const Json state = stored ? state_in(*stored) : Json();
    shape = shape_in(state);
    if (shape.empty()) read_packed(weights, weight, problems);
    if (shape.empty()) throw Failure(packed_errors(problems, where));
    const std::string told = state.value("dtype", "");
    type = told == "float32" ? at::kFloat : told == "float16" ? at::kHalf : at::kBFloat16;
  }
  if (dtype) type = *dtype;
  TensorSource source{name, stored_dtype(type), shape, {}, {}};
  source.produce = [&weight, &weights, type, where](const ByteSink& sink) {
    PackedProblems late;
    std::optional<PackedWeight> packed = read_packed(weights, weight, late);
    if (!packed) throw Failure(packed_errors(late, where));
    sink(bytes_of(unpacked(*packed, type)));
  };
  return source;
}

Json quantization_config(PackedWeight::Form form, at::ScalarType compute, const std::vector<std::string>& skipped) {
  const bool four = form == PackedWeight::Form::nf4;
  return {{"quant_method", "bitsandbytes"},
          {"_load_in_4bit", four},
          {"_load_in_8bit", !four},
          {"load_in_4bit", four},
          {"load_in_8bit", !four},
          {"bnb_4bit_compute_dtype", torch_name(compute)},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", "nf4"},
          {"bnb_4bit_use_double_quant", true},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skipped},
          {"llm_int8_threshold", 6.0}};
}

}  // namespace t2i
