#include "core/plug/check/faulty_host.h"

#include <atomic>
#include <cstring>

#include "core/plug/host.h"
#include "core/plug/services/services.h"

namespace t2i {

const char* const injected_text = "failure injected by the check";

namespace {

std::atomic<int64_t> calls{0}, failing_call{0};

// Wraps one function of a table: counts, fails when it is its turn, else hands on to the real one.
template <auto table, auto member>
struct Wrapped;
template <class Table, const Table* (*table)(), class... Args, int32_t (*Table::*member)(Args...)>
struct Wrapped<table, member> {
  static int32_t call(Args... args) {
    if (++calls == failing_call) return set_last_error(T2I_E_INTERNAL, injected_text);
    return (table()->*member)(args...);
  }
};

template <auto table, auto member, class Table>
void wrap_function(Table& copy) {
  copy.*member = Wrapped<table, member>::call;
}

const t2i_tensor_api* tensors() {
  static const t2i_tensor_api api = [] {
    t2i_tensor_api a = *tensor_service();
    wrap_function<tensor_service, &t2i_tensor_api::shape>(a), wrap_function<tensor_service, &t2i_tensor_api::dtype>(a);
    wrap_function<tensor_service, &t2i_tensor_api::retain>(a), wrap_function<tensor_service, &t2i_tensor_api::item>(a);
    wrap_function<tensor_service, &t2i_tensor_api::from_f32>(a), wrap_function<tensor_service, &t2i_tensor_api::from_i64>(a);
    return a;
  }();
  return &api;
}
const t2i_op_api* ops() {
  static const t2i_op_api api = [] {
    t2i_op_api a = *op_service();
    wrap_function<op_service, &t2i_op_api::find>(a), wrap_function<op_service, &t2i_op_api::call>(a);
    return a;
  }();
  return &api;
}
// apply() owns ctx from the moment it is called: it is dropped when the call fails, too.
int32_t apply(int32_t (*forward)(void*, const t2i_tensor*, uint32_t, t2i_tensor*),
              int32_t (*backward)(void*, const t2i_tensor*, uint32_t, t2i_tensor, t2i_tensor*), void (*drop)(void*), void* ctx,
              const t2i_tensor* in, uint32_t n, t2i_tensor* out) {
  if (++calls != failing_call) return autograd_service()->apply(forward, backward, drop, ctx, in, n, out);
  if (drop) drop(ctx);
  return set_last_error(T2I_E_INTERNAL, injected_text);
}
const t2i_autograd_api* autograds() {
  static const t2i_autograd_api api{sizeof(t2i_autograd_api), apply};
  return &api;
}
const t2i_param_api* params() {
  static const t2i_param_api api = [] {
    t2i_param_api a = *param_service();
    wrap_function<param_service, &t2i_param_api::declare>(a), wrap_function<param_service, &t2i_param_api::get>(a);
    wrap_function<param_service, &t2i_param_api::linear>(a), wrap_function<param_service, &t2i_param_api::conv2d>(a);
    return a;
  }();
  return &api;
}
const t2i_block_api* blocks() {
  static const t2i_block_api api = [] {
    t2i_block_api a = *block_service();
    wrap_function<block_service, &t2i_block_api::run>(a);
    return a;
  }();
  return &api;
}
const t2i_rng_api* rngs() {
  static const t2i_rng_api api = [] {
    t2i_rng_api a = *rng_service();
    wrap_function<rng_service, &t2i_rng_api::uniform>(a), wrap_function<rng_service, &t2i_rng_api::normal>(a);
    return a;
  }();
  return &api;
}

const void* service(const t2i_host*, const char* id) {
  if (!std::strcmp(id, "t2i.tensor/1")) return tensors();
  if (!std::strcmp(id, "t2i.op/1")) return ops();
  if (!std::strcmp(id, "t2i.autograd/1")) return autograds();
  if (!std::strcmp(id, "t2i.param/1")) return params();
  if (!std::strcmp(id, "t2i.block/1")) return blocks();
  if (!std::strcmp(id, "t2i.rng/1")) return rngs();
  return find_service(id);
}

}  // namespace

const t2i_host* faulty_host() {
  static const t2i_host h = [] {
    t2i_host copy = *host();
    copy.service = service;
    return copy;
  }();
  return &h;
}

void fail_at_call(int64_t k) { calls = 0, failing_call = k; }
int64_t calls_made() { return calls; }

}  // namespace t2i
