// The noise schedule of a diffusion model: how much of a picture is left at each training timestep.
//
// Notation (docs/NOTATION.md): a noisy picture is x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · noise, with ᾱ_t the running product of
// 1 − β. The arithmetic is diffusers' own, in float32 and in its order, so that schedules agree bit for bit.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/generate/scheduler_file.h"

namespace t2i {

// What the network's output means.
enum class Prediction {
  noise,     // the noise in x
  clean,     // x_0 itself
  velocity,  // √ᾱ · noise − √(1 − ᾱ) · x_0 (Salimans and Ho 2022, appendix D)
  flow,      // noise − x_0 (Liu et al. 2022), for x = (1 − σ) · x_0 + σ · noise
};

// How few sampling steps are laid over the many training ones (Lin et al. 2024, "Common diffusion noise schedules and
// sample steps are flawed", table 2).
enum class Spacing { leading, trailing, linspace };

struct NoiseSchedule {
  std::string file;            // for messages
  int64_t train_timesteps = 1000;
  std::vector<float> alpha_bar;  // ᾱ_t for t = 0 … train_timesteps − 1, decreasing
  bool cosine = false;           // from the squared-cosine β; its timesteps may lie between integers
  Prediction prediction = Prediction::noise;
  Spacing spacing = Spacing::leading;
  int64_t steps_offset = 0;
};

// What differs between the classes that read the same keys.
struct ScheduleDefaults {
  Spacing spacing = Spacing::leading;
  bool zero_snr = true;         // does the class know rescale_betas_zero_snr?
  bool zero_snr_floor = false;  // and does it keep σ finite there (ᾱ_T = 2⁻²⁴ instead of 0)?
  std::vector<std::string> predictions = {"epsilon", "sample", "v_prediction"};
};

// Wrong values are recorded in `file`; call its check() before using what this returns.
NoiseSchedule read_noise_schedule(SchedulerFile& file, const ScheduleDefaults& defaults);

// ᾱ_t, or E6004 where the steps asked for lead out of the schedule.
float alpha_bar_at(const NoiseSchedule& schedule, int64_t timestep);

// E6003 where the first timestep visited leaves nothing of the picture (ᾱ = 0) and the network predicts the noise: that
// says nothing about the picture then, and x_0 would be a division by zero.
void refuse_blind_start(const SchedulerFile& file, const NoiseSchedule& schedule, double first_timestep);

// σ_t = √((1 − ᾱ_t) / ᾱ_t) of every training timestep: the noise beside an unscaled picture (Karras et al. 2022).
std::vector<float> sigmas_of(const NoiseSchedule& schedule);

}  // namespace t2i
