// The key is one that LibTorch keeps for tensors without contents and does not use itself. Its kernel, for all operations
// at once, sees what is left when autograd, autocast and composite operations have been taken apart:
//   views, and what allocates alone, are done; so is what is small
//   what writes into a tensor does nothing
//   anything else gets results of the shapes that the meta device finds, or shapes.h
#include "core/memory/dry_run.h"

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "core/memory/shapes.h"

namespace t2i {
namespace {

using torch::jit::Stack;

constexpr size_t small = size_t{256} << 10;  // bytes of all arguments and results together

std::mutex mutex;
std::set<std::string> computed;

template <class Body>
void for_each_tensor(const c10::IValue& value, Body body) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) body(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue& item : value.toListRef())
      if (item.isTensor() && item.toTensor().defined()) body(item.toTensor());
  }
}

template <class Values>
size_t bytes_of(const Values& values) {
  size_t bytes = 0;
  for (const c10::IValue& v : values) for_each_tensor(v, [&](const at::Tensor& t) { bytes += t.nbytes(); });
  return bytes;
}

at::Tensor moved(const at::Tensor& t, at::Device device) {
  if (!t.defined()) return t;
  at::Tensor other = at::empty_strided(t.sizes(), t.strides(), t.options().device(device));
  if (t.unsafeGetTensorImpl()->is_wrapped_number()) other.unsafeGetTensorImpl()->set_wrapped_number(true);
  return other;
}

// The same shapes on another device.
c10::IValue moved(const c10::IValue& value, at::Device device) {
  if (value.isTensor()) return moved(value.toTensor(), device);
  if (value.isDevice()) return device;
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& t : value.toTensorVector()) list.push_back(moved(t, device));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& t : value.toOptionalTensorVector())
      list.push_back(t ? std::optional(moved(*t, device)) : std::nullopt);
    return list;
  }
  return value;
}

// The results that the meta device has; nullopt where it cannot do this.
std::optional<Stack> meta_results(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments) {
  Stack stack;
  for (const c10::IValue& v : arguments) stack.push_back(moved(v, at::kMeta));
  try {
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    op.callBoxed(&stack);
    return stack;
  } catch (const c10::Error&) {
    return std::nullopt;  // "not implemented" comes under several types
  }
}

bool starts(const std::string& name, const char* with) { return name.rfind(with, 0) == 0; }

enum class Kind { composite, in_earnest, writes, shaped };

Kind kind_of(const c10::OperatorHandle& op) {
  const c10::FunctionSchema& schema = op.schema();
  const std::string& name = schema.name();
  if (shapes_of(name)) return Kind::shaped;
  if (name == "aten::copy_") return Kind::writes;  // of every device, and yet not made of pieces
  if (!op.hasKernelForDispatchKey(c10::DispatchKey::CPU)) return Kind::composite;
  if (starts(name, "aten::empty") || starts(name, "aten::resize") || starts(name, "aten::set_")) return Kind::in_earnest;
  for (const c10::Argument& a : schema.arguments())
    if (a.alias_info() && a.alias_info()->isWrite()) return Kind::writes;
  bool gives_tensors = false;
  for (const c10::Argument& r : schema.returns()) {
    if (r.alias_info()) return Kind::in_earnest;  // a view
    gives_tensors = gives_tensors || r.type()->kind() == c10::TypeKind::TensorType || r.type()->kind() == c10::TypeKind::ListType;
  }
  return gives_tensors ? Kind::shaped : Kind::in_earnest;
}

// The arguments that a writing operation gives back.
Stack written(const c10::FunctionSchema& schema, c10::ArrayRef<c10::IValue> arguments) {
  Stack results;
  for (const c10::Argument& r : schema.returns())
    for (size_t i = 0; i < arguments.size(); ++i)
      if (const c10::AliasInfo* alias = schema.arguments()[i].alias_info();
          alias && r.alias_info() && alias->beforeSets() == r.alias_info()->beforeSets()) {
        results.push_back(arguments[i]);
        break;
      }
  return results;
}

// What is written into may be empty, to be made as large as it must be. False where nobody knows how large.
bool given_room(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments, const Stack& results) {
  auto is_empty = [](const c10::IValue& v) { return v.isTensor() && v.toTensor().defined() && v.toTensor().numel() == 0; };
  if (std::none_of(results.begin(), results.end(), is_empty)) return true;
  const std::optional<Stack> meta = meta_results(op, arguments);
  if (!meta || meta->size() != results.size()) return false;
  at::AutoDispatchBelowADInplaceOrView below_autograd;
  for (size_t i = 0; i < results.size(); ++i)
    if (is_empty(results[i])) results[i].toTensor().resize_((*meta)[i].toTensor().sizes());
  return true;
}

void run_dry(const c10::OperatorHandle& op, c10::DispatchKeySet keys, Stack* stack) {
  const c10::DispatchKeySet below = keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, c10::DispatchKey::Fake);
  const Kind kind = kind_of(op);
  if (kind == Kind::composite) return op.redispatchBoxed(below, stack);  // its pieces come here again

  c10::impl::ExcludeDispatchKeyGuard in_earnest(c10::DispatchKey::Fake);
  const c10::FunctionSchema& schema = op.schema();
  const size_t n = schema.arguments().size();
  const Stack arguments(stack->end() - static_cast<std::ptrdiff_t>(n), stack->end());
  const size_t bytes = bytes_of(arguments);
  if (kind == Kind::in_earnest || (kind == Kind::writes && bytes <= small)) return op.redispatchBoxed(below, stack);

  Stack results;
  if (kind == Kind::writes) {
    results = written(schema, arguments);
    if (results.size() != schema.returns().size() || !given_room(op, arguments, results)) return op.redispatchBoxed(below, stack);
  } else if (Shapes shapes = shapes_of(schema.name())) {
    if (bytes <= small) return op.redispatchBoxed(below, stack);
    results = shapes(arguments);
  } else {
    std::optional<Stack> meta = meta_results(op, arguments);
    if (!meta || bytes + bytes_of(*meta) <= small) {
      if (bytes > small) {
        std::lock_guard lock(mutex);
        computed.insert(schema.name());
      }
      return op.redispatchBoxed(below, stack);
    }
    for (const c10::IValue& v : *meta) results.push_back(moved(v, at::kCPU));
  }
  torch::jit::drop(*stack, n);
  for (c10::IValue& v : results) stack->push_back(std::move(v));
}

}  // namespace

std::vector<std::string> computed_in_dry_runs() {
  std::lock_guard lock(mutex);
  return {computed.begin(), computed.end()};
}

TORCH_LIBRARY_IMPL(_, Fake, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_dry>()); }

}  // namespace t2i
