// The components of a plugin under check, each made with its default options, and their functions as uniform calls with
// tensors that they must accept. Small shapes: batch 3, latents [3,C,8,8].
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/model/tensors.h"
#include "core/plug/check/outcome.h"
#include "core/plug/library.h"
#include "core/plug/model.h"

namespace t2i {

struct Answer {
  int32_t code = 0;
  std::string text;  // what was reported with it
  Tensors out;
};

struct Callable {
  std::string name;  // "loss 'x' prepare()"
  std::function<Answer(const Tensors&)> call;
  Tensors in;                                       // complete and well-formed
  std::map<std::string, std::vector<int64_t>> puts;  // what must come out, with its shape
  bool needs_all = false;                           // must put those, or fail, whatever it is given
  bool by_name = true;                              // false: the plugin gets the tensors in order, without their names
};

struct Subject {
  std::string name;  // "loss 'x'"
  const Component* component = nullptr;
  std::shared_ptr<void> self;    // a loss or a task
  std::shared_ptr<Model> model;  // a model, built on the folder of --model with random weights
  std::vector<Callable> calls;
};

struct SubjectSet {
  LoadedPlugin plugin;
  std::vector<Subject> subjects;
  std::string left_out;  // which components were not made, and why; a sentence or nothing
};

// Loads the library with the faulty host (no fault set) and makes every component. The error says what went wrong and
// with which component; its id tells loading (E2052 ... E2062) from making (E2063).
Result<LoadedPlugin> load_subject(const CheckContext& context);
Result<SubjectSet> make_subjects(const CheckContext& context);

// A component's options, all at their defaults. E2063 when one has none.
Result<Json> default_options(const Component& component);

// Creates a loss or task anew: 0 and *self, or the plugin's code.
int32_t create_component(const Component& component, const Json& options, void** self);
void destroy_component(const Component& component, void* self);  // of any kind

// A model's forward: its weights random (in `dtype`), its inputs made by its own tokenizer and text encoder.
Result<Subject> make_model(const Component& component, const CheckContext& context, at::ScalarType dtype);

// The scheduler_config.json that losses are given: the one most published models have.
Json sample_scheduler();

}  // namespace t2i
