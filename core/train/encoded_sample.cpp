#include "core/train/encoded_sample.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <sstream>

namespace t2i {
namespace {

struct RowRun {
  int64_t begin, rows, width;  // the first `width` numbers of each row are stored
};

// Rows that follow each other and whose zeros begin at the same place. `bits`: [R,D], of any integer type.
std::vector<RowRun> runs_of(const at::Tensor& bits) {
  const int64_t rows = bits.size(0), width = bits.size(1);
  at::Tensor places = at::arange(1, width + 1, at::kLong);
  at::Tensor used = (bits != 0).to(at::kLong).mul(places).amax(1).contiguous();
  const int64_t* u = used.const_data_ptr<int64_t>();
  std::vector<RowRun> runs;
  for (int64_t r = 0; r < rows; ++r) {
    if (runs.empty() || runs.back().width != u[r]) runs.push_back({r, 0, u[r]});
    ++runs.back().rows;
  }
  return runs;
}

// The narrowest type that holds every number exactly.
at::Tensor narrowed(const at::Tensor& t) {
  for (at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    at::Tensor less = t.to(type);
    if (at::equal(less.to(at::kFloat).view(at::kInt), t.view(at::kInt))) return less;
  }
  return t;
}

Dtype stored_dtype(at::ScalarType type) {
  return type == at::kBFloat16 ? Dtype::bf16 : type == at::kHalf ? Dtype::f16 : Dtype::f32;
}

void add(StoredForm& form, const std::string& name, at::Tensor t) {
  t = t.contiguous();
  form.sources.push_back({name, stored_dtype(t.scalar_type()), t.sizes().vec(),
                          Bytes(static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()), {}});
  form.alive.push_back(std::move(t));
}

// Plain loops: LibTorch's own conversions would start threads in every thread of the loader.
void widen(const TensorEntry& from, float* to) {
  const size_t n = static_cast<size_t>(from.elements());
  if (from.dtype == Dtype::f32) return void(std::memcpy(to, from.bytes.data(), n * sizeof(float)));
  for (size_t i = 0; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, from.bytes.data() + 2 * i, 2);
    to[i] = from.dtype == Dtype::bf16 ? static_cast<float>(c10::BFloat16(bits, c10::BFloat16::from_bits()))
                                      : static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
  }
}

std::vector<int64_t> shape_of(const std::string& text) {
  std::vector<int64_t> shape;
  std::istringstream numbers(text);
  for (std::string one; std::getline(numbers, one, ',');) shape.push_back(std::atoll(one.c_str()));
  return shape;
}

}  // namespace

StoredForm stored_form(const Tensors& tensors) {
  at::NoGradGuard no_grad;
  StoredForm form;
  for (const auto& [name, given] : tensors) {
    at::Tensor t = narrowed(given.detach().to(at::kCPU, at::kFloat).contiguous());
    if (t.dim() < 2) {
      add(form, name, t);
      continue;
    }
    const int64_t width = t.size(-1), rows = width ? t.numel() / width : 0;
    at::Tensor flat = t.view({rows, width});
    const std::vector<RowRun> runs = width ? runs_of(flat.view(t.element_size() == 2 ? at::kShort : at::kInt)) : std::vector<RowRun>();
    int64_t stored = 0;
    for (const RowRun& run : runs) stored += run.rows * run.width;
    constexpr size_t most_runs = 16;  // pictures have none; a text has one for each encoder
    if (runs.size() > most_runs || stored * 16 > t.numel() * 15) {
      add(form, name, t);
      continue;
    }
    form.metadata[name] = fmt::format("{}", fmt::join(t.sizes(), ","));
    for (const RowRun& run : runs)
      if (run.width) add(form, fmt::format("{}/{}", name, run.begin), flat.narrow(0, run.begin, run.rows).narrow(1, 0, run.width));
  }
  return form;
}

Result<Tensors> from_stored(Bytes bytes, const Path& where) {
  auto broken = [&] {
    return Error{where.string(), "holds an entry of another form than this t2i writes", "Another version may have made it",
                 "t2i cache rm --all, and build it again", "E8071", Exit::io};
  };
  auto file = parse_safetensors(bytes, where);
  if (!file) return broken();
  Tensors out;
  for (const auto& [name, shape] : file->metadata) {
    at::Tensor whole = at::empty(shape_of(shape), at::kFloat);
    std::memset(whole.mutable_data_ptr(), 0, whole.nbytes());
    out[name] = whole;
  }
  for (const TensorEntry& entry : file->tensors) {
    if (entry.dtype != Dtype::f32 && entry.dtype != Dtype::bf16 && entry.dtype != Dtype::f16) return broken();
    const size_t slash = entry.name.rfind('/');
    if (slash == entry.name.npos) {
      at::Tensor t = at::empty(entry.shape, at::kFloat);
      widen(entry, t.mutable_data_ptr<float>());
      out[entry.name] = t;
      continue;
    }
    auto whole = out.find(entry.name.substr(0, slash));
    if (whole == out.end() || entry.shape.size() != 2) return broken();
    const int64_t width = whole->second.size(-1), begin = std::atoll(entry.name.c_str() + slash + 1);
    if (width == 0 || begin < 0 || entry.shape[1] > width || begin + entry.shape[0] > whole->second.numel() / width) return broken();
    std::vector<float> numbers(static_cast<size_t>(entry.elements()));
    widen(entry, numbers.data());
    float* to = whole->second.mutable_data_ptr<float>() + begin * width;
    const size_t stored = static_cast<size_t>(entry.shape[1]);
    for (int64_t r = 0; r < entry.shape[0]; ++r)
      std::memcpy(to + r * width, numbers.data() + static_cast<size_t>(r) * stored, stored * sizeof(float));
  }
  return out;
}

}  // namespace t2i
