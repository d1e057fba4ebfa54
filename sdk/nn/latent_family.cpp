#include "latent_family.hpp"

namespace t2i {

PartConfigs::PartConfigs(const Json& config)
    : parts_(config.at("parts")),
      classes_(config.value("classes", Json::object())),
      files_(config.value("files", Json::object())) {}

std::string PartConfigs::file(const std::string& part) const { return files_.value(part, part + "/config.json"); }

std::string PartConfigs::folder(const std::string& part) const {
  const std::string path = file(part);
  return path.substr(0, path.rfind('/'));
}

std::string PartConfigs::class_of(const std::string& part) const {
  const Json named = classes_.value(part, Json(""));
  std::string name = named.is_string() ? named.get<std::string>() : "";
  if (!from_elsewhere(part)) return name;
  // A repository of the whole T5 holds its encoder, too, and older ones of an encoder say only that it is of T5.
  const bool t5 = name == "T5ForConditionalGeneration" || name == "T5Model" || (name.empty() && config(part).value("model_type", Json()) == "t5");
  return t5 ? "T5EncoderModel" : name;
}

bool PartConfigs::read(const std::string& part, const std::string& class_name,
                       const std::function<void(const Json&, const std::string&)>& reader, const std::string& or_else) {
  if (!parts_.contains(part)) return false;
  try {
    if (const std::string named = class_of(part); !named.empty() && named != class_name)
      fail((from_elsewhere(part) ? file(part) : "model_index.json") + ": '" + part + "' is \"" + named +
           "\"; supported: \"" + class_name + "\"" + (or_else.empty() ? "" : ", \"" + or_else + "\""));
    reader(parts_[part], file(part));
    return true;
  } catch (const Error& e) {
    problems_ += (problems_.empty() ? "" : "\n") + std::string(e.what());
    return false;
  }
}

void PartConfigs::done() const {
  if (!problems_.empty()) fail(problems_, T2I_E_UNSUPPORTED);
}

std::string scheduler_text(const Json& scheduler, const char* key, const char* otherwise) {
  auto found = scheduler.find(key);
  if (found == scheduler.end()) return otherwise;
  if (!found->is_string())
    fail("scheduler/scheduler_config.json: '" + std::string(key) + "' is " + found->dump() +
             "; a text is wanted, as \"" + otherwise + "\"",
         T2I_E_UNSUPPORTED);
  return *found;
}

std::string objective_of(const Json& scheduler) {
  if (scheduler_text(scheduler, "_class_name", "DDIMScheduler").starts_with("FlowMatch")) return "rectified_flow";
  std::string type = scheduler_text(scheduler, "prediction_type", "epsilon");
  return type == "v_prediction" || type == "epsilon" ? type : type == "flow_prediction" ? "rectified_flow" : "";
}

Json autoencoder_part(bool needs_range) {
  Json part = {
      {"role", "vae"},
      {"aliases", {{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}}}};
  if (needs_range) part["dtypes"] = {"float32", "bfloat16"};
  return part;
}

Json clip_text_part() {
  return {{"role", "text_encoder"},
          {"optional_prefix", "text_model."},
          {"adapter_targets", Json::array({"*.self_attn.*"})},
          {"ignored", Json::array({"text_model.embeddings.position_ids"})},
          {"not_quantized", Json::array({"*embeddings.*"})}};
}

void WithAutoencoder::encode_image(Named in, Sink out) {
  auto [mean, logvar] = built(vae_, "vae").encode(in["pixels"]);
  out.put("mean", mean);
  out.put("logvar", logvar);
}

void WithAutoencoder::decode_image(Named in, Sink out) {
  const AutoencoderKL& vae = built(vae_, "vae");
  out.put("pixels", vae.decode(unscale_latents(in["latents"], *vae_config_)));
}

Tensor WithAutoencoder::scale_latents(Tensor sample) const {
  if (!vae_config_) fail("the model has no vae", T2I_E_MISSING);
  return t2i::scale_latents(sample, *vae_config_);
}

void Misfits::must_fit(int64_t n, const std::string& what, int64_t m, const std::string& other) {
  try {
    t2i::must_fit(n, what, m, other);
  } catch (const Error& e) {
    add(e.what());
  }
}

void Misfits::done() const {
  if (!problems_.empty()) fail(problems_);
}

void must_fit(int64_t n, const std::string& what, int64_t m, const std::string& other) {
  if (n != m)
    fail(what + " is " + std::to_string(n) + ", but " + other + " is " + std::to_string(m) +
         ". → Take both from the same model, or from models that fit.");
}

}  // namespace t2i
