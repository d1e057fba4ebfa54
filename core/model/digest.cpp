#include "core/model/digest.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/model/packed.h"

namespace t2i {

std::string digest_of(const ParamStore& store) {
  at::NoGradGuard no_grad;
  constexpr int64_t at_once = 1 << 20;  // elements: what is widened for the sums stays small
  uint64_t plain = 0, by_place = 0;
  std::vector<at::Tensor> all = {store.frozen, store.trained};
  for (const Parameter& p : store.parameters) {
    if (p.packed)
      for (const at::Tensor& t : p.packed->tensors()) all.push_back(t.view({-1}));
    if (p.swapped && p.value.defined()) all.push_back(p.value.view({-1}));  // before the first step: where it was loaded to
  }
  for (const at::Tensor& flat : all) {
    if (!flat.defined()) continue;
    at::Tensor bits = flat.detach().view(flat.element_size() == 1 ? at::kByte : flat.element_size() == 2 ? at::kShort : at::kInt);
    for (int64_t begin = 0; begin < bits.numel(); begin += at_once) {
      at::Tensor part = bits.slice(0, begin, begin + at_once).to(at::kLong);
      at::Tensor place = at::arange(begin, begin + part.numel(), part.options());
      at::Tensor sums = at::stack({part.sum(), (part * (place * 2 + 1)).sum()}).to(at::kCPU);
      plain = plain * 31 + static_cast<uint64_t>(sums[0].item<int64_t>());
      by_place += static_cast<uint64_t>(sums[1].item<int64_t>());
    }
  }
  return fmt::format("{:016x}{:016x}", plain, by_place);
}

}  // namespace t2i
