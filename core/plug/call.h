// How the core calls a component: named tensors in, a sink that collects named tensors out.
#pragma once
#include <string>
#include <vector>

#include "core/model/tensors.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"

namespace t2i {

// The tensors of a map as a plugin takes them; borrows, so the map must outlive it.
class NamedView {
  std::vector<t2i_named> items_;

 public:
  explicit NamedView(const Tensors& tensors) {
    for (const auto& [name, t] : tensors)
      if (t.defined()) items_.push_back({name.c_str(), borrow(t)});
  }
  const t2i_named* data() const { return items_.data(); }
  uint32_t size() const { return static_cast<uint32_t>(items_.size()); }
};

// Calls `function(self, in..., sink)` and returns what it put. `who` names component and function in a failure.
template <class Function>
Tensors call_named(Function function, void* self, const Tensors& in, const std::string& who) {
  Tensors out;
  t2i_sink sink{sizeof(t2i_sink), &out, [](void* ctx, const char* name, t2i_tensor owned) {
                  return guard([&] { (*static_cast<Tensors*>(ctx))[name] = take(owned); });
                }};
  NamedView view(in);
  check(function(self, view.data(), view.size(), &sink), who);
  return out;
}

}  // namespace t2i
