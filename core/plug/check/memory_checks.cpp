// What is taken is given back: tensor handles, objects, nodes of the autograd graph.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/plug/check/subject.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"

namespace t2i {
namespace {

Outcome failed(std::string text) { return {Outcome::fail, std::move(text)}; }
Outcome skipped(std::string text) { return {Outcome::skip, std::move(text)}; }
Outcome passed(const SubjectSet& set) { return {set.subjects.empty() ? Outcome::skip : Outcome::pass, set.left_out}; }

Outcome handles(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls) {
      const int rounds = s.model ? 10 : 100;
      for (int i = 0; i < 2; ++i) f.call(f.in);  // what is kept from the first step is no leak
      int64_t before = live_handles;
      for (int i = 0; i < rounds; ++i) f.call(f.in);
      if (live_handles != before) return failed(fmt::format("{} leaves {} tensor handles behind in {} calls", f.name, live_handles - before, rounds));
    }
  return passed(*set);
}

Outcome objects(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  bool any = false;
  for (const Component& c : plugin->components) {
    Result<Json> options = default_options(c);
    if (c.kind == "model" || !options) continue;
    int64_t before = live_handles;
    for (int i = 0; i < 100; ++i) {
      void* self = nullptr;
      if (create_component(c, *options, &self)) return skipped("its components cannot be made");
      destroy_component(c, self);
      any = true;
    }
    if (live_handles != before) return failed(fmt::format("{} '{}' keeps {} tensor handles after 100 times create and destroy", c.kind, c.id, live_handles - before));
  }
  return any ? Outcome{Outcome::pass, ""} : skipped("models are made by check --model");
}

// Graphs made, run backward and dropped again: what a custom node holds is freed once, in whatever thread.
Outcome graphs(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  bool any = false;
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls) {
      const char* input = s.model ? "latents" : "prediction";
      if (!f.in.contains(input)) continue;
      int64_t before = 0;
      for (int i = 0; i < (s.model ? 4 : 20); ++i) {
        if (i == 2) before = live_handles;
        Tensors in = f.in;
        in[input] = in[input].detach().clone().requires_grad_(true);
        Answer a = f.call(in);
        if (a.code) return skipped(f.name + " fails");
        at::Tensor out = a.out.begin()->second;
        if (out.requires_grad() && i % 2 == 0) torch::autograd::backward({out.sum()}, {});  // and half of them unused
      }
      any = true;
      if (live_handles != before) return failed(fmt::format("{} with gradients leaves {} tensor handles behind", f.name, live_handles - before));
    }
  return any ? passed(*set) : skipped("nothing here takes gradients");
}

}  // namespace

const std::vector<Check>& memory_checks() {
  static const std::vector<Check> checks{
      {"memory", "handles", "M1", "has as many tensor handles after 100 calls as before", handles},
      {"memory", "objects", "M2", "gives back what 100 objects took", objects},
      {"memory", "graphs", "M3", "frees what its autograd nodes hold, once", graphs},
  };
  return checks;
}

}  // namespace t2i
