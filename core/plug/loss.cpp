#include "core/plug/loss.h"

#include "core/plug/call.h"

namespace t2i {

Loss::Loss(const Component& component, const Json& options, const Json& context) : component_(component) {
  check(api().create(options.dump().c_str(), context.dump().c_str(), &self_), who("create"));
  const char* text = nullptr;
  check(api().describe(self_, &text), who("describe"));
  about_ = parse_json(text, who("describe")).take();
}

Loss::~Loss() {
  if (self_) api().destroy(self_);
}

static at::Tensor one(Tensors tensors, const char* name, const std::string& who) {
  auto it = tensors.find(name);
  if (it == tensors.end()) fail({who, std::string("did not put '") + name + "'", "", "", "E2033", Exit::failed});
  return it->second;
}

at::Tensor Loss::draw(const Tensors& step) {
  return one(call_named(api().draw, self_, step, who("draw")), "timesteps", who("draw"));
}

Tensors Loss::prepare(const Tensors& step) {
  Tensors out = call_named(api().prepare, self_, step, who("prepare"));
  one(out, "noisy", who("prepare")), one(out, "target", who("prepare"));
  return out;
}

Tensors Loss::compute(const Tensors& step) {
  Tensors out = call_named(api().compute, self_, step, who("compute"));
  at::Tensor loss = one(out, "loss_per_sample", who("compute"));
  out.try_emplace("raw_loss_per_sample", loss);
  return out;
}

}  // namespace t2i
