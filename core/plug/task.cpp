#include "core/plug/task.h"

#include "core/plug/call.h"

namespace t2i {

Task::Task(const Component& component, const Json& options) : component_(component) {
  check(api().create(options.dump().c_str(), &self_), who("create"));
  const char* text = nullptr;
  check(api().describe(self_, &text), who("describe"));
  Json about = parse_json(text, who("describe")).take();
  for (const Json& c : about.at("columns")) columns_.push_back({c.at("name"), c.at("kind") == "image", c.at("use")});
  added_latents_ = about.contains("added_latents") ? static_cast<int64_t>(about["added_latents"].size()) : 0;
}

Task::~Task() {
  if (self_) api().destroy(self_);
}

Tensors Task::apply(const Tensors& step) { return call_named(api().apply, self_, step, who("apply")); }

uint32_t Task::branches() {
  uint32_t count = 0;
  check(api().branches(self_, &count), who("branches"));
  return count;
}

Tensors Task::branch(uint32_t index, const Tensors& conditioning) {
  auto function = [&](void* self, const t2i_named* in, uint32_t n, const t2i_sink* sink) { return api().branch(self, index, in, n, sink); };
  return call_named(function, self_, conditioning, who("branch"));
}

at::Tensor Task::combine(const std::vector<at::Tensor>& predictions) {
  std::vector<t2i_tensor> handles;
  for (const at::Tensor& p : predictions) handles.push_back(borrow(p));
  t2i_tensor out = nullptr;
  check(api().combine(self_, handles.data(), static_cast<uint32_t>(handles.size()), &out), who("combine"));
  return take(out);
}

}  // namespace t2i
