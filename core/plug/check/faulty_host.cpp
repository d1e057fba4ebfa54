#include "core/plug/check/faulty_host.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

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
// Stands between the core and a plugin's node, to count drops. Kept to the end of the process: a second drop finds it.
struct Node {
  int32_t (*forward)(void*, const t2i_tensor*, uint32_t, t2i_tensor*);
  int32_t (*backward)(void*, const t2i_tensor*, uint32_t, t2i_tensor, t2i_tensor*);
  void (*drop)(void*);
  void* ctx;
  std::atomic<int64_t> drops{0};
};
std::mutex nodes_mutex;  // nodes are made on one thread and dropped on any
std::vector<std::unique_ptr<Node>> nodes;
size_t first_counted_node = 0;

int32_t node_forward(void* node, const t2i_tensor* in, uint32_t n, t2i_tensor* out) {
  auto* self = static_cast<Node*>(node);
  return self->forward(self->ctx, in, n, out);
}
int32_t node_backward(void* node, const t2i_tensor* saved, uint32_t n, t2i_tensor grad_out, t2i_tensor* grad_in) {
  auto* self = static_cast<Node*>(node);
  return self->backward(self->ctx, saved, n, grad_out, grad_in);
}
void node_drop(void* node) {
  auto* self = static_cast<Node*>(node);
  if (++self->drops == 1 && self->drop) self->drop(self->ctx);
}

// apply() owns ctx from the moment it is called: it is dropped when the call fails, too.
int32_t apply(int32_t (*forward)(void*, const t2i_tensor*, uint32_t, t2i_tensor*),
              int32_t (*backward)(void*, const t2i_tensor*, uint32_t, t2i_tensor, t2i_tensor*), void (*drop)(void*), void* ctx,
              const t2i_tensor* in, uint32_t n, t2i_tensor* out) {
  std::unique_ptr<Node> owned(new Node{forward, backward, drop, ctx, {}});
  Node* node = owned.get();
  {
    std::lock_guard lock(nodes_mutex);
    nodes.push_back(std::move(owned));
  }
  if (++calls != failing_call) return autograd_service()->apply(node_forward, node_backward, node_drop, node, in, n, out);
  node_drop(node);
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

const t2i_asset_api* assets() {
  static const t2i_asset_api api = [] {
    t2i_asset_api a = *asset_service();
    wrap_function<asset_service, &t2i_asset_api::read>(a);
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
  if (!std::strcmp(id, "t2i.asset/1")) return assets();
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

void forget_nodes() {
  std::lock_guard lock(nodes_mutex);
  first_counted_node = nodes.size();
}
DropCount drop_count() {
  std::lock_guard lock(nodes_mutex);
  DropCount count;
  for (size_t i = first_counted_node; i < nodes.size(); ++i) {
    ++count.nodes;
    count.never += nodes[i]->drops == 0;
    count.again += nodes[i]->drops > 1;
  }
  return count;
}

}  // namespace t2i
