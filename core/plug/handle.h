// A t2i_tensor is a pointer to an at::Tensor that the core allocated: the same thing as torch's AtenTensorHandle.
#pragma once
#include <ATen/core/Tensor.h>
#include <t2i/plugin.h>

#include <atomic>
#include <cstdint>

namespace t2i {

// Handles alive in this process; a plugin that leaks one is found by this count.
extern std::atomic<int64_t> live_handles;

t2i_tensor wrap(at::Tensor t);                                                       // a new handle; an undefined tensor gives NULL
inline at::Tensor& unwrap(t2i_tensor h) { return *reinterpret_cast<at::Tensor*>(h); }  // h must not be NULL
at::Tensor take(t2i_tensor h);                                                       // the tensor; the handle is released. NULL gives undefined
inline t2i_tensor borrow(const at::Tensor& t) {  // a handle for the duration of a call; never released
  return t.defined() ? reinterpret_cast<t2i_tensor>(const_cast<at::Tensor*>(&t)) : nullptr;
}

}  // namespace t2i
