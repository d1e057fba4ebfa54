// t2i/t2i.hpp - header-only C++20 comfort over plugin.h. Everything here is compiled into the plugin; nothing of it
// crosses the boundary. A plugin is a plain class per component and one T2I_PLUGIN(...) at the end of a file:
//
//   struct L1 {
//     explicit L1(const t2i::Json&, const t2i::Json&) {}
//     void draw(t2i::Named in, t2i::Sink out);     // latents, rng -> timesteps
//     void prepare(t2i::Named in, t2i::Sink out);  // latents, noise, timesteps -> noisy, target
//     void compute(t2i::Named in, t2i::Sink out);  // prediction, target -> loss_per_sample, raw_loss_per_sample
//   };
//   T2I_PLUGIN("org.example.l1", "1.0.0", "MIT", t2i::loss<L1>("l1", "mean absolute error"))
//
// Functions throw t2i::Error (or anything derived from std::exception) to fail; guard() turns that into a code and text.
#pragma once
#include <t2i/plugin.h>

#include <array>
#include <concepts>
#include <cstring>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace t2i __attribute__((visibility("hidden"))) {

using Json = nlohmann::json;

struct Error : std::runtime_error {
  int32_t code;
  Error(int32_t c, const std::string& message) : std::runtime_error(message), code(c) {}
};
[[noreturn]] inline void fail(const std::string& message, int32_t code = T2I_E_INVALID) { throw Error(code, message); }

// ---- the host's services, filled in by start(); nullptr where this core has none ----
inline const t2i_host* host;
inline const t2i_tensor_api* tensors;
inline const t2i_op_api* ops;
inline const t2i_autograd_api* autograd;
inline const t2i_param_api* params;
inline const t2i_block_api* blocks;
inline const t2i_rng_api* rng_service;
inline const t2i_asset_api* assets_service;
inline const t2i_metric_api* metrics;

inline void check(int32_t rc) {
  if (rc) throw Error(rc, host->last_error(host));
}
// The only place where a C++ exception meets the C ABI.
template <class F>
int32_t guard(F&& f) noexcept {
  try {
    f();
    return T2I_OK;
  } catch (const Error& e) {
    return host->fail(host, e.code, e.what());
  } catch (const std::bad_alloc&) {
    return host->fail(host, T2I_E_OOM, "out of memory");
  } catch (const std::exception& e) {
    return host->fail(host, T2I_E_INTERNAL, e.what());
  } catch (...) {
    return host->fail(host, T2I_E_INTERNAL, "unknown exception");
  }
}
inline void log_info(const std::string& m) { host->log(host, 1, m.c_str()); }
inline void log_warning(const std::string& m) { host->log(host, 2, m.c_str()); }

// ---- tensors: a counted handle; a default one is "none" ----
class Tensor {
  t2i_tensor h_ = nullptr;

 public:
  Tensor() = default;
  explicit Tensor(t2i_tensor owned) : h_(owned) {}
  static Tensor borrow(t2i_tensor t) {
    t2i_tensor o = nullptr;
    if (t) check(tensors->retain(t, &o));
    return Tensor(o);
  }
  Tensor(const Tensor& o) {
    if (o.h_) check(tensors->retain(o.h_, &h_));
  }
  Tensor(Tensor&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
  Tensor& operator=(Tensor o) noexcept {
    std::swap(h_, o.h_);
    return *this;
  }
  ~Tensor() {
    if (h_) tensors->release(h_);
  }
  explicit operator bool() const { return h_ != nullptr; }
  t2i_tensor get() const { return h_; }
  t2i_tensor give() { return std::exchange(h_, nullptr); }
  std::vector<int64_t> shape() const {
    int64_t d[8];
    uint32_t n = 0;
    check(tensors->shape(h_, d, 8, &n));
    return {d, d + n};
  }
  int64_t size(int dim) const {  // negative dims count from the end
    int64_t d[8];
    uint32_t n = 0;
    check(tensors->shape(h_, d, 8, &n));
    int at = dim < 0 ? static_cast<int>(n) + dim : dim;
    if (at < 0 || at >= static_cast<int>(n)) fail("a tensor of " + std::to_string(n) + " dimensions has no dimension " + std::to_string(dim));
    return d[at];
  }
  int32_t dtype() const {
    int32_t d = 0;
    check(tensors->dtype(h_, &d));
    return d;
  }
};
// Host data as a tensor, on the device of `like` when given.
inline Tensor tensor(std::span<const float> data, std::span<const int64_t> shape, const Tensor& like = {}) {
  t2i_tensor o = nullptr;
  check(tensors->from_f32(data.data(), shape.data(), static_cast<uint32_t>(shape.size()), like.get(), &o));
  return Tensor(o);
}
inline Tensor tensor(std::span<const int64_t> data, std::span<const int64_t> shape, const Tensor& like = {}) {
  t2i_tensor o = nullptr;
  check(tensors->from_i64(data.data(), shape.data(), static_cast<uint32_t>(shape.size()), like.get(), &o));
  return Tensor(o);
}

// ---- ops: op<"add.Tensor">({a, b}); "name" means aten::name, "t2i::geglu" is taken as it is ----
struct Dtype {
  int64_t value;  // T2I_F32 ...
};
struct Arg {
  t2i_value v{};
  Arg(const Tensor& t) {
    v.kind = t ? T2I_TENSOR : T2I_NONE;
    v.u.t = t.get();
  }
  Arg(double d) { v.kind = T2I_FLOAT, v.u.d = d; }
  Arg(int i) { v.kind = T2I_INT, v.u.i = i; }
  Arg(int64_t i) { v.kind = T2I_INT, v.u.i = i; }
  Arg(bool b) { v.kind = T2I_BOOL, v.u.i = b; }
  Arg(const char* s) { v.kind = T2I_STRING, v.u.s = s; }
  Arg(Dtype d) { v.kind = T2I_DTYPE, v.u.i = d.value; }
  Arg(std::nullptr_t) {}
  Arg(std::span<const int64_t> s) { v.kind = T2I_INTS, v.count = static_cast<uint32_t>(s.size()), v.u.is = s.data(); }
  Arg(const std::vector<int64_t>& s) : Arg(std::span<const int64_t>(s)) {}
  Arg(std::initializer_list<int64_t> s) : Arg(std::span<const int64_t>(s.begin(), s.size())) {}
  Arg(std::span<const t2i_tensor> s) { v.kind = T2I_TENSORS, v.count = static_cast<uint32_t>(s.size()), v.u.ts = s.data(); }
};
static_assert(sizeof(Arg) == sizeof(t2i_value));
template <size_t N>
struct Name {
  char s[N];
  constexpr Name(const char (&n)[N]) { std::copy(n, n + N, s); }
};
struct OpSlot {
  const char* name;
  t2i_op handle = nullptr;
  OpSlot* next;
  static inline OpSlot* all = nullptr;
  explicit OpSlot(const char* n) : name(n), next(all) { all = this; }
};
// Every op that a plugin names is known when its file is loaded and resolved once, in start().
template <Name name>
inline OpSlot op_slot{name.s};
template <Name name>
Tensor op(std::initializer_list<Arg> args) {
  t2i_tensor out = nullptr;
  check(ops->call(op_slot<name>.handle, &args.begin()->v, static_cast<uint32_t>(args.size()), &out, 1));
  return Tensor(out);
}
template <Name name, uint32_t outputs>
std::array<Tensor, outputs> op_many(std::initializer_list<Arg> args) {
  t2i_tensor out[outputs] = {};
  check(ops->call(op_slot<name>.handle, &args.begin()->v, static_cast<uint32_t>(args.size()), out, outputs));
  std::array<Tensor, outputs> r;
  for (uint32_t i = 0; i < outputs; ++i) r[i] = Tensor(out[i]);
  return r;
}
inline Tensor operator+(const Tensor& a, const Tensor& b) { return op<"add.Tensor">({a, b}); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return op<"sub.Tensor">({a, b}); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return op<"mul.Tensor">({a, b}); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return op<"div.Tensor">({a, b}); }
inline Tensor operator+(const Tensor& a, double s) { return op<"add.Scalar">({a, s}); }
inline Tensor operator-(const Tensor& a, double s) { return op<"sub.Scalar">({a, s}); }
inline Tensor operator*(const Tensor& a, double s) { return op<"mul.Scalar">({a, s}); }
inline Tensor operator/(const Tensor& a, double s) { return op<"div.Scalar">({a, s}); }
inline Tensor operator-(const Tensor& a) { return op<"neg">({a}); }
inline Tensor cat(std::initializer_list<Tensor> list, int dim) {
  std::vector<t2i_tensor> handles;
  for (const Tensor& t : list) handles.push_back(t.get());
  return op<"cat">({std::span<const t2i_tensor>(handles), dim});
}
inline Tensor to(const Tensor& x, int64_t dtype) { return op<"to.dtype">({x, Dtype{dtype}}); }
// The mean of everything but the first dimension: [n, ...] -> [n].
inline Tensor mean_per_sample(const Tensor& x) { return op<"mean.dim">({op<"flatten.using_ints">({x, 1, -1}), {1}}); }
// [n] -> [n,1,1,1] when `like` has four dimensions: per-sample factors.
inline Tensor per_sample(const Tensor& x, const Tensor& like) {
  std::vector<int64_t> shape(like.shape().size(), 1);
  if (shape.empty()) fail("a tensor without dimensions where one row per sample was expected");
  shape[0] = x.size(0);
  return op<"view">({x, shape});
}

// ---- a step, a batch, an answer: named tensors ----
struct Named {
  std::span<const t2i_named> items;
  bool has(std::string_view n) const {
    for (const t2i_named& i : items)
      if (n == i.name) return true;
    return false;
  }
  Tensor operator[](std::string_view n) const {
    for (const t2i_named& i : items)
      if (n == i.name) return Tensor::borrow(i.tensor);
    std::string there;
    for (const t2i_named& i : items) there += std::string(there.empty() ? "" : ", ") + i.name;
    throw Error(T2I_E_MISSING, "no tensor named '" + std::string(n) + "' here; there are: " + there);
  }
  Tensor get_or_none(std::string_view n) const { return has(n) ? (*this)[n] : Tensor(); }
};
struct Sink {
  const t2i_sink* s;
  void put(const char* name, Tensor t) const { check(s->put(s->ctx, name, t.give())); }
  void put(const std::string& name, Tensor t) const { put(name.c_str(), std::move(t)); }
};
struct Rng {  // draws of the step's "rng" tensor [n,3]: (seed, step, sample)
  Tensor key;
  Tensor uniform(const char* stream, std::initializer_list<int64_t> per_sample = {}) const {
    t2i_tensor o = nullptr;
    check(rng_service->uniform(key.get(), stream, per_sample.begin(), static_cast<uint32_t>(per_sample.size()), &o));
    return Tensor(o);
  }
  Tensor normal(const char* stream, std::initializer_list<int64_t> per_sample = {}) const {
    t2i_tensor o = nullptr;
    check(rng_service->normal(key.get(), stream, per_sample.begin(), static_cast<uint32_t>(per_sample.size()), &o));
    return Tensor(o);
  }
};
struct Assets {  // files of the model folder
  void* core;
  // The bytes of a file, empty data() when it is not there.
  std::string_view read(const std::string& path) const {
    const char* d = nullptr;
    size_t n = 0;
    check(assets_service->read(core, path.c_str(), &d, &n));
    return d ? std::string_view(d, n) : std::string_view();
  }
};

// ---- parameters and layers: names as in the diffusers state dict ----
struct Scope {
  void* core = nullptr;
  std::string prefix;  // "down_blocks.0."
  Scope at(const std::string& name) const { return {core, prefix + name + "."}; }
  t2i_param declare(const std::string& name, std::initializer_list<int64_t> shape, const char* init = "default") const {
    t2i_param p;
    check(params->declare(core, (prefix + name).c_str(), shape.begin(), static_cast<uint32_t>(shape.size()), init, &p));
    return p;
  }
  Tensor get(t2i_param p) const {
    t2i_tensor t = nullptr;
    if (p != T2I_NO_PARAM) check(params->get(core, p, &t));
    return Tensor(t);
  }
};
struct Linear {
  void* core = nullptr;
  t2i_param weight = T2I_NO_PARAM, bias = T2I_NO_PARAM;
  Linear() = default;
  Linear(const Scope& s, int64_t in, int64_t out, bool with_bias = true)
      : core(s.core), weight(s.declare("weight", {out, in})), bias(with_bias ? s.declare("bias", {out}, "zeros") : T2I_NO_PARAM) {}
  Tensor operator()(const Tensor& x) const {  // [..., in] -> [..., out]
    t2i_tensor o = nullptr;
    check(params->linear(core, x.get(), weight, bias, &o));
    return Tensor(o);
  }
};
struct Conv2d {
  void* core = nullptr;
  t2i_param weight = T2I_NO_PARAM, bias = T2I_NO_PARAM;
  int64_t stride = 1, padding = 0;
  Conv2d() = default;
  Conv2d(const Scope& s, int64_t in, int64_t out, int64_t kernel, int64_t stride_ = 1, int64_t padding_ = 0)
      : core(s.core), weight(s.declare("weight", {out, in, kernel, kernel})), bias(s.declare("bias", {out}, "zeros")),
        stride(stride_), padding(padding_) {}
  Tensor operator()(const Tensor& x) const {  // [B,in,H,W] -> [B,out,H',W']
    t2i_tensor o = nullptr;
    check(params->conv2d(core, x.get(), weight, bias, stride, padding, 1, 1, &o));
    return Tensor(o);
  }
};
// Runs `body` (a trivially copyable callable: std::array<Tensor, outputs>(std::span<const Tensor>)) as one block under
// the core's hand: it may be timed, recomputed in backward, offloaded or captured. What it captures must outlive the step
// (capture `this`).
template <uint32_t outputs, class F>
std::array<Tensor, outputs> run_block_many(const Scope& scope, const char* name, std::initializer_list<Tensor> inputs, F body) {
  static_assert(std::is_trivially_copyable_v<F>, "a block's body is copied byte for byte: capture pointers and numbers only");
  std::array<t2i_tensor, 16> in{};
  uint32_t n = 0;
  for (const Tensor& t : inputs) in.at(n++) = t.get();
  t2i_tensor out[outputs] = {};
  auto trampoline = [](void* ctx, const t2i_tensor* args, uint32_t count, t2i_tensor* result, uint32_t) -> int32_t {
    return guard([&] {
      std::vector<Tensor> list;
      for (uint32_t i = 0; i < count; ++i) list.push_back(Tensor::borrow(args[i]));
      std::array<Tensor, outputs> made = (*static_cast<const F*>(ctx))(std::span<const Tensor>(list));
      for (uint32_t i = 0; i < outputs; ++i) result[i] = made[i].give();
    });
  };
  check(blocks->run(scope.core, name, trampoline, &body, sizeof body, in.data(), n, out, outputs));
  std::array<Tensor, outputs> made;
  for (uint32_t i = 0; i < outputs; ++i) made[i] = Tensor(out[i]);
  return made;
}
// The same with one output: Tensor(std::span<const Tensor>).
template <class F>
Tensor run_block(const Scope& scope, const char* name, std::initializer_list<Tensor> inputs, F body) {
  return run_block_many<1>(scope, name, inputs, [body](std::span<const Tensor> in) { return std::array<Tensor, 1>{body(in)}; })[0];
}

// ---- vtables from plain classes: a member that is not there becomes NULL ----
namespace detail {
template <class T>
T& self(void* p) { return *static_cast<T*>(p); }
template <class T>
using Call = int32_t (*)(void*, const t2i_named*, uint32_t, const t2i_sink*);
// clang-format off
#define T2I_DETAIL_CALL(member)                                                                                      \
  []() -> Call<T> {                                                                                                  \
    if constexpr (requires(T t, Named in, Sink out) { t.member(in, out); })                                          \
      return [](void* p, const t2i_named* in, uint32_t n, const t2i_sink* out) {                                     \
        return guard([&] { self<T>(p).member(Named{{in, n}}, Sink{out}); });                                         \
      };                                                                                                             \
    else return nullptr;                                                                                             \
  }()
// clang-format on
template <class T>
int32_t describe(void* p, const char** json) {
  return guard([&] {
    if constexpr (requires(T t) { { t.describe() } -> std::convertible_to<const char*>; })
      *json = self<T>(p).describe();
    else
      *json = "{}";
  });
}
template <class T>
constexpr auto tokenize_of() -> int32_t (*)(void*, const char* const*, uint32_t, const t2i_sink*) {
  if constexpr (requires(T t, std::span<const char* const> texts, Sink out) { t.tokenize(texts, out); })
    return [](void* p, const char* const* texts, uint32_t n, const t2i_sink* out) {
      return guard([&] { self<T>(p).tokenize(std::span<const char* const>(texts, n), Sink{out}); });
    };
  else
    return nullptr;
}
template <class T>
constexpr auto scale_of() -> int32_t (*)(void*, t2i_tensor, t2i_tensor*) {
  if constexpr (requires(T t, Tensor x) { { t.scale_latents(x) } -> std::same_as<Tensor>; })
    return [](void* p, t2i_tensor in, t2i_tensor* out) {
      return guard([&] { *out = self<T>(p).scale_latents(Tensor::borrow(in)).give(); });
    };
  else
    return nullptr;
}
template <class T>
constexpr auto file_names_of() -> int32_t (*)(void*, const char**) {
  if constexpr (requires(T t) { { t.file_names() } -> std::convertible_to<const char*>; })
    return [](void* p, const char** json) { return guard([&] { *json = self<T>(p).file_names(); }); };
  else
    return nullptr;
}
template <class T>
constexpr t2i_model model_vtable{
    sizeof(t2i_model),
    [](const char* config, void* assets, void** out) { return guard([&] { *out = new T(Json::parse(config), Assets{assets}); }); },
    [](void* p) { delete static_cast<T*>(p); },
    describe<T>,
    [](void* p, const char* part, void* scope) { return guard([&] { self<T>(p).build(std::string_view(part), Scope{scope, ""}); }); },
    T2I_DETAIL_CALL(forward),
    tokenize_of<T>(),
    T2I_DETAIL_CALL(encode_text),
    T2I_DETAIL_CALL(encode_image),
    T2I_DETAIL_CALL(decode_image),
    scale_of<T>(),
    file_names_of<T>()};
template <class T>
constexpr t2i_task task_vtable{
    sizeof(t2i_task),
    [](const char* config, void** out) { return guard([&] { *out = new T(Json::parse(config)); }); },
    [](void* p) { delete static_cast<T*>(p); },
    describe<T>,
    T2I_DETAIL_CALL(apply),
    [](void* p, uint32_t* count) { return guard([&] { *count = self<T>(p).branches(); }); },
    [](void* p, uint32_t branch, const t2i_named* in, uint32_t n, const t2i_sink* out) {
      return guard([&] { self<T>(p).branch(branch, Named{{in, n}}, Sink{out}); });
    },
    [](void* p, const t2i_tensor* predictions, uint32_t n, t2i_tensor* out) {
      return guard([&] {
        std::vector<Tensor> list;
        for (uint32_t i = 0; i < n; ++i) list.push_back(Tensor::borrow(predictions[i]));
        *out = self<T>(p).combine(std::span<const Tensor>(list)).give();
      });
    }};
template <class T>
constexpr t2i_loss loss_vtable{
    sizeof(t2i_loss),
    [](const char* config, const char* context, void** out) {
      return guard([&] { *out = new T(Json::parse(config), Json::parse(context)); });
    },
    [](void* p) { delete static_cast<T*>(p); },
    describe<T>,
    T2I_DETAIL_CALL(draw),
    T2I_DETAIL_CALL(prepare),
    T2I_DETAIL_CALL(compute)};
#undef T2I_DETAIL_CALL
}  // namespace detail

template <class T>
consteval t2i_component model(const char* id, const char* doc, const char* schema = "{}", const char* opens = nullptr) {
  return {sizeof(t2i_component), "model", id, doc, schema, &detail::model_vtable<T>, opens};
}
template <class T>
consteval t2i_component task(const char* id, const char* doc, const char* schema = "{}") {
  return {sizeof(t2i_component), "task", id, doc, schema, &detail::task_vtable<T>, nullptr};
}
template <class T>
consteval t2i_component loss(const char* id, const char* doc, const char* schema = "{}") {
  return {sizeof(t2i_component), "loss", id, doc, schema, &detail::loss_vtable<T>, nullptr};
}

// Once per process: finds the services and resolves every op the plugin names; one that is gone fails here, by name.
inline int32_t start(const t2i_host* h) {
  host = h;
  auto service = [&]<class T>(const T*& slot, const char* id) { slot = static_cast<const T*>(h->service(h, id)); };
  service(tensors, "t2i.tensor/1"), service(ops, "t2i.op/1"), service(autograd, "t2i.autograd/1");
  service(params, "t2i.param/1"), service(blocks, "t2i.block/1"), service(rng_service, "t2i.rng/1");
  service(assets_service, "t2i.asset/1"), service(metrics, "t2i.metric/1");
  if (!tensors || !ops) return h->fail(h, T2I_E_UNSUPPORTED, "this core lacks the service t2i.tensor/1 or t2i.op/1");
  for (OpSlot* o = OpSlot::all; o; o = o->next) {
    std::string full = o->name;
    if (full.find("::") == full.npos) full = "aten::" + full;
    size_t dot = full.find('.');
    std::string overload = dot == full.npos ? "" : full.substr(dot + 1);
    if (int32_t rc = ops->find(full.substr(0, dot).c_str(), overload.c_str(), &o->handle)) return rc;
  }
  return T2I_OK;
}

}  // namespace t2i

#define T2I_PLUGIN(ID, VERSION, LICENSE, ...)                                                                          \
  extern "C" const t2i_plugin* t2i_plugin_v1(void) {                                                                   \
    static constexpr t2i_component components[] = {__VA_ARGS__};                                                       \
    static constexpr auto list = []<size_t... I>(std::index_sequence<I...>) {                                          \
      return std::array<const t2i_component*, sizeof...(I) + 1>{&components[I]..., nullptr};                           \
    }(std::make_index_sequence<std::size(components)>{});                                                              \
    static constexpr t2i_plugin plugin{sizeof(t2i_plugin), T2I_ABI_MAJOR, T2I_ABI_MINOR, ID,         VERSION,          \
                                       LICENSE,            nullptr,       list.data(),   t2i::start};                  \
    return &plugin;                                                                                                    \
  }                                                                                                                    \
  __attribute__((used, section(".t2i_tag"))) static const char t2i_tag[] = "T2I-PLUGIN abi=0.2 torch=any id=" ID;
