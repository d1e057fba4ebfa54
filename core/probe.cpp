#include "core/probe.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/checkpoint/own_file.h"
#include "core/model/load.h"
#include "core/precision/device.h"
#include "core/session.h"
#include "core/train/objective.h"
#include "core/train/pattern.h"
#include "core/train/run_state.h"

namespace t2i {
namespace {

struct Probe {
  const ProbeOptions& options;
  std::unique_ptr<Session> session;
  Tensors in;
  at::ScalarType dtype;
  Model& model() { return *session->model; }
};

Tensors read_inputs(const std::string& path, at::Device device, at::ScalarType dtype) {
  Tensors tensors;
  if (path.empty()) return tensors;
  SafetensorsFile file = open_safetensors(path).take();
  for (const TensorEntry& e : file.tensors) {
    at::Tensor t = stored_tensor(e).clone().to(device);
    // A number per sample: float32 as training draws it, whatever the file has. Half precision would round it, and an
    // integer would make integers of what is computed from it.
    bool scalar_per_sample = e.name == "timesteps" || e.name == "guidance" || e.name == "time_ids";
    tensors[e.name] = scalar_per_sample ? t.to(at::kFloat) : t.is_floating_point() ? t.to(dtype) : t;
  }
  return tensors;
}

at::Tensor need(const Tensors& in, const std::string& name, const Probe& p) {
  auto it = in.find(name);
  if (it == in.end())
    fail({p.options.inputs.empty() ? "--inputs" : p.options.inputs, "there is no tensor '" + name + "'",
          "probe " + p.options.what + " reads it", "add it to the file", "E2120", Exit::missing});
  return it->second;
}

Tensors tokens_of(Probe& p) {
  if (p.options.prompts.empty()) fail({"--prompt", "no prompt was given", "", "add --prompt TEXT, as often as wanted", "E2121", Exit::usage});
  Tensors tokens = p.model().tokenize(p.options.prompts);
  for (auto& [name, t] : tokens) t = t.to(p.session->device);
  return tokens;
}

// In the type that was asked for, also of a part that is held in another.
Tensors as_asked(Tensors out, const Probe& p) {
  for (auto& [name, t] : out)
    if (t.is_floating_point()) t = t.to(p.dtype);
  return out;
}

Tensors text(Probe& p) {
  load_role(*p.session, p.options.config, "text_encoder", p.dtype);
  return as_asked(p.model().encode_text(tokens_of(p)), p);
}

Tensors encode(Probe& p) {
  load_role(*p.session, p.options.config, "vae", p.dtype);
  Tensors out = p.model().encode_image(need(p.in, "pixels", p));
  out["latents"] = p.model().scale_latents(out.at("mean"));
  return as_asked(std::move(out), p);
}

Tensors decode(Probe& p) {
  load_role(*p.session, p.options.config, "vae", p.dtype);
  return as_asked({{"pixels", p.model().decode_image(need(p.in, "latents", p))}}, p);
}

Tensors forward(Probe& p) {
  if (p.options.config.lora.rank) load_denoiser(*p.session, p.options.config, p.dtype);
  else load_role(*p.session, p.options.config, "denoiser", p.dtype);
  need(p.in, "latents", p), need(p.in, "timesteps", p);
  return {{"prediction", p.model().forward(p.in).at("prediction")}};
}

Tensors step(Probe& p) {
  for (const char* name : {"latents", "noise", "timesteps"}) need(p.in, name, p);
  const Config& config = p.options.config;
  const std::vector<std::string> trained = expand_groups(config.train.parameters, p.model().about());
  ParamStore& denoiser = config.lora.rank ? load_denoiser(*p.session, config, p.dtype)
                                          : load_part(*p.session, config, p.model().denoiser(), p.dtype, [&](const std::string& name) {
                                              return p.options.grads && matches_any(name, trained);
                                            }, p.options.grads && !trained.empty() ? FrozenAs::model_dtype : FrozenAs::the_part);
  const bool asked = config.positions.contains("train.gradient_checkpointing");
  denoiser.recompute.every = asked && config.train.gradient_checkpointing ? config.train.checkpoint_every_n_blocks : 0;
  at::AutoGradMode with_grad(p.options.grads);
  Tensors out = denoising_loss(p.model(), *p.session->loss, p.in, at::kFloat);
  if (p.options.grads) {
    denoiser.trained_grad.zero_();
    torch::autograd::backward({out.at("loss")}, {});
    for (const Parameter* parameter : denoiser.trained_parameters()) out["grad." + parameter->name] = parameter->value.grad();
  }
  return out;
}

}  // namespace

int probe_command(const ProbeOptions& asked) {
  ProbeOptions options = asked;
  if (options.config.model.dtype == "auto") options.config.model.dtype = "float32";  // --dtype says it
  static const std::map<std::string, Tensors (*)(Probe&)> pieces{{"tokens", tokens_of}, {"text", text},       {"encode", encode},
                                                                 {"decode", decode},    {"forward", forward}, {"step", step}};
  auto piece = pieces.find(options.what);
  if (piece == pieces.end()) {
    std::vector<std::string> known;
    for (const auto& [name, f] : pieces) known.push_back(name);
    auto hint = nearest(options.what, known);
    fail({"probe", "'" + options.what + "' is not a piece", hint ? "Did you mean '" + *hint + "'?" : "",
          "tokens, text, encode, decode, forward or step", "E2122", Exit::usage});
  }
  require_own_file(options.outputs, "--outputs");
  if (auto errors = nothing_to_pack(options.config); options.grads && !errors.empty()) throw Failure(std::move(errors));
  at::NoGradGuard no_grad;
  Probe p{options, open_session(options.config, options.plugin_paths, {.loss = options.what == "step", .device = options.device}), {}, dtype_from(options.dtype, "--dtype")};
  p.in = read_inputs(options.inputs, p.session->device, p.dtype);
  Tensors out = piece->second(p);
  std::vector<TensorSource> sources;
  for (auto& [name, t] : out) {
    t = t.detach().to(at::kCPU).contiguous();
    sources.push_back(tensor_source(name, t));
  }
  write_own_file(options.outputs, "--outputs", std::move(sources));
  for (const std::string& notice : p.session->notices) fmt::print(stderr, "notice: {}\n", printable(notice));
  return static_cast<int>(Exit::done);
}

}  // namespace t2i
