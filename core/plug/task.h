// A loaded task: what it needs from the data, what it gives the model, and guidance.
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/model/tensors.h"
#include "core/plug/library.h"

namespace t2i {

struct TaskColumn {
  std::string name;  // as the task calls it; data.columns may map it
  bool is_image = false;
  std::string use;   // "target", "source", "prompt"
};

class Task {
 public:
  Task(const Component& component, const Json& options);  // options already checked against the schema
  ~Task();
  Task(const Task&) = delete;

  const std::string& id() const { return component_.id; }

  const Component& component() const { return component_; }
  const std::vector<TaskColumn>& columns() const { return columns_; }
  int64_t added_latents() const { return added_latents_; }

  Tensors apply(const Tensors& step);  // training: dropout; in: conditioning, null_ twins, rng
  uint32_t branches();                 // generating: predictions per denoising step
  Tensors branch(uint32_t index, const Tensors& conditioning);
  at::Tensor combine(const std::vector<at::Tensor>& predictions);

 private:
  const t2i_task& api() const { return *static_cast<const t2i_task*>(component_.impl); }
  std::string who(const char* function) const { return "task '" + component_.id + "' " + function; }
  const Component& component_;
  void* self_ = nullptr;
  std::vector<TaskColumn> columns_;
  int64_t added_latents_ = 0;
};

}  // namespace t2i
