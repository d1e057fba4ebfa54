// A loaded model: the plugin's object, one ParamStore per part that was built, and its functions over named tensors.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/checkpoint/file_names.h"
#include "core/checkpoint/model_folder.h"
#include "core/model/assets.h"
#include "core/model/params.h"
#include "core/model/tensors.h"
#include "core/plug/library.h"

namespace t2i {

class Model {
 public:
  // Creates the plugin's object from the folder's configurations. Failure when the plugin refuses them. Nothing is
  // loaded yet.
  Model(const Component& component, const ModelFolder& folder, const Json& options);
  ~Model();
  Model(const Model&) = delete;

  const std::string& id() const { return component_.id; }

  const Component& component() const { return component_; }
  const Json& about() const { return about_; }     // describe(), sdk/NAMES.md
  Json configuration(const std::string& part) const;  // as it is used: with the keys that the model says it gets; {} for none
  std::vector<std::string> parts(const std::string& role) const;  // part names of a role: "denoiser", "vae", "text_encoder"
  std::string denoiser() const;                                   // the one denoiser's part name
  int64_t latent_channels() const;
  int64_t downscale() const;  // pixels along one side of a latent
  int64_t place_px() const;   // pixels along one side of what the denoiser sees as one place
  int64_t most_px() const;    // pixels along one side of the largest picture that the denoiser has places for; 0: of any
  // E2041 where a picture is larger than that; `where` is what asks for it.
  std::optional<Error> too_large(int64_t width, int64_t height, const std::string& where, Exit exit) const;

  // Before any build(): room in the denoiser's first layer for `added_latents` tensors of latent shape beside the noisy
  // ones. A folder for fewer is widened, and widened() then names the weight whose new channels start at zero.
  void make_room(int64_t added_latents);
  const std::string& widened() const { return widened_; }
  // Before make_room(): as many inputs of the first layer (`first_layer` in about()) as the weights at hand have.
  // `where`: the file that they are in, for messages.
  void set_first_inputs(int64_t inputs, const std::string& where);

  // What the family's single files call the parts' parameters; nothing where it does not say. Failure E2036.
  FileNames file_names() const;
  // What a part's parameters would be, asked of another object of the plugin: nothing of this one is built.
  std::vector<NamedShape> declared(const std::string& part) const;

  // Declares a part's parameters: the store is there, its tensors are not yet allocated.
  ParamStore& build(const std::string& part);
  ParamStore& store(const std::string& part);
  const ParamStore& store(const std::string& part) const;
  bool has(const std::string& part) const { return stores_.contains(part); }
  uint64_t weight_bytes(const std::string& role) const;  // of its parts that are loaded
  void release(const std::string& role);                 // its weights are given back; its functions must not be called again

  Tensors forward(const Tensors& in);                                  // latents, timesteps, ... -> prediction
  // -> tokens, tokens_2 ... [n,L]. `left_out`: under the same names, how many tokens of each text did not fit [n].
  Tensors tokenize(const std::vector<std::string>& texts, Tensors* left_out = nullptr);
  Tensors encode_text(const Tensors& tokens);                          // -> prompt_embeds, pooled
  Tensors encode_image(const at::Tensor& pixels);      // -> mean, logvar, in the type that the VAE is held in
  at::Tensor decode_image(const at::Tensor& latents);  // -> pixels, likewise
  at::Tensor scale_latents(const at::Tensor& sample);                  // a VAE sample -> latents
  // Does forward() take the sizes of a sample, `time_ids`?
  bool wants_sizes() const { return about_.value("size_conditioning", false); }
  // Sampling steps of `generate` where none are asked for: the family's own, or its own for a task, or 50.
  int64_t default_steps(const std::string& task) const;
  // Is a text that was not given zeros to the pipelines, instead of the encoding of ""?
  bool zero_for_no_text() const { return about_.value("zero_empty_negative", false); }
  // The `guidance` [n] that forward() takes of a guidance-distilled model, in float32 on the CPU; undefined for others.
  // `when`: "training" or "generating".
  at::Tensor guidance(int64_t n, const char* when) const;
  bool flow_ends_at_step() const;  // see SamplerOptions
  at::Tensor source_latents(const at::Tensor& mode);                   // the mode -> image_latents, scaled or not as the model says

 private:
  void create();
  std::optional<std::string> shown(const std::string& name) const;  // a file or folder of the model's, as the user knows it
  at::Tensor as_held(const std::string& role, const at::Tensor& x) const;
  const t2i_model& api() const { return *static_cast<const t2i_model*>(component_.impl); }
  std::string who(const char* function) const { return "model '" + component_.id + "' " + function; }

  const Component& component_;
  std::string where_;  // the folder, as the user wrote it
  std::string where_first_;  // the first layer's weights, where they are in a file of their own
  mutable AssetFolder assets_;
  Json config_, about_;
  std::map<std::string, Json> quantization_;  // of the parts whose config.json has one
  void* self_ = nullptr;
  std::string widened_;
  std::map<std::string, std::unique_ptr<ParamStore>> stores_;
};

}  // namespace t2i
