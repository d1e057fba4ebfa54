// Wrong input and failing services: a code, a text, no crash and no leak.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <functional>

#include "core/plug/check/faulty_host.h"
#include "core/plug/check/subject.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"

namespace t2i {
namespace {

Outcome failed(std::string text) { return {Outcome::fail, std::move(text)}; }
Outcome skipped(std::string text) { return {Outcome::skip, std::move(text)}; }

// Runs `look` over every function; the first sentence it gives is the failure.
Outcome for_each_call(const CheckContext& context, const std::function<std::string(const Callable&)>& look) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls)
      if (std::string problem = look(f); !problem.empty()) return failed(f.name + " " + problem);
  return set->subjects.empty() ? skipped(set->left_out) : Outcome{Outcome::pass, set->left_out};
}

// What an answer to bad input must not be.
std::string bad_answer(const Callable& f, const Answer& a, const std::string& input) {
  if (a.code && a.text.empty()) return fmt::format("with {} returns code {} without a text", input, a.code);
  if (!a.code && f.needs_all)
    for (const auto& [name, shape] : f.puts)
      if (!a.out.contains(name)) return fmt::format("with {} returns 0 without putting '{}'", input, name);
  return "";
}

Outcome missing(const CheckContext& context) {
  return for_each_call(context, [](const Callable& f) {
    if (std::string problem = bad_answer(f, f.call({}), "no tensors"); !problem.empty()) return problem;
    for (const auto& [name, tensor] : f.in) {
      Tensors in = f.in;
      in.erase(name);
      if (std::string problem = bad_answer(f, f.call(in), "no '" + name + "'"); !problem.empty()) return problem;
    }
    return std::string();
  });
}

Outcome shapes(const CheckContext& context) {
  return for_each_call(context, [](const Callable& f) {
    for (const auto& [name, tensor] : f.in)
      for (std::vector<int64_t> shape : {std::vector<int64_t>{}, {0}, {2, 5}, {7, 1, 2, 3}}) {
        Tensors in = f.in;
        in[name] = at::zeros(shape, tensor.options());
        std::string input = fmt::format("'{}' of {} dimensions", name, shape.size());
        if (std::string problem = bad_answer(f, f.call(in), input); !problem.empty()) return problem;
      }
    return std::string();
  });
}

Outcome dtypes(const CheckContext& context) {
  return for_each_call(context, [](const Callable& f) {
    for (const auto& [name, tensor] : f.in)
      for (at::ScalarType type : {at::kBool, at::kLong, at::kBFloat16, at::kDouble}) {
        Tensors in = f.in;
        in[name] = tensor.to(type);
        std::string input = fmt::format("'{}' of type {}", name, c10::toString(type));
        if (std::string problem = bad_answer(f, f.call(in), input); !problem.empty()) return problem;
      }
    return std::string();
  });
}

Outcome configuration(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  for (const Component& c : plugin->components) {
    if (c.kind == "model") continue;
    for (const char* text : {"", "{", "[]", "{\"unknown\": 1}"}) {
      void* self = nullptr;
      set_last_error(T2I_OK, "");
      std::string scheduler = Json{{"scheduler", sample_scheduler()}}.dump();
      int32_t code = c.kind == "task" ? static_cast<const t2i_task*>(c.impl)->create(text, &self)
                                      : static_cast<const t2i_loss*>(c.impl)->create(text, scheduler.c_str(), &self);
      if (code && last_error_text().empty())
        return failed(fmt::format("{} '{}' create() with the configuration '{}' returns code {} without a text", c.kind, c.id, text, code));
      if (!code && !self) return failed(fmt::format("{} '{}' create() with '{}' returns 0 and no object", c.kind, c.id, text));
      if (!code) destroy_component(c, self);
    }
  }
  return {Outcome::pass, ""};
}

// The k-th call of a service fails, for every k (at most 150 of them, spread evenly).
Outcome injected(const CheckContext& context) {
  Outcome calls = for_each_call(context, [](const Callable& f) {
    f.call(f.in);  // once, so that what is kept from the first step is there
    fail_at_call(0);
    f.call(f.in);
    int64_t total = calls_made(), stride = std::max<int64_t>(1, total / 150);
    for (int64_t k = 1; k <= total; k += stride) {
      int64_t handles = live_handles;
      fail_at_call(k);
      std::string problem;
      {
        Answer a = f.call(f.in);
        if (!a.code) problem = fmt::format("returns 0 although host call {} of {} failed", k, total);
        if (a.code && a.text.empty()) problem = fmt::format("loses the text of host call {} of {} that failed", k, total);
      }
      fail_at_call(0);
      if (problem.empty() && live_handles != handles)
        problem = fmt::format("leaks {} tensor handles when host call {} of {} fails", live_handles - handles, k, total);
      if (!problem.empty()) return problem;
    }
    return std::string();
  });
  if (calls.status != Outcome::pass) return calls;
  Result<LoadedPlugin> plugin = load_subject(context);
  for (const Component& c : plugin->components) {
    Result<Json> options = default_options(c);
    if (c.kind == "model" || !options) continue;
    for (int64_t k = 1; k <= 150; ++k) {
      int64_t handles = live_handles;
      void* self = nullptr;
      fail_at_call(k);
      int32_t code = create_component(c, *options, &self);
      bool reached = calls_made() >= k;
      fail_at_call(0);
      if (!code) destroy_component(c, self);
      if (!code && reached) return failed(fmt::format("{} '{}' create() returns 0 although host call {} failed", c.kind, c.id, k));
      if (live_handles != handles) return failed(fmt::format("{} '{}' create() leaks tensor handles when host call {} fails", c.kind, c.id, k));
      if (!reached) break;
    }
  }
  return calls;
}

}  // namespace

const std::vector<Check>& error_checks() {
  static const std::vector<Check> checks{
      {"errors", "missing", "E1", "fails with a text when a tensor is missing", missing},
      {"errors", "shapes", "E2", "survives tensors of wrong shape", shapes},
      {"errors", "dtypes", "E3", "survives tensors of another type", dtypes},
      {"errors", "configuration", "E4", "survives a broken configuration", configuration},
      {"errors", "injected", "E5", "hands on the failure of any host call, and leaks nothing", injected},
  };
  return checks;
}

}  // namespace t2i
