// ATen by name. An op is resolved once (find) and then called boxed: about 40 ns over a direct C++ call. The running
// schema decides how a value is converted and fills trailing defaults, so an op that gains an argument keeps working.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <ATen/core/stack.h>

#include <deque>
#include <map>
#include <mutex>

#include "core/model/block_run.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"
#include "core/plug/services/services.h"

struct t2i_op_ {
  c10::OperatorHandle handle;
  std::vector<c10::TypeKind> kinds;          // of each argument, optional<> looked through
  std::vector<bool> list_of_optional;        // Tensor?[]: what index() takes
  t2i::Keeps keeps = t2i::Keeps::values;     // for backward
};

namespace t2i {
namespace {

c10::IValue to_ivalue(const t2i_value& v, c10::TypeKind kind, bool list_of_optional) {
  switch (v.kind) {
    case T2I_NONE: return {};
    case T2I_TENSOR: return unwrap(v.u.t);
    case T2I_BOOL: return v.u.i != 0;
    case T2I_INT:
      if (kind == c10::TypeKind::FloatType) return static_cast<double>(v.u.i);
      return v.u.i;
    case T2I_FLOAT: return v.u.d;
    case T2I_STRING: return std::string(v.u.s);
    case T2I_INTS: return c10::List<int64_t>(c10::IntArrayRef(v.u.is, v.count));
    case T2I_FLOATS: return c10::List<double>(c10::ArrayRef<double>(v.u.ds, v.count));
    case T2I_TENSORS: {
      if (list_of_optional) {
        c10::List<std::optional<at::Tensor>> list;
        for (uint32_t i = 0; i < v.count; ++i) list.push_back(v.u.ts[i] ? std::optional(unwrap(v.u.ts[i])) : std::nullopt);
        return list;
      }
      c10::List<at::Tensor> list;
      for (uint32_t i = 0; i < v.count; ++i) list.push_back(unwrap(v.u.ts[i]));
      return list;
    }
    case T2I_DTYPE: return v.u.i;
  }
  TORCH_CHECK(false, "a value of unknown kind ", v.kind);
}

int32_t find(const char* name, const char* overload, t2i_op* out) {
  return guard([&] {
    static std::mutex mutex;
    static std::map<std::pair<std::string, std::string>, std::unique_ptr<t2i_op_>> resolved;  // never freed: handles live on
    std::lock_guard lock(mutex);
    auto& entry = resolved[{name, overload}];
    if (!entry) {
      auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
      if (!handle) {
        resolved.erase({name, overload});
        TORCH_CHECK(false, "this core's torch has no op ", name, *overload ? "." : "", overload);
      }
      auto op = std::make_unique<t2i_op_>(t2i_op_{*handle, {}, {}, keeps_of(name)});
      for (const c10::Argument& a : handle->schema().arguments()) {
        c10::TypePtr type = a.real_type();
        if (auto optional = type->cast<c10::OptionalType>()) type = optional->getElementType();
        auto list = type->cast<c10::ListType>();
        op->kinds.push_back(type->kind());
        op->list_of_optional.push_back(list && list->getElementType()->kind() == c10::TypeKind::OptionalType);
      }
      entry = std::move(op);
    }
    *out = entry.get();
  });
}

// Does it keep values of its arguments that a block's last layer did not make? (core/model/block_run.h)
bool keeps_values(Keeps keeps, const t2i_value* values, uint32_t n) {
  auto wants_grad = [&](uint32_t i) { return i < n && values[i].kind == T2I_TENSOR && values[i].u.t && unwrap(values[i].u.t).requires_grad(); };
  if (keeps == Keeps::factors) return wants_grad(0) && wants_grad(1);
  if (keeps == Keeps::divisor) return wants_grad(1);
  return keeps == Keeps::gated ? wants_grad(1) : keeps == Keeps::values;
}

int32_t call(t2i_op op, const t2i_value* values, uint32_t n, t2i_tensor* outs, uint32_t capacity) {
  return guard([&] {
    if (BlockRun* run = BlockRun::current(); run && run->open() && keeps_values(op->keeps, values, n)) run->need_values();
    const c10::FunctionSchema& schema = op->handle.schema();
    const auto& arguments = schema.arguments();
    TORCH_CHECK(n <= arguments.size(), schema.name(), " takes ", arguments.size(), " arguments, got ", n);
    torch::jit::Stack stack;
    stack.reserve(arguments.size());
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (i < n) {
        stack.push_back(to_ivalue(values[i], op->kinds[i], op->list_of_optional[i]));
      } else {
        TORCH_CHECK(arguments[i].default_value(), schema.name(), ": argument '", arguments[i].name(), "' is missing");
        stack.push_back(*arguments[i].default_value());
      }
    }
    op->handle.callBoxed(&stack);
    std::vector<at::Tensor> results;
    for (c10::IValue& v : stack) {
      if (v.isTensor())
        results.push_back(std::move(v).toTensor());
      else if (v.isTensorList())
        for (at::Tensor t : v.toTensorVector()) results.push_back(t);
      else
        TORCH_CHECK(false, schema.name(), " returns something that is not a tensor");
    }
    TORCH_CHECK(results.size() >= capacity, schema.name(), " returns ", results.size(), " tensors, ", capacity, " were asked for");
    for (uint32_t i = 0; i < capacity; ++i) outs[i] = wrap(std::move(results[i]));
  });
}

}  // namespace

const t2i_op_api* op_service() {
  static const t2i_op_api api{sizeof(t2i_op_api), find, call};
  return &api;
}

}  // namespace t2i
