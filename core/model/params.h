// One part's weights (a denoiser's, a VAE's): the scope of plugin.h. A plugin declares names and shapes; the core then
// allocates flat buffers, one for what is trained and one for what is frozen, and every parameter is a view of its
// buffer. So clipping is one norm, the optimizer one fused call, a reduction a few collectives, a checkpoint one write.
//
// What is frozen may be held in a narrower type than what is trained: that saves memory and changes no arithmetic. Layers
// bring such a weight into the type of their product (frozen_layer.h), and a model that asks for a parameter gets it in the
// store's type.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/model/recompute.h"

namespace t2i {

class BlockSwap;       // core/model/block_swap.h
class Offload;         // core/model/offload.h
struct Adapter;        // core/model/adapter.h
struct PackedWeight;   // core/model/packed.h
struct SwappedWeight;  // core/model/block_swap.h

struct Parameter {
  std::string name;            // as in the diffusers state dict
  std::vector<int64_t> shape;
  std::string init;            // plugin.h, declare()
  bool trainable = false;
  int64_t offset = 0;          // in elements, in its flat buffer
  at::Tensor value;            // a view of ParamStore::trained or ::frozen; a leaf that requires grad if trainable
  std::shared_ptr<const PackedWeight> packed = nullptr;    // a frozen weight in fewer bits; `value` is then undefined
  std::shared_ptr<const Adapter> adapter = nullptr;        // what is trained, or was, beside a frozen weight
  std::shared_ptr<const SwappedWeight> swapped = nullptr;  // `value` or `packed` may be in host memory: ask for it by this
  bool hosted = false;                                     // `value` and `offset` are of another part's buffers: ParamStore::host()
};

class ParamStore {
 public:
  std::string part;                    // "unet": the folder its weights come from
  std::vector<Parameter> parameters;   // in order of declaration
  std::vector<Parameter> added;        // trained beside them by the core: what adapters are made of
  std::vector<Parameter> guests;       // weights of other parts, "PART.NAME", that are trained beside them
  at::Tensor trained, trained_grad;    // flat; undefined when nothing is trained
  at::Tensor frozen;                   // flat; undefined when everything is trained or packed
  at::ScalarType dtype = at::kFloat;   // of what is trained, and of what a model is given
  at::ScalarType frozen_dtype = at::kFloat;  // in which the rest is held, where it is not packed
  at::Device device = at::kCPU;        // that the part is computed on
  std::shared_ptr<BlockSwap> swap;     // before allocate(): frozen matrices wait in host memory; null: nothing does
  bool keeps_gradients = true;         // false, before allocate(): a parameter has a gradient only while backward makes it
  RecomputePlan recompute;             // these blocks are run again in backward instead of keeping what they made
  std::shared_ptr<Offload> offload;    // where what they run on waits; null: where it is
  int64_t blocks_met = 0;              // by this forward pass
  const BlockWatch* watch = nullptr;

  std::unordered_map<std::string, bool> recomputed_whole;  // by name of block: see run_recomputed()

  explicit ParamStore(std::string part_name) : part(std::move(part_name)) {}

  // [build] A new slot. Declaring a name twice is the plugin's error (throws c10::Error).
  uint32_t declare(std::string name, std::vector<int64_t> shape, std::string init);

  // [after build] One more trained parameter that no plugin knows of, with its place in the same flat buffers.
  void add(std::string name, std::vector<int64_t> shape, std::string init);

  // [after both are built] Weights of another part that are trained together with these: they get their places in these
  // buffers, so that the optimizer, the average, reductions and checkpoints need not know of it, and allocate() gives
  // `other` its views. Before all others, because backward reaches them last (core/dist/reducer.h). `other` is allocated
  // after this store and must outlive its training.
  void host(ParamStore& other, const std::function<bool(const Parameter&)>& is_trained);

  // Flat buffers and views, not yet filled: weights are loaded or initialised, gradients zeroed before a backward pass.
  // `is_trained` is asked by name; gradients are allocated for what it accepts. What `is_packed` accepts of the rest has
  // no place in them: who loads it gives Parameter::packed. `frozen_type`: of what is not trained, else `type`. With `swap`
  // its matrices have no place either, but memory of their own on the host.
  void allocate(at::ScalarType type, at::Device on, const std::function<bool(const std::string&)>& is_trained,
                const std::function<bool(const Parameter&)>& is_packed = {}, std::optional<at::ScalarType> frozen_type = std::nullopt);

  // Gives the memory back. What was declared stays; no function of the plugin may reach for these weights any more.
  void release();

  // Fills every parameter by its init, as a pure function of (seed, name).
  void initialize(uint64_t seed);
  static void initialize(Parameter& parameter, uint64_t seed);  // the same of one

  const Parameter* find(const std::string& name) const;  // among `parameters`
  std::vector<const Parameter*> trained_parameters() const;  // of all lists, in the order of the flat buffer
  bool trains_own() const;        // is any of `parameters` trained?
  int64_t count() const;          // elements, all parameters of the model; buffers are none
  int64_t trained_count() const;  // elements, the trained ones of `parameters` and `added`
  uint64_t guest_bytes() const;   // of the trained buffer
  uint64_t packed_bytes() const;  // of Parameter::packed
  uint64_t held_bytes() const;    // of what is frozen and not packed
  uint64_t weight_bytes() const;  // of all weights on the device

  // Is each frozen weight in `frozen` and in float32, and so as exact as in its file?
  bool holds_frozen_exactly() const;

 private:
  struct Home {
    ParamStore* store;
    size_t index;  // among its parameters
  };
  std::vector<Home> homes_;  // of the guests
  std::unordered_map<std::string, uint32_t> index_;
};

}  // namespace t2i
