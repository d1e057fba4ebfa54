// One part's weights (a denoiser's, a VAE's): the scope of plugin.h. A plugin declares names and shapes; the core then
// allocates flat buffers, one for what is trained and one for what is frozen, and every parameter is a view of its
// buffer. So clipping is one norm, the optimizer one fused call, a reduction a few collectives, a checkpoint one write.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace t2i {

struct Adapter;       // core/model/adapter.h
struct PackedWeight;  // core/model/packed.h

struct Parameter {
  std::string name;            // as in the diffusers state dict
  std::vector<int64_t> shape;
  std::string init;            // plugin.h, declare()
  bool trainable = false;
  int64_t offset = 0;          // in elements, in its flat buffer
  at::Tensor value;            // a view of ParamStore::trained or ::frozen; a leaf that requires grad if trainable
  std::shared_ptr<const PackedWeight> packed = nullptr;  // a frozen weight in fewer bits; `value` is then undefined
  std::shared_ptr<const Adapter> adapter = nullptr;      // what is trained, or was, beside a frozen weight
};

class ParamStore {
 public:
  std::string part;                    // "unet": the folder its weights come from
  std::vector<Parameter> parameters;   // in order of declaration
  std::vector<Parameter> added;        // trained beside them by the core: what adapters are made of
  at::Tensor trained, trained_grad;    // flat; undefined when nothing is trained
  at::Tensor frozen;                   // flat; undefined when everything is trained
  bool keeps_gradients = true;         // false, before allocate(): a parameter has a gradient only while backward makes it
  bool recompute = false;              // blocks are run again in backward instead of keeping what they made

  explicit ParamStore(std::string part_name) : part(std::move(part_name)) {}

  // [build] A new slot. Declaring a name twice is the plugin's error (throws c10::Error).
  uint32_t declare(std::string name, std::vector<int64_t> shape, std::string init);

  // [after build] One more trained parameter that no plugin knows of, with its place in the same flat buffers.
  void add(std::string name, std::vector<int64_t> shape, std::string init);

  // Flat buffers and views, not yet filled: weights are loaded or initialised, gradients zeroed before a backward pass.
  // `is_trained` is asked by name; gradients are allocated for what it accepts.
  void allocate(at::ScalarType dtype, at::Device device, const std::function<bool(const std::string&)>& is_trained);

  // Gives the memory back. What was declared stays; no function of the plugin may reach for these weights any more.
  void release();

  // Fills every parameter by its init, as a pure function of (seed, name).
  void initialize(uint64_t seed);
  static void initialize(Parameter& parameter, uint64_t seed);  // the same of one

  const Parameter* find(const std::string& name) const;  // among `parameters`
  std::vector<const Parameter*> trained_parameters() const;  // of both lists, in the order of the flat buffer
  int64_t count() const;          // elements, all parameters of the model; buffers are none
  int64_t trained_count() const;  // elements, the trained ones of both lists

 private:
  std::unordered_map<std::string, uint32_t> index_;
};

}  // namespace t2i
