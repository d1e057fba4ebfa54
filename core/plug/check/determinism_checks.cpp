// The same draws give the same bytes, and nothing of the process is changed or waited for.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "core/plug/check/subject.h"
#include "core/plug/step_scope.h"

namespace t2i {
namespace {

Outcome failed(std::string text) { return {Outcome::fail, std::move(text)}; }
Outcome skipped(std::string text) { return {Outcome::skip, std::move(text)}; }
Outcome passed(const SubjectSet& set) { return {set.subjects.empty() ? Outcome::skip : Outcome::pass, set.left_out}; }

// Runs `look` over every function; the first sentence it gives is the failure.
template <class Look>
Outcome for_each_call(const CheckContext& context, Look look) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls)
      if (std::string problem = look(f); !problem.empty()) return failed(f.name + " " + problem);
  return passed(*set);
}

Outcome repeatable(const CheckContext& context) {
  return for_each_call(context, [](const Callable& f) -> std::string {
    Tensors first = f.call(f.in).out, second = f.call(f.in).out;
    for (const auto& [name, t] : first)
      if (!second.contains(name) || !t.equal(second[name])) return fmt::format("puts another '{}' when called again with the same tensors", name);
    return "";
  });
}

Outcome global_state(const CheckContext& context) {
  return for_each_call(context, [](const Callable& f) -> std::string {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    at::Tensor state = generator.get_state();
    bool grad = at::GradMode::is_enabled();
    int threads = at::get_num_threads();
    f.call(f.in);
    if (!state.equal(generator.get_state())) return "draws from torch's global generator; draw by t2i.rng/1";
    if (grad != at::GradMode::is_enabled()) return "changes the gradient mode";
    if (threads != at::get_num_threads()) return "changes the number of threads";
    return "";
  });
}

Outcome no_waiting(const CheckContext& context) {
  return for_each_call(context, [](const Callable& f) -> std::string {
    Answer outside = f.call(f.in);
    StepScope step;
    Answer inside = f.call(f.in);
    if (!outside.code && inside.code) return "waits for the device inside a step: " + inside.text;
    return "";
  });
}

}  // namespace

const std::vector<Check>& determinism_checks() {
  static const std::vector<Check> checks{
      {"determinism", "repeatable", "R1", "gives the same bytes for the same tensors and draws", repeatable},
      {"determinism", "global", "R2", "leaves torch's generator, gradient mode and threads alone", global_state},
      {"determinism", "waiting", "R3", "reads no value inside a step", no_waiting},
  };
  return checks;
}

}  // namespace t2i
