#include "core/generate/sampler.h"

#include <algorithm>

namespace t2i {

namespace {

enum class Fits { diffusion, flow, both };

struct Entry {
  const char* name;        // --sampler
  const char* class_name;  // the scheduler class whose file chooses it
  Fits fits;               // the models that it can draw from
  std::unique_ptr<Sampler> (*make)(SchedulerFile&, const SamplerOptions&);
};

const Entry entries[] = {
    {"ddim", "DDIMScheduler", Fits::diffusion, make_ddim},
    {"ddpm", "DDPMScheduler", Fits::diffusion, make_ddpm},
    {"pndm", "PNDMScheduler", Fits::diffusion, make_pndm},
    {"euler", "EulerDiscreteScheduler", Fits::diffusion, make_euler},
    {"euler_a", "EulerAncestralDiscreteScheduler", Fits::diffusion, make_euler_ancestral},
    {"dpm++2m", "DPMSolverMultistepScheduler", Fits::both, make_dpm_multistep},
    {"dpm++2m_karras", "", Fits::diffusion, make_dpm_multistep},
    {"flow_euler", "FlowMatchEulerDiscreteScheduler", Fits::flow, make_flow_euler},
};

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// A flow model's file holds no β, a diffusion model's no shift: the class's defaults would be taken in silence. A file
// of a flow's own class lacks besides what the multistep solver reads.
bool fits(const Entry& entry, const SchedulerFile& file) {
  if (!file.is_flow()) return entry.fits != Fits::flow;
  return entry.fits == Fits::flow || (entry.fits == Fits::both && !file.has_flow_class());
}

void require_fitting(const Entry& entry, const SchedulerFile& file, bool by_name) {
  if (file.class_name().empty() || fits(entry, file)) return;
  std::vector<std::string> fitting;
  for (const Entry& other : entries)
    if (fits(other, file)) fitting.emplace_back(other.name);
  bool flow = file.is_flow();
  fail({by_name ? "--sampler" : file.path(),
        "'" + std::string(entry.name) + "' does not fit this model, which predicts " + (flow ? "a flow" : "no flow") +
            ": its scheduler is '" + file.class_name() + "'" +
            (flow && !file.has_flow_class() ? " with prediction_type 'flow_prediction'" : ""),
        flow ? "A model trained on flows has no diffusion schedule" : "A diffusion model's schedule has no shift",
        (fitting.size() > 1 ? "use one of " : "use ") + list(fitting), "E6002", Exit::config});
}

// Asked for by name, a sampler is what its name says, whatever variant of it the file describes.
void apply_name(const std::string& name, SchedulerFile& file) {
  // Other classes call the shift of their flows another name.
  if (name == "flow_euler" && !file.has_flow_class()) file.set("shift", file.number("flow_shift", 1.0));
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
  require_fitting(*entry, file, !name.empty());
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
