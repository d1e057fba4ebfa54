#include "core/plug/host.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <cstring>
#include <new>

#include "core/plug/handle.h"
#include "core/plug/services/services.h"

namespace t2i {

std::atomic<int64_t> live_handles{0};

t2i_tensor wrap(at::Tensor t) {
  if (!t.defined()) return nullptr;
  ++live_handles;
  return reinterpret_cast<t2i_tensor>(new at::Tensor(std::move(t)));
}

at::Tensor take(t2i_tensor h) {
  if (!h) return {};
  at::Tensor t = std::move(unwrap(h));
  delete &unwrap(h);
  --live_handles;
  return t;
}

namespace {

thread_local std::string error_text;

int32_t host_fail(const t2i_host*, int32_t code, const char* message) {
  if (error_text.c_str() != message) error_text = message ? message : "";
  return code;
}
const char* host_last_error(const t2i_host*) { return error_text.c_str(); }

void host_log(const t2i_host*, int32_t level, const char* message) {
  if (level >= 1) std::fprintf(stderr, "%s%s\n", level == 2 ? "warning: " : "", printable(message).c_str());
}

struct Service {
  const char* id;
  const void* table;
};

const void* host_service(const t2i_host*, const char* id) { return find_service(id); }

}  // namespace

const void* find_service(const std::string& id) {
  static const Service services[] = {
      {"t2i.tensor/1", tensor_service()}, {"t2i.op/1", op_service()},       {"t2i.autograd/1", autograd_service()},
      {"t2i.param/1", param_service()},   {"t2i.block/1", block_service()}, {"t2i.rng/1", rng_service()},
      {"t2i.asset/1", asset_service()},   {"t2i.metric/1", metric_service()},
  };
  for (const Service& s : services)
    if (id == s.id) return s.table;
  return nullptr;
}

const std::string& last_error_text() { return error_text; }

int32_t set_last_error(int32_t code, std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  error_text = std::move(text);
  return code;
}

void check_callback(int32_t code) {
  if (code != T2I_OK) throw CallbackFailure(code, error_text);
}

int32_t set_last_error(const std::exception& e) {
  if (auto callback = dynamic_cast<const CallbackFailure*>(&e)) return set_last_error(callback->code, callback->what());
  int32_t code = is_out_of_memory(e) ? T2I_E_OOM : dynamic_cast<const c10::Error*>(&e) ? T2I_E_INVALID : T2I_E_INTERNAL;
  return set_last_error(code, text_of(e));
}

bool is_out_of_memory(const std::exception& e) {
  if (auto callback = dynamic_cast<const CallbackFailure*>(&e)) return callback->code == T2I_E_OOM;
  if (dynamic_cast<const c10::OutOfMemoryError*>(&e) || dynamic_cast<const std::bad_alloc*>(&e)) return true;
  // No types of their own. oneDNN does not say why it could not; on shapes that were computed before it is memory.
  std::string text = text_of(e);
  auto says = [&](const char* part) { return text.find(part) != text.npos; };
  return says("DefaultCPUAllocator") ||
         (says("could not create a primitive") && !says("could not create a primitive descriptor"));
}

std::string text_of(const std::exception& e) {
  if (dynamic_cast<const std::bad_alloc*>(&e)) return "the machine has no memory left";
  auto torch = dynamic_cast<const c10::Error*>(&e);
  return torch ? torch->what_without_backtrace() : e.what();
}

const t2i_host* host() {
  static const t2i_host the_host{sizeof(t2i_host), T2I_ABI_MAJOR, T2I_ABI_MINOR,    "t2i 0.1.0", T2I_TORCH_VERSION,
                                 host_service,     host_fail,     host_last_error, host_log};
  return &the_host;
}

// The id in "model 'sd-like' create".
static std::string quoted_in(const std::string& who) {
  size_t begin = who.find('\''), end = who.rfind('\'');
  return begin < end ? who.substr(begin + 1, end - begin - 1) : "ID";
}

void check(int32_t code, const std::string& who) {
  if (code == T2I_OK) return;
  std::string text = error_text.empty() ? "failed without saying why" : error_text;
  switch (code) {
    case T2I_E_OOM:
      fail({who, "out of memory: " + text, "", "lower train.train_batch_size or data.resolution, or set train.gradient_checkpointing: true",
            "E4001", Exit::failed});
    case T2I_E_UNSUPPORTED:
      fail({who, text, "", "what it takes: t2i plugins info " + quoted_in(who), "E2031", Exit::bad_data});
    case T2I_E_MISSING:
      fail({who, text, "", "", "E2032", Exit::missing});
    default:
      fail({who, text, "", "", "E2030", Exit::bad_data});
  }
}

}  // namespace t2i
