#include "core/generate/sampler.h"

#include <algorithm>

namespace t2i {

namespace {

struct Entry {
  const char* name;        // --sampler
  const char* class_name;  // the scheduler class whose file chooses it
  bool flow;               // works on flow schedules, the others on diffusion's
  std::unique_ptr<Sampler> (*make)(SchedulerFile&, const SamplerOptions&);
};

const Entry entries[] = {
    {"ddim", "DDIMScheduler", false, make_ddim},
    {"ddpm", "DDPMScheduler", false, make_ddpm},
    {"pndm", "PNDMScheduler", false, make_pndm},
    {"euler", "EulerDiscreteScheduler", false, make_euler},
    {"euler_a", "EulerAncestralDiscreteScheduler", false, make_euler_ancestral},
    {"dpm++2m", "DPMSolverMultistepScheduler", false, make_dpm_multistep},
    {"dpm++2m_karras", "", false, make_dpm_multistep},
    {"flow_euler", "FlowMatchEulerDiscreteScheduler", true, make_flow_euler},
};

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Asked for by name, a sampler is what its name says, whatever variant of it the file describes.
void apply_name(const std::string& name, SchedulerFile& file) {
  if (!name.starts_with("dpm++2m")) return;
  file.set("algorithm_type", "dpmsolver++");
  file.set("solver_order", 2);
  if (name == "dpm++2m_karras") {
    file.set("use_karras_sigmas", true);
    file.set("use_exponential_sigmas", false);
  }
}

}  // namespace

const std::vector<std::string>& sampler_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Entry& entry : entries) all.emplace_back(entry.name);
    return all;
  }();
  return names;
}

std::string default_sampler(const SchedulerFile& file) {
  for (const Entry& entry : entries)
    if (file.class_name() == entry.class_name && *entry.class_name) return entry.name;
  return "";
}

std::unique_ptr<Sampler> make_sampler(const std::string& name, SchedulerFile file, const SamplerOptions& options) {
  std::string chosen = name.empty() ? default_sampler(file) : name;
  if (chosen.empty()) {
    std::string got = file.class_name().empty() ? "no scheduler class" : "the scheduler class '" + file.class_name() + "'";
    fail({file.path(), "it names " + got + ", for which there is no sampler", "",
          "choose one with --sampler: " + list(sampler_names()), "E6002", Exit::config});
  }
  auto entry = std::ranges::find(entries, chosen, &Entry::name);
  if (entry == std::end(entries)) {
    std::optional<std::string> near = nearest(chosen, sampler_names());
    fail({"--sampler", "unknown sampler '" + chosen + "'", "There are " + list(sampler_names()),
          near ? "did you mean '" + *near + "'?" : "choose one of them", "E6001", Exit::usage});
  }
  // A flow model's file holds no β, a diffusion model's no shift: the class's defaults would be taken in silence.
  bool flow_file = file.class_name().starts_with("FlowMatch");
  if (!file.class_name().empty() && flow_file != entry->flow)
    fail({"--sampler", "'" + chosen + "' does not fit this model: its scheduler is '" + file.class_name() + "'",
          flow_file ? "A model trained on flows has no diffusion schedule" : "A diffusion model does not predict a flow",
          flow_file ? "use flow_euler" : "use any but flow_euler", "E6002", Exit::config});
  if (!name.empty()) apply_name(name, file);
  std::unique_ptr<Sampler> sampler = entry->make(file, options);
  file.check();
  return sampler;
}

Clip read_clip(SchedulerFile& file, bool has_clip_sample) {
  if (file.flag("thresholding", false))
    file.refuse("thresholding", "Dynamic thresholding is for pixels; it ruins latents", "set it to false");
  if (!has_clip_sample) return {};
  return {file.flag("clip_sample", true), file.number("clip_sample_range", 1.0)};
}

}  // namespace t2i
