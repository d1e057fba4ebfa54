// What families of latent diffusion have in common around their networks: reading the configurations of a folder's
// parts with all their problems, and what the scheduler's file says of the objective.
#pragma once
#include <t2i/t2i.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "autoencoder_kl.hpp"

namespace t2i {

// Reads the parts that a folder has. `config` is what create() of a model was given.
class PartConfigs {
 public:
  explicit PartConfigs(const Json& config);

  // Calls `reader(config.json, file(part))` where the folder has that part; false where it has not, or where something
  // was wrong. model_index.json must call it `class_name`, if it says anything; of a part from elsewhere its
  // configuration must. `or_else`: another class that the family takes in its place, for the message.
  bool read(const std::string& part, const std::string& class_name,
            const std::function<void(const Json&, const std::string& file)>& reader, const std::string& or_else = "");
  // As what transformers or diffusers opens the part; empty where nothing says it, or where there is none.
  std::string class_of(const std::string& part) const;
  // Does it lie elsewhere than in the model's folder?
  bool from_elsewhere(const std::string& part) const { return files_.contains(part); }
  // "PART/config.json", or where that of a part from elsewhere lies; and the folder of it.
  std::string file(const std::string& part) const;
  std::string folder(const std::string& part) const;
  // Its configuration, {} where it has none.
  Json config(const std::string& part) const { return parts_.value(part, Json::object()); }
  // Throws Error with every problem found, if there was one.
  void done() const;

 private:
  Json parts_, classes_, files_;
  std::string problems_;
};

// A text of scheduler_config.json; Error that names file and key where it is something else.
std::string scheduler_text(const Json& scheduler, const char* key, const char* otherwise);

// The loss that a folder's scheduler says the model was trained with: "epsilon", "v_prediction" or "rectified_flow";
// empty where it says none that is known.
std::string objective_of(const Json& scheduler);

// What describe() says of an AutoencoderKL and of a CLIP text model: role, older names, what files may hold beside it.
// Folders written before diffusers 0.17 call the autoencoder's attention layers by their first names. `needs_range`: it
// exceeds float16.
Json autoencoder_part(bool needs_range);
Json clip_text_part();

// The functions that a family with an AutoencoderKL has around it: a model derives from this and builds `vae_`.
class WithAutoencoder {
 public:
  void encode_image(Named in, Sink out);   // pixels -> mean, logvar
  void decode_image(Named in, Sink out);   // latents -> pixels
  Tensor scale_latents(Tensor sample) const;

 protected:
  std::optional<AutoencoderConfig> vae_config_;  // empty where the folder has no vae
  std::unique_ptr<AutoencoderKL> vae_;
};

// A part that was built; Error otherwise.
template <class T>
T& built(const std::unique_ptr<T>& part, const char* name) {
  if (!part) fail(std::string("part '") + name + "' was not built", T2I_E_INTERNAL);
  return *part;
}

// Problems of how configurations fit each other, told all at once.
class Misfits {
 public:
  void must_fit(int64_t n, const std::string& what, int64_t m, const std::string& other);
  void add(const std::string& problem) { problems_ += (problems_.empty() ? "" : "\n") + problem; }
  void done() const;  // throws Error where there was one

 private:
  std::string problems_;
};

// Throws where two configurations do not fit: "FILE: 'KEY' is N, but FILE: 'KEY' is M. → Take both …".
void must_fit(int64_t n, const std::string& what, int64_t m, const std::string& other);

}  // namespace t2i
