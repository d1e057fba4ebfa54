// What is taken is given back: tensor handles, objects, nodes of the autograd graph.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <optional>

#include "core/plug/check/faulty_host.h"
#include "core/plug/check/heap.h"
#include "core/plug/check/patience.h"
#include "core/plug/check/subject.h"
#include "core/plug/handle.h"
#include "core/plug/host.h"

namespace t2i {
namespace {

Outcome failed(std::string text) { return {Outcome::fail, std::move(text)}; }
Outcome skipped(std::string text) { return {Outcome::skip, std::move(text)}; }
Outcome passed(const SubjectSet& set, const std::string& text) {
  return {set.subjects.empty() ? Outcome::skip : Outcome::pass, text.empty() ? set.left_out : text};
}

constexpr int steps = 100, objects_made = 100;
constexpr double step_seconds = 10;  // for one function: who is slow takes the steps that fit in it, one at least

Outcome handles(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  std::string how_far;
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls) {
      for (int i = 0; i < 2; ++i) f.call(f.in);  // what is kept from the first step is no leak
      Patience patience(step_seconds);
      int64_t before = live_handles;
      int done = 0;
      do f.call(f.in), ++done;
      while (done < steps && !patience.over());
      if (live_handles != before) return failed(fmt::format("{} leaves {} tensor handles behind in {} calls", f.name, live_handles - before, done));
      if (s.model || done < steps) how_far = reached(done, steps, "steps of " + s.name, step_seconds);
    }
  return passed(*set, how_far);
}

// An object of each component made and destroyed, of a model with all its parts declared. Nothing else happens in between,
// so the heap must be what it was.
Outcome objects(const CheckContext& context) {
  Result<LoadedPlugin> plugin = load_subject(context);
  if (!plugin) return skipped("it does not load");
  std::optional<ModelFolder> folder;
  if (!context.model.empty()) folder = open_model_folder(context.model).take();
  std::string left_out = "it offers nothing that can be made", how_far;
  bool any = false;
  for (const Component& c : plugin->components) {
    const std::string name = c.kind + " '" + c.id + "'";
    Result<Json> options = default_options(c);
    if (options && c.kind == "dataset") {
      left_out = name + " is not made: it needs a file to open";
      continue;
    }
    if (!options || (c.kind == "model" && !folder)) {
      left_out = options ? name + " is not made: give a folder with --model" : name + " is not made: " + options.error().what;
      continue;
    }
    auto once = [&] {
      if (c.kind == "model") {
        Model model(c, *folder, *options);
        for (const ModelPart& part : folder->parts)
          if (model.about().at("parts").contains(part.name)) model.build(part.name);
        return true;
      }
      void* self = nullptr;
      if (create_component(c, *options, &self)) return false;
      destroy_component(c, self);
      return true;
    };
    try {
      if (!once()) return skipped("its components cannot be made");
    } catch (const Failure&) {
      return skipped("its components cannot be made");
    }
    any = true;
    int64_t before = live_handles;
    Patience patience(step_seconds / 5);  // the heap is looked at over three times as many more, after some to warm up
    int done = 0;
    do once(), ++done;
    while (done < objects_made && !patience.over());
    if (live_handles != before)
      return failed(fmt::format("{} keeps {} tensor handles after {} times create and destroy", name, live_handles - before, done));
    if (int64_t bytes = leaked_bytes(once, done))
      return failed(fmt::format("{} keeps {} bytes of memory each time it is created and destroyed", name, bytes));
    if (done < objects_made) how_far = reached(done, objects_made, "times " + name, step_seconds / 5);
  }
  return any ? Outcome{Outcome::pass, how_far} : skipped(left_out);
}

// Graphs made, run backward and dropped again: what a custom node holds is freed once, in whatever thread, by the core's
// one call of drop() (counted by the host) and by nobody else (who frees it too crashes).
Outcome graphs(const CheckContext& context) {
  if (!load_subject(context)) return skipped("it does not load");
  Result<SubjectSet> set = make_subjects(context);
  if (!set) return skipped("its components cannot be made");
  bool any = false;
  int64_t nodes = 0;
  for (const Subject& s : set->subjects)
    for (const Callable& f : s.calls) {
      const char* input = s.model ? "latents" : "prediction";
      if (!f.in.contains(input)) continue;
      int64_t before = 0;
      forget_nodes();
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
      DropCount drops = drop_count();
      if (drops.never) return failed(fmt::format("{} holds on to the graph: drop() never came for {} of {} autograd nodes", f.name, drops.never, drops.nodes));
      if (drops.again) return failed(fmt::format("{}: drop() came more than once for {} of {} autograd nodes", f.name, drops.again, drops.nodes));
      nodes += drops.nodes;
    }
  return any ? passed(*set, nodes ? fmt::format("{} nodes of its own, each dropped once", nodes) : "") : skipped("nothing here takes gradients");
}

}  // namespace

const std::vector<Check>& memory_checks() {
  static const std::vector<Check> checks{
      {"memory", "handles", "M1", "has as many tensor handles after 100 steps as before", handles},
      {"memory", "objects", "M2", "gives back the handles and the memory that 100 objects took", objects},
      {"memory", "graphs", "M3", "frees what its autograd nodes hold, once", graphs},
  };
  return checks;
}

}  // namespace t2i
