// The optimizer's table. An option has its optimizer's name in front; those called adam_… are read by all of Adam's kin.
// Defaults are those of the programs that the optimizers are known from.
#include "core/base/lr_schedule.h"
#include "core/config/knob_table.h"
#include "core/config/optimizer_check.h"

namespace t2i {
namespace {

using Names = std::vector<std::string>;
const Names adams = {"adamw", "adamw8bit", "prodigy", "adamw_schedule_free"};

void add(std::vector<Knob>& to, std::vector<Knob> more) {
  for (Knob& knob : more) to.push_back(std::move(knob));
}

}  // namespace

std::vector<Knob> optimizer_knobs() {
  KnobTable<OptimizerConfig> optimizer{"optimizer", &Config::optimizer};
  using O = OptimizerConfig;
  std::vector<Knob> all = {
      optimizer("name", &O::name,
                "The optimizer: AdamW, AdamW with moments in eight bits, Adafactor, Lion, Prodigy, or schedule-free AdamW.")
          .one_of(optimizer_names()),
      optimizer("learning_rate", &O::learning_rate,
                "The highest learning rate of the schedule; null is the optimizer's own: 0.0001 (adamw, adamw8bit, lion), 1 (prodigy), "
                "0.0025 (adamw_schedule_free), relative steps (adafactor).")
          .at_least(0)
          .at_most(1000)
          .such_as("1.0e-4"),
      optimizer("transformer_lr", &O::transformer_lr,
                "The same of the denoiser alone, be it a transformer or a UNet; null is learning_rate, 0 leaves the denoiser as it is and "
                "trains text encoders alone.")
          .at_least(0)
          .at_most(1000)
          .such_as("1.0e-6"),
      optimizer("text_encoder_lr", &O::text_encoder_lr, "The same of the text encoders that are trained; null is learning_rate.")
          .at_least(0)
          .at_most(1000)
          .such_as("5.0e-6"),
      optimizer("text_encoder_2_lr", &O::text_encoder_2_lr, "The same of text_encoder_2; null is text_encoder_lr.")
          .at_least(0)
          .at_most(1000)
          .such_as("5.0e-6"),
      optimizer("text_encoder_3_lr", &O::text_encoder_3_lr, "The same of text_encoder_3; null is text_encoder_lr.")
          .at_least(0)
          .at_most(1000)
          .such_as("5.0e-6"),
      optimizer("lr_scheduler", &O::lr_scheduler, "How the learning rate moves over the run.")
          .one_of(lr_schedule_names()),
      optimizer("lr_warmup_steps", &O::lr_warmup_steps,
                "Steps over which the learning rate climbs from 0; the schedule constant has no warm-up.")
          .at_least(0)
          .at_most(any_count),
      optimizer("lr_num_cycles", &O::lr_num_cycles, "Restarts of cosine_with_restarts.").at_least(1).at_most(1e6),
      optimizer("lr_power", &O::lr_power, "Exponent of polynomial.").above(0).at_most(100),
      optimizer("adam_beta1", &O::adam_beta1, "Decay of the mean of the gradients.").at_least(0).below(1).read_by(adams),
      optimizer("adam_beta2", &O::adam_beta2, "Decay of the mean of the squared gradients.").at_least(0).below(1).read_by(adams),
      optimizer("adam_weight_decay", &O::adam_weight_decay,
                "Share of the weights that a step takes away, times the learning rate.")
          .at_least(0)
          .at_most(1000)
          .read_by({"adamw", "adamw8bit"}),
      optimizer("adam_epsilon", &O::adam_epsilon, "Added to the denominator of an update.").above(0).at_most(1).read_by(adams),
  };
  const Names lion = {"lion"}, adafactor = {"adafactor"}, prodigy = {"prodigy"}, schedule_free = {"adamw_schedule_free"};
  add(all, {
      optimizer("lion_beta1", &O::lion_beta1, "Share of the mean in the direction of an update.").at_least(0).below(1).read_by(lion),
      optimizer("lion_beta2", &O::lion_beta2, "Decay of the mean of the gradients.").at_least(0).below(1).read_by(lion),
      optimizer("lion_weight_decay", &O::lion_weight_decay, "Share of the weights that a step takes away, times the learning rate.")
          .at_least(0)
          .at_most(1000)
          .read_by(lion),
  });
  add(all, {
      optimizer("adafactor_beta1", &O::adafactor_beta1, "Decay of the mean of the updates; 0 keeps none.").at_least(0).below(1).read_by(adafactor),
      optimizer("adafactor_decay_rate", &O::adafactor_decay_rate,
                "The mean of the squared gradients takes in the newest with the step's number to this power.")
          .at_least(-10)
          .at_most(0)
          .read_by(adafactor),
      optimizer("adafactor_eps1", &O::adafactor_eps1, "Added to the squared gradients.").at_least(0).at_most(1).read_by(adafactor),
      optimizer("adafactor_eps2", &O::adafactor_eps2, "The least size of a parameter's weights that steps are scaled by.")
          .at_least(0)
          .at_most(1)
          .read_by(adafactor),
      optimizer("adafactor_clip_threshold", &O::adafactor_clip_threshold, "The largest root mean square of a parameter's update.")
          .above(0)
          .at_most(1e6)
          .read_by(adafactor),
      optimizer("adafactor_weight_decay", &O::adafactor_weight_decay, "Share of the weights that a step takes away, times its size.")
          .at_least(0)
          .at_most(1000)
          .read_by(adafactor),
      optimizer("adafactor_scale_parameter", &O::adafactor_scale_parameter, "Scale a parameter's steps by the size of its weights.").read_by(adafactor),
      optimizer("adafactor_relative_step", &O::adafactor_relative_step,
                "Take steps that become smaller with their number, instead of a learning rate.")
          .read_by(adafactor),
      optimizer("adafactor_warmup_init", &O::adafactor_warmup_init, "Let relative steps grow from a small one.").read_by(adafactor),
  });
  add(all, {
      optimizer("prodigy_beta3", &O::prodigy_beta3, "Decay of what the step's size is estimated from; 0 is the root of adam_beta2.")
          .at_least(0)
          .below(1)
          .read_by(prodigy),
      optimizer("prodigy_weight_decay", &O::prodigy_weight_decay, "Share of the weights that a step takes away, times its size.")
          .at_least(0)
          .at_most(1000)
          .read_by(prodigy),
      optimizer("prodigy_decouple", &O::prodigy_decouple, "Take the decay from the weights as AdamW does, not through the gradient.").read_by(prodigy),
      optimizer("prodigy_use_bias_correction", &O::prodigy_use_bias_correction, "Take smaller first steps, as Adam does.").read_by(prodigy),
      optimizer("prodigy_safeguard_warmup", &O::prodigy_safeguard_warmup,
                "Keep the schedule's learning rate out of the estimate, for runs with a warm-up.")
          .read_by(prodigy),
      optimizer("prodigy_d0", &O::prodigy_d0, "The first estimate of the step's size.").above(0).at_most(1).read_by(prodigy),
      optimizer("prodigy_d_coef", &O::prodigy_d_coef, "A factor of the estimate.").above(0).at_most(1000).read_by(prodigy),
      optimizer("prodigy_growth_rate", &O::prodigy_growth_rate, "The estimate grows by this factor a step at most; 0 is any.")
          .at_least(0)
          .at_most(1e6)
          .read_by(prodigy),
  });
  add(all, {
      optimizer("schedule_free_weight_decay", &O::schedule_free_weight_decay, "Share of the weights that a step takes away, times the learning rate.")
          .at_least(0)
          .at_most(1000)
          .read_by(schedule_free),
      optimizer("schedule_free_warmup_steps", &O::schedule_free_warmup_steps, "Steps over which the learning rate climbs.")
          .at_least(0)
          .at_most(any_count)
          .read_by(schedule_free),
      optimizer("schedule_free_r", &O::schedule_free_r, "The average weighs later weights by their step's number to this power.")
          .at_least(0)
          .at_most(100)
          .read_by(schedule_free),
      optimizer("schedule_free_weight_lr_power", &O::schedule_free_weight_lr_power,
                "The average weighs weights by their learning rate to this power.")
          .at_least(0)
          .at_most(100)
          .read_by(schedule_free),
  });
  add(all, {
      optimizer("bf16_weights", &O::bf16_weights,
                "With train.dtype: bfloat16, how changes too small for it are kept: split keeps the other half of a float32 beside each weight, "
                "stochastic_rounding keeps them on the average, plain loses them.")
          .one_of({"split", "stochastic_rounding", "plain"}),
      optimizer("fused_backward", &O::fused_backward,
                "Update each weight as soon as its gradient is there, and free the gradient at once: without accumulation and clipping."),
  });
  return all;
}

}  // namespace t2i
