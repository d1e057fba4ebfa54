// Samplers: from noise to a picture in a few steps. Which there are, and what one offers to the denoising loop.
//
// Every sampler gives the results of diffusers' scheduler of the same name, for the same initial latents and the same
// noise: same timesteps, same arithmetic, float32 throughout.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/generate/estimate.h"
#include "core/generate/scheduler_file.h"

namespace t2i {

// Standard normal noise of the latents' shape for evaluation `i`; asked for at most once per evaluation.
using NoiseSource = std::function<at::Tensor(int64_t i)>;

// One run over the timesteps: for i = 0, 1, … in order
//     x = sampler.step(predict(sampler.scale_input(x, i), timesteps()[i]), x, i, noise)
// after x = initial noise · init_noise_sigma(). Step 0 forgets the run before. One thread at a time.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // What the network is told at each evaluation: 0 … the number of training timesteps. Some samplers evaluate the
  // network more often than they were asked for steps.
  const std::vector<double>& timesteps() const { return timesteps_; }
  double init_noise_sigma() const { return init_noise_sigma_; }
  virtual at::Tensor scale_input(const at::Tensor& x, int64_t) const { return x; }
  virtual at::Tensor step(const at::Tensor& prediction, const at::Tensor& x, int64_t i, const NoiseSource& noise) = 0;

 protected:
  std::vector<double> timesteps_;
  double init_noise_sigma_ = 1;
};

struct SamplerOptions {
  int64_t steps = 50;
  int64_t image_tokens = 0;  // places of the latent picture that the network sees; for schedules shifted by size
  // Levels of a flow, before they are shifted, end at 1/steps: some pipelines give them so to their scheduler. Else at the
  // smallest level of training.
  bool flow_ends_at_step = false;
};

// `name` is one of sampler_names(), or empty: the scheduler class that the file names. Throws Failure: E6001 unknown
// name, E6002 the file's class or kind of schedule has no sampler here, E6003 values in the file, E6004 steps.
std::unique_ptr<Sampler> make_sampler(const std::string& name, SchedulerFile file, const SamplerOptions& options);

// ddim, ddpm, … as --sampler takes them.
const std::vector<std::string>& sampler_names();

// The name under which make_sampler("", …) would have chosen; for the text stored in pictures.
std::string default_sampler(const SchedulerFile& file);

// Sampler by sampler, each in the file of its name.
std::unique_ptr<Sampler> make_ddim(SchedulerFile& file, const SamplerOptions& options);
std::unique_ptr<Sampler> make_ddpm(SchedulerFile& file, const SamplerOptions& options);
std::unique_ptr<Sampler> make_pndm(SchedulerFile& file, const SamplerOptions& options);
std::unique_ptr<Sampler> make_euler(SchedulerFile& file, const SamplerOptions& options);
std::unique_ptr<Sampler> make_euler_ancestral(SchedulerFile& file, const SamplerOptions& options);
std::unique_ptr<Sampler> make_dpm_multistep(SchedulerFile& file, const SamplerOptions& options);
std::unique_ptr<Sampler> make_flow_euler(SchedulerFile& file, const SamplerOptions& options);

// Shared by some: clip_sample and its range, thresholding refused.
struct Clip {
  bool on = false;
  double range = 1;
  at::Tensor operator()(const at::Tensor& clean) const { return on ? clean.clamp(-range, range) : clean; }
};
Clip read_clip(SchedulerFile& file, bool has_clip_sample);

}  // namespace t2i
