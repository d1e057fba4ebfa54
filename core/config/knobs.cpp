// The tables: a row per field, its sentence, its range. Long because it is a table.
#include <algorithm>

#include "core/config/knob_table.h"

namespace t2i {
namespace {

constexpr double max_pixels_limit = 1e10;

std::vector<Knob> component_knobs() {
  return {
      top("plugin", &Config::plugin,
          "The model family's plugin: a name, or a map with name and the family's options; null reads it from the "
          "model folder's model_index.json."),
      top("task", &Config::task,
          "What the model is taught to follow: a name, or a map with name and the task's options."),
      top("loss", &Config::loss, "The training objective: a name, or a map with name and the loss's options."),
  };
}

std::vector<Knob> model_knobs() {
  KnobTable<ModelConfig> model{"model", &Config::model};
  using M = ModelConfig;
  return {
      model("path", &M::path,
            "The model to start from: a diffusers folder, org/name in the local hub cache, or a single .safetensors file "
            "with model.base.")
          .or_null()
          .such_as("weights/my-model"),
      model("base", &M::base,
            "Beside a single file: the diffusers folder, or org/name in the local hub cache, that its configurations, "
            "tokenizers and scheduler come from.")
          .or_null(),
      model("vae", &M::vae,
            "Take the image encoder and decoder from here instead: their own folder, a model's, org/name of either in the "
            "local hub cache, or a single .safetensors file.")
          .or_null(),
      model("text_encoder", &M::text_encoder, "Take the text encoder, and the tokenizer beside it, from here instead, likewise.").or_null(),
      model("text_encoder_2", &M::text_encoder_2, "The same of a family's second text encoder, and its tokenizer_2.").or_null(),
      model("text_encoder_3", &M::text_encoder_3, "The same of a third.").or_null(),
      model("variant", &M::variant, "Read the files with this word in their names, as fp16 for *.fp16.safetensors.")
          .or_null(),
      model("dtype", &M::dtype,
            "How what is not trained is held: VAE, text encoders, and the weights beside an adapter or train.parameters. auto is "
            "train.mixed_precision's type on a GPU and float32 on a CPU; for weights beside trained ones the files' own where "
            "that loses nothing.")
          .one_of({"auto", "float32", "bfloat16", "float16"}),
      model("quantization", &M::quantization,
            "How the denoiser's weights that are not trained are packed in memory, as bitsandbytes does it: nf4 in 4 bits, int8 in 8.")
          .one_of({"none", "nf4", "int8"}),
      model("text_encoder_quantization", &M::text_encoder_quantization, "The same of the text encoders.")
          .one_of({"none", "nf4", "int8"}),
  };
}

std::vector<Knob> data_knobs() {
  KnobTable<DataConfig> data{"data", &Config::data};
  using D = DataConfig;
  return {
      data("path", &D::path, "The training data: a folder of images with captions or with a metadata.jsonl, tar shards, Parquet or Arrow files.")
          .or_null()
          .such_as("my_data"),
      data("resolution", &D::resolution,
           "Width and height of a training image in pixels; null is what the model was made for.")
          .at_least(8)
          .at_most(8192)
          .such_as("512"),
      data("columns", &D::columns,
           "The data's own names for what the task reads, as input_image: before; a name left out is itself."),
      data("center_crop", &D::center_crop, "Crop the middle instead of a random place."),
      data("random_flip", &D::random_flip, "Mirror half of the samples, all images of a sample alike."),
      data("num_workers", &D::num_workers,
           "Threads that read and decode images; their number never changes what is trained.")
          .at_least(0)
          .at_most(256)
          .safe(),
      data("on_error", &D::on_error,
           "At a sample whose picture is missing or cannot be read: stop the run, or take the next good sample in its "
           "place.")
          .one_of({"stop", "skip"}),
      data("on_mismatch", &D::on_mismatch,
           "When the images of one sample differ in size: report it, or resize them alike.")
          .one_of({"error", "resize"}),
      data("caption_missing", &D::caption_missing,
           "At an image without caption: report it, train on the empty text, or use the file's name.")
          .one_of({"error", "empty", "filename"}),
      data("max_pixels", &D::max_pixels,
           "An image with more pixels than this is refused before memory is taken for it.")
          .at_least(64)
          .at_most(max_pixels_limit)
          .safe(),
      data("allow_outside", &D::allow_outside, "Let file names in the metadata lead out of the data folder.").safe(),
      data("folder_repeats", &D::folder_repeats,
           "Where all pictures lie in folders named as 10_cats, count each ten times, as kohya's trainers do."),
      data("buckets", &D::buckets,
           "Sizes of the training images, each picture at the one nearest to its shape: auto for sizes of the area that "
           "data.resolution has, auto:768 for that of 768 x 768, 512x768 for one size (width x height); empty is one square.")
          .such_as("[auto]"),
      data("bucket_step", &D::bucket_step, "The sides of auto's sizes are multiples of so many pixels.").at_least(8).at_most(1024),
      data("bucket_max_aspect", &D::bucket_max_aspect, "The longer side of auto's sizes is at most so many times the shorter.")
          .at_least(1)
          .at_most(16),
      data("caption_weights", &D::caption_weights,
           "Several captions of a picture: the data's columns, and how often each is taken; a row may lack some of them."),
      data("caption_prefix", &D::caption_prefix, "Stands before every caption that is not dropped."),
      data("caption_suffix", &D::caption_suffix, "Stands behind every caption that is not dropped."),
      data("shuffle_tags", &D::shuffle_tags, "Take a caption's parts between separators in another order each time."),
      data("tag_separator", &D::tag_separator, "What stands between the tags of a caption."),
      data("keep_tags", &D::keep_tags, "With shuffle_tags: so many of the first tags stay where they are.").at_least(0).at_most(1000),
      data("cache", &D::cache,
           "Encode pictures and captions once and keep what they become on disk: auto encodes what is missing before the "
           "first step, only takes what is there and says what is missing, off encodes while training.")
          .one_of({"off", "auto", "only"}),
      data("cache_dir", &D::cache_dir, "The cache's folder, which several runs may share; null is data.path with .t2i-cache behind it.")
          .or_null()
          .such_as("my_data.t2i-cache")
          .safe(),
      data("cache_kinds", &D::cache_kinds, "What is cached.").one_of({"latents", "text"}),
      data("cache_crops", &D::cache_crops,
           "With a cache and without center_crop: so many crops of each picture are kept and drawn from, the first in its middle.")
          .at_least(1)
          .at_most(64),
      data("cache_shuffles", &D::cache_shuffles, "With a cache of texts and shuffle_tags: so many orders of each caption are kept and drawn from.")
          .at_least(1)
          .at_most(64),
  };
}

std::vector<Knob> train_knobs() {
  KnobTable<TrainConfig> train{"train", &Config::train};
  using T = TrainConfig;
  return {
      train("max_train_steps", &T::max_train_steps, "Optimizer steps in all; null counts them from num_train_epochs.")
          .at_least(0)
          .at_most(any_count)
          .such_as("1000")
          .safe(),
      train("num_train_epochs", &T::num_train_epochs, "Passes over the data, when max_train_steps is null.")
          .at_least(1)
          .at_most(1e9)
          .safe(),
      train("train_batch_size", &T::train_batch_size, "Samples of one forward pass on one process.")
          .at_least(1)
          .at_most(65536),
      train("gradient_accumulation_steps", &T::gradient_accumulation_steps,
            "Forward passes whose gradients make one optimizer step.")
          .at_least(1)
          .at_most(65536),
      train("mixed_precision", &T::mixed_precision, "What the network computes in; no and fp32 are the same.")
          .one_of({"no", "fp32", "fp16", "bf16"}),
      train("gradient_checkpointing", &T::gradient_checkpointing,
            "Compute activations again in the backward pass instead of keeping them: less memory, more time.")
          .safe(),
      train("checkpoint_every_n_blocks", &T::checkpoint_every_n_blocks,
            "With gradient_checkpointing: only every so many blocks are computed again; 2 keeps half of them, in more "
            "memory and less time.")
          .at_least(1)
          .at_most(any_count)
          .safe(),
      train("activation_memory_gb", &T::activation_memory_gb,
            "With gradient_checkpointing: GB that a step's activations may take; before the first step as few blocks are "
            "chosen to be computed again as keep them within it; null is checkpoint_every_n_blocks.")
          .above(0)
          .at_most(1e6)
          .such_as("8")
          .safe(),
      train("offload_activations", &T::offload_activations,
            "With gradient_checkpointing on a GPU: what goes into the blocks waits in host memory until backward.")
          .safe(),
      train("blocks_to_swap", &T::blocks_to_swap,
            "The weights of so many blocks that are not trained wait in host memory and come to the GPU one block ahead of their "
            "use; 0 keeps all there.")
          .at_least(0)
          .at_most(any_count)
          .safe(),
      train("max_grad_norm", &T::max_grad_norm, "Gradients with a larger norm are scaled down to it; 0 leaves them.")
          .at_least(0),
      train("seed", &T::seed, "All randomness follows from this number.").at_least(0).at_most(9007199254740991.0),
      train("null_text", &T::null_text,
            "What stands for a dropped text: as_drawn is what generating takes for no text, zeros for models that say so; "
            "encoded is always the encoding of the empty text, as diffusers' training scripts have it.")
          .one_of({"as_drawn", "encoded"}),
      train("use_ema", &T::use_ema, "Keep a moving average of the weights and write that as the result."),
      train("ema_decay", &T::ema_decay, "How much of the average stays at each step.").at_least(0).below(1),
      train("device", &T::device, "Where to train; auto takes a GPU when there is one.")
          .one_of({"auto", "cpu", "cuda"}),
      train("num_threads", &T::num_threads, "Threads of the CPU's arithmetic; 0 takes every core.")
          .at_least(0)
          .at_most(4096),
      train("dtype", &T::dtype,
            "How the trained weights are stored. With bfloat16 the whole network is computed in it too; "
            "optimizer.bf16_weights says how small changes are kept.")
          .one_of({"float32", "bfloat16"}),
      train("log_every_steps", &T::log_every_steps,
            "Metrics are fetched from the device and written every so many steps.")
          .at_least(1)
          .at_most(any_count)
          .safe(),
      train("max_nan_skips", &T::max_nan_skips,
            "Steps whose loss is not a number that may be left out before the run stops.")
          .at_least(0)
          .at_most(any_count)
          .safe(),
      train("parameters", &T::parameters,
            "Train only parameters whose names match one of these patterns (* stands for any text), or that the family "
            "calls so, as attention; empty trains all."),
      train("text_encoders", &T::text_encoders,
            "Text encoders that are trained in full beside the denoiser, by the names of their folders; texts are then encoded "
            "in every step. Beside an adapter name them in lora.text_encoders instead.")
          .such_as("[text_encoder]"),
  };
}

std::vector<Knob> lora_knobs() {
  KnobTable<LoraConfig> lora{"lora", &Config::lora};
  using L = LoraConfig;
  return {
      lora("rank", &L::rank, "Train a low-rank adapter of this rank beside the frozen weights; null trains the weights themselves.")
          .at_least(1)
          .at_most(65536)
          .such_as("16"),
      lora("alpha", &L::alpha, "The adapter counts alpha / rank times.").above(0).at_most(1e6),
      lora("dropout", &L::dropout, "Share of an adapted layer's input that the adapter does not see while it is trained.").at_least(0).below(1),
      lora("targets", &L::targets,
           "What is adapted: names that the family has for its layers, as attention or attention_out, patterns of weights "
           "(* stands for any text), or all, which is every linear and convolution layer.")
          .such_as("[attention]"),
      lora("text_encoders", &L::text_encoders,
           "Text encoders that are adapted beside the denoiser, in their attention; texts are then encoded in every step.")
          .such_as("[text_encoder]"),
      lora("use_rslora", &L::use_rslora, "Let the adapter count alpha / sqrt(rank) times, so that a high rank learns as fast as a low one."),
      lora("use_dora", &L::use_dora, "Train the length of every row of the adapted weights too, and let the adapter turn them alone."),
      lora("init_from", &L::init_from,
           "Go on with this adapter: a file of diffusers', kohya's or ComfyUI's form, or the folder final/ of a run.")
          .or_null()
          .such_as("runs/first/final"),
      lora("formats", &L::formats, "The forms in which final/ holds the adapter.").one_of({"diffusers", "kohya"}),
  };
}

std::vector<Knob> checkpoint_knobs() {
  KnobTable<CheckpointConfig> checkpoint{"checkpoint", &Config::checkpoint};
  using C = CheckpointConfig;
  return {
      checkpoint("every_steps", &C::every_steps,
                 "Save the state every so many steps; 0 saves only when the run ends or is stopped.")
          .at_least(0)
          .at_most(any_count)
          .safe(),
      checkpoint("keep", &C::keep, "So many of the newest checkpoints stay on disk.").at_least(1).at_most(1e6).safe(),
      checkpoint("report", &C::report, "Write report.html anew with each checkpoint, beside the training.").safe(),
  };
}

std::vector<Knob> validation_knobs() {
  KnobTable<ValidationConfig> validation{"validation", &Config::validation};
  using V = ValidationConfig;
  return {
      validation("every_steps", &V::every_steps,
                 "Draw the validation images every so many steps, at step 0 too; 0 draws none.")
          .at_least(0)
          .at_most(any_count)
          .safe(),
      validation("prompts", &V::prompts, "What to draw.").safe().such_as("[a red square]"),
      validation("images", &V::images, "Input images, one per prompt or one for all, where the task reads one.")
          .safe()
          .such_as("[photo.png]"),
      validation("steps", &V::steps, "Sampling steps of a validation image.").at_least(1).at_most(10000).safe(),
      validation("guidance_scale", &V::guidance_scale, "How strongly the prompt guides; 1 is no guidance.")
          .at_least(0)
          .at_most(1000)
          .safe(),
      validation("image_guidance_scale", &V::image_guidance_scale,
                 "How strongly the input image guides, where the task reads one.")
          .at_least(0)
          .at_most(1000)
          .safe(),
      validation("negative_prompt", &V::negative_prompt, "What to steer away from.").safe(),
      validation("seed", &V::seed, "The same initial noise at every validation.")
          .at_least(0)
          .at_most(9007199254740991.0)
          .safe(),
      validation("num_images", &V::num_images, "Images per prompt.").at_least(1).at_most(1000).safe(),
      validation("sampler", &V::sampler, "The sampler; null is the model folder's own.")
          .or_null()
          .one_of(known_samplers())
          .safe(),
  };
}

std::vector<Knob> output_knobs() {
  return {
      top("output", &Config::output, "The run's folder; a run that was interrupted goes on from what is there.")
          .or_null()
          .such_as("runs/first")
          .safe(),
      top("report_to", &Config::report_to, "Besides metrics.jsonl, write metrics for these; wandb through its own client.")
          .one_of({"tensorboard", "wandb"})
          .safe(),
  };
}

std::vector<Knob> wandb_knobs() {
  KnobTable<WandbConfig> wandb{"wandb", &Config::wandb};
  using W = WandbConfig;
  return {
      wandb("project", &W::project, "The project; null is WANDB_PROJECT, else t2i.").or_null().such_as("edits").safe(),
      wandb("entity", &W::entity, "Whose project; null is WANDB_ENTITY, else the one that is logged in.").or_null().safe(),
      wandb("run_name", &W::run_name, "The run's name there; null is WANDB_NAME, else the output folder's.").or_null().safe(),
  };
}

std::vector<Knob> hub_knobs() {
  KnobTable<HubConfig> hub{"hub", &Config::hub};
  using H = HubConfig;
  return {
      hub("repo", &H::repo, "When the run is done, upload final/ with a model card to this repository, as org/name, by the program hf; null uploads nothing.")
          .or_null()
          .such_as("me/my-model")
          .safe(),
      hub("private", &H::is_private, "Make a repository that is not there yet a private one.").safe(),
      hub("license", &H::license, "The licence that the model card names, as apache-2.0; null is what the base model's own card says.")
          .or_null()
          .safe(),
  };
}

}  // namespace

const std::vector<Knob>& knobs() {
  static const std::vector<Knob> all = [] {
    std::vector<Knob> out;
    for (auto* table : {component_knobs, model_knobs, data_knobs, train_knobs, lora_knobs, optimizer_knobs, checkpoint_knobs,
                        validation_knobs, output_knobs, wandb_knobs, hub_knobs})
      for (Knob& knob : table()) out.push_back(std::move(knob));
    return out;
  }();
  return all;
}

const std::vector<KnobSection>& knob_sections() {
  static const std::vector<KnobSection> all = {
      {"", "which plugin, task and loss"},
      {"model", "the weights to start from"},
      {"data", "the images and texts to learn from"},
      {"train", "how long, how much at once, in which precision"},
      {"lora", "a low-rank adapter beside frozen weights"},
      {"optimizer", "a name, or a map with name and these"},
      {"checkpoint", "saved states"},
      {"validation", "images drawn while training"},
      {"wandb", "how the run is called at Weights & Biases"},
      {"hub", "where the result is uploaded to"},
  };
  return all;
}

}  // namespace t2i
