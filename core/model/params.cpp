#include "core/model/params.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/base/rng.h"
#include "core/model/block_swap.h"
#include "core/model/packed.h"

namespace t2i {

uint32_t ParamStore::declare(std::string name, std::vector<int64_t> shape, std::string init) {
  TORCH_CHECK(!trained.defined() && !frozen.defined(), "parameter ", name, " declared after ", part, " was built");
  uint32_t slot = static_cast<uint32_t>(parameters.size());
  TORCH_CHECK(index_.emplace(name, slot).second, "parameter ", name, " is declared twice in ", part);
  parameters.push_back({std::move(name), std::move(shape), std::move(init), false, 0, {}});
  return slot;
}

void ParamStore::add(std::string name, std::vector<int64_t> shape, std::string init) {
  TORCH_CHECK(!trained.defined() && !frozen.defined(), "parameter ", name, " added after ", part, " was allocated");
  added.push_back({std::move(name), std::move(shape), std::move(init), true, 0, {}});
}

void ParamStore::host(ParamStore& other, const std::function<bool(const Parameter&)>& is_trained) {
  TORCH_CHECK(!trained.defined() && !frozen.defined(), part, " was allocated before it could host ", other.part);
  for (size_t i = 0; i < other.parameters.size(); ++i) {
    Parameter& p = other.parameters[i];
    if (p.init == "buffer" || !is_trained(p)) continue;
    p.hosted = true;
    guests.push_back({other.part + "." + p.name, p.shape, p.init, true, 0, {}});
    homes_.push_back({&other, i});
  }
}

static int64_t elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

void ParamStore::allocate(at::ScalarType type, at::Device on, const std::function<bool(const std::string&)>& is_trained,
                          const std::function<bool(const Parameter&)>& is_packed, std::optional<at::ScalarType> frozen_type) {
  constexpr int64_t alignment = 16;  // elements: every view starts on its own 64-byte line in float32
  dtype = type, frozen_dtype = frozen_type.value_or(type), device = on;
  int64_t totals[2] = {0, 0};
  std::vector<Parameter*> placed;
  auto find_place = [&](Parameter& p) {
    int64_t& total = totals[p.trainable];
    p.offset = total;
    total += (elements(p.shape) + alignment - 1) / alignment * alignment;
    placed.push_back(&p);
  };
  for (Parameter& p : guests) find_place(p);
  for (Parameter& p : parameters) {
    if (p.hosted) continue;
    p.trainable = p.init != "buffer" && is_trained(p.name);
    const bool packs = !p.trainable && is_packed && is_packed(p);
    if (swap && !p.trainable && p.init != "buffer" && p.shape.size() >= 2) {
      p.swapped = swap->add(swap);
      if (!packs) p.value = swap->host_room(p.shape, frozen_dtype);
    } else if (!packs) {
      find_place(p);
    }
  }
  if (swap) swap->require_weights(part);
  for (Parameter& p : added) find_place(p);
  auto options = at::TensorOptions().dtype(dtype).device(device);
  // Every weight is written by who loads it; to zero gigabytes first would take a third of that time once more.
  if (totals[0]) frozen = at::empty({totals[0]}, options.dtype(frozen_dtype));
  if (totals[1]) trained = at::empty({totals[1]}, options);
  if (totals[1] && keeps_gradients) trained_grad = at::empty({totals[1]}, options);
  auto give_view = [&](Parameter& p) {
    const at::Tensor& flat = p.trainable ? trained : frozen;
    const int64_t n = elements(p.shape), room = (n + alignment - 1) / alignment * alignment;
    if (room > n) flat.narrow(0, p.offset + n, room - n).zero_();  // what lies between is part of norms and of files
    p.value = flat.narrow(0, p.offset, n).view(p.shape).detach();
    if (!p.trainable) return;
    p.value.requires_grad_(true);
    if (keeps_gradients) p.value.mutable_grad() = trained_grad.narrow(0, p.offset, n).view(p.shape);
  };
  for (Parameter* p : placed) give_view(*p);
  for (size_t i = 0; i < guests.size(); ++i) {
    Parameter& home = homes_[i].store->parameters[homes_[i].index];
    home.trainable = true, home.offset = guests[i].offset, home.value = guests[i].value;
  }
}

void ParamStore::release() {
  for (Parameter& p : parameters) p.value.reset(), p.packed.reset(), p.adapter.reset(), p.swapped.reset();
  added.clear(), guests.clear(), homes_.clear(), swap.reset();
  for (at::Tensor* flat : {&trained, &trained_grad, &frozen}) flat->reset();
}

void ParamStore::initialize(uint64_t seed) {
  for (Parameter& p : parameters) initialize(p, seed);
}

void ParamStore::initialize(Parameter& p, uint64_t seed) {
  at::NoGradGuard no_grad;
  if (p.init == "zeros" || p.init == "buffer") {
    p.value.zero_();
    return;
  }
  if (p.init == "ones") {
    p.value.fill_(1);
    return;
  }
  DrawKey key{seed, 0, stream_id(p.name), stream_id("init")};
  at::Tensor draw = at::empty(p.shape, at::kFloat);
  std::span<float> data(draw.mutable_data_ptr<float>(), static_cast<size_t>(draw.numel()));
  if (p.init.starts_with("normal:")) {
    philox_normal(key, data);
    draw.mul_(std::stod(p.init.substr(7)));
  } else {  // torch's own default for linear and convolution layers: uniform in ±1/sqrt(fan_in)
    philox_uniform(key, data);
    int64_t fan_in = p.shape.size() > 1 ? elements(p.shape) / p.shape[0] : elements(p.shape);
    double bound = 1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(fan_in, 1)));
    draw.mul_(2 * bound).sub_(bound);
  }
  p.value.copy_(draw);
}

const Parameter* ParamStore::find(const std::string& name) const {
  auto it = index_.find(name);
  return it == index_.end() ? nullptr : &parameters[it->second];
}

std::vector<const Parameter*> ParamStore::trained_parameters() const {
  std::vector<const Parameter*> list;
  for (const Parameter& p : guests) list.push_back(&p);
  for (const Parameter& p : parameters)
    if (p.trainable && !p.hosted) list.push_back(&p);
  for (const Parameter& p : added) list.push_back(&p);
  return list;
}

int64_t ParamStore::count() const {
  int64_t n = 0;
  for (const Parameter& p : parameters) n += p.init == "buffer" ? 0 : elements(p.shape);
  return n;
}

int64_t ParamStore::trained_count() const {
  int64_t n = 0;
  for (const Parameter& p : parameters) n += p.trainable ? elements(p.shape) : 0;
  for (const Parameter& p : added) n += elements(p.shape);
  return n;
}

bool ParamStore::trains_own() const {
  return std::any_of(parameters.begin(), parameters.end(), [](const Parameter& p) { return p.trainable; });
}

uint64_t ParamStore::guest_bytes() const {
  uint64_t n = 0;
  for (const Parameter& p : guests) n += static_cast<uint64_t>(elements(p.shape));
  return trained.defined() ? n * trained.element_size() : 0;
}

uint64_t ParamStore::packed_bytes() const {
  uint64_t bytes = 0;
  for (const Parameter& p : parameters) bytes += p.packed ? p.packed->bytes() : 0;
  return bytes;
}

uint64_t ParamStore::held_bytes() const {
  uint64_t bytes = frozen.defined() ? frozen.nbytes() : 0;
  for (const Parameter& p : parameters)
    if (p.swapped && p.value.defined()) bytes += p.value.nbytes();
  return bytes;
}

uint64_t ParamStore::weight_bytes() const {
  uint64_t bytes = swap ? swap->device_bytes() : 0;
  for (const Parameter& p : parameters) bytes += p.packed && !p.swapped ? p.packed->bytes() : 0;
  for (const at::Tensor& flat : {frozen, trained}) bytes += flat.defined() ? flat.nbytes() : 0;
  return bytes;
}

bool ParamStore::holds_frozen_exactly() const {
  if (frozen.defined() && frozen_dtype != at::kFloat) return false;
  for (const Parameter& p : parameters)
    if (p.packed || p.swapped) return false;
  return true;
}

}  // namespace t2i
