// Wrong input and failing services: a code, a text, no crash and no leak.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <functional>
#include <numeric>
#include <optional>

#include "core/plug/check/faulty_host.h"
#include "core/plug/check/patience.h"
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

// create() with any text at all for a configuration.
int32_t create_from_text(const Component& c, const char* text, AssetFolder& assets, void** self) {
  if (c.kind == "model") return static_cast<const t2i_model*>(c.impl)->create(text, &assets, self);
  if (c.kind == "task") return static_cast<const t2i_task*>(c.impl)->create(text, self);
  const std::string context = Json{{"scheduler", sample_scheduler()}}.dump();
  return static_cast<const t2i_loss*>(c.impl)->create(text, context.c_str(), self);
}

Outcome configuration(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  AssetFolder assets(context.model.empty() ? std::filesystem::path() : open_model_folder(context.model).take().root);
  std::string left_out = "it offers nothing that can be made";
  bool any = false;
  for (const Component& c : plugin->components) {
    if (c.kind == "model" && context.model.empty()) {
      left_out = "model '" + c.id + "' is not made: give a folder with --model";
      continue;
    }
    if (c.kind == "dataset") {
      left_out = "dataset '" + c.id + "' is not made: it needs a file to open";
      continue;
    }
    any = true;
    for (const char* text : {"", "{", "[]", "{\"unknown\": 1}"}) {
      void* self = nullptr;
      set_last_error(T2I_OK, "");
      int32_t code = create_from_text(c, text, assets, &self);
      if (code && last_error_text().empty())
        return failed(fmt::format("{} '{}' create() with the configuration '{}' returns code {} without a text", c.kind, c.id, text, code));
      if (!code && !self) return failed(fmt::format("{} '{}' create() with '{}' returns 0 and no object", c.kind, c.id, text));
      if (!code) destroy_component(c, self);
    }
  }
  return any ? Outcome{Outcome::pass, ""} : skipped(left_out);
}

// The calls 1...n, each once, in an order that has them spread evenly whenever it is broken off.
std::vector<int64_t> spread(int64_t n) {
  int64_t stride = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(n) * 0.6180339887));  // the golden section
  while (std::gcd(stride, n) != 1) ++stride;
  std::vector<int64_t> order;
  for (int64_t i = 0, k = 0; i < n; ++i, k = (k + stride) % n) order.push_back(k + 1);
  return order;
}

// How many failures were tried, of how many.
struct Tried {
  int64_t done = 0, wanted = 0;
};

// What is said of a failure must hold what the host said.
std::string lost_text(const std::string& text, int64_t k, int64_t total) {
  if (text.find(injected_text) != text.npos) return "";
  return fmt::format("loses the text of host call {} of {} that failed: says '{}'", k, total, text);
}

// The k-th call of a service fails, for every k that there is time for.
std::string with_each_call_failing(const Callable& f, double seconds, Tried& tried) {
  f.call(f.in);  // once, so that what is kept from the first step is there
  Patience patience(seconds);
  fail_at_call(0);
  f.call(f.in);
  const int64_t total = calls_made();
  tried.wanted += total;
  for (int64_t k : spread(total)) {
    if (patience.over()) break;
    ++tried.done;
    int64_t handles = live_handles;
    fail_at_call(k);
    std::string problem;
    {
      Answer a = f.call(f.in);
      if (!a.code) problem = fmt::format("returns 0 although host call {} of {} failed", k, total);
      if (a.code) problem = lost_text(a.text, k, total);
    }
    fail_at_call(0);
    if (problem.empty() && live_handles != handles)
      problem = fmt::format("leaks {} tensor handles when host call {} of {} fails", live_handles - handles, k, total);
    if (!problem.empty()) return problem;
  }
  return "";
}

// The same while an object is made: a loss or a task by create(), a model by create() and build() of every part.
std::string making_with_each_call_failing(const Component& c, const CheckContext& context, double seconds, Tried& tried) {
  Result<Json> options = default_options(c);
  if (!options || c.kind == "dataset" || (c.kind == "model" && context.model.empty())) return "";
  std::optional<ModelFolder> folder;
  if (c.kind == "model") folder = open_model_folder(context.model).take();
  std::string said;
  auto make = [&] {
    if (folder) {
      try {
        Model model(c, *folder, *options);
        for (const ModelPart& part : folder->parts)
          if (model.about().at("parts").contains(part.name)) model.build(part.name);
        return 0;
      } catch (const Failure& f) {
        said = f.what();
        return static_cast<int>(T2I_E_INTERNAL);
      }
    }
    void* self = nullptr;
    int32_t code = create_component(c, *options, &self);
    if (code) said = last_error_text();
    if (!code) destroy_component(c, self);
    return code;
  };
  make();  // once, as above
  Patience patience(seconds);
  fail_at_call(0);
  make();
  const int64_t total = calls_made();
  tried.wanted += total;
  for (int64_t k : spread(total)) {
    if (patience.over()) break;
    ++tried.done;
    int64_t handles = live_handles;
    fail_at_call(k);
    int32_t code = make();
    fail_at_call(0);
    const char* function = folder ? "create() or build()" : "create()";
    if (!code) return fmt::format("{} returns 0 although host call {} of {} failed", function, k, total);
    if (std::string problem = lost_text(said, k, total); !problem.empty()) return std::string(function) + " " + problem;
    if (live_handles != handles) return fmt::format("{} leaks tensor handles when host call {} of {} fails", function, k, total);
  }
  return "";
}

Outcome injected(const CheckContext& context) {
  constexpr double all_seconds = 20;  // in equal shares
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  size_t functions = plugin->components.size();
  for (const Subject& s : set->subjects) functions += s.calls.size();
  const double seconds = all_seconds / static_cast<double>(functions);
  Tried tried;
  for (const Component& c : plugin->components)
    if (std::string problem = making_with_each_call_failing(c, context, seconds, tried); !problem.empty())
      return failed(fmt::format("{} '{}' {}", c.kind, c.id, problem));
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls)
      if (std::string problem = with_each_call_failing(f, seconds, tried); !problem.empty()) return failed(f.name + " " + problem);
  if (set->subjects.empty()) return skipped(set->left_out);
  if (tried.wanted == 0) return skipped("no call of the host was seen");
  return {Outcome::pass, reached(tried.done, tried.wanted, "host calls failed in turn", all_seconds)};
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
