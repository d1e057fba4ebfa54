#include "sdxl.hpp"

T2I_PLUGIN("t2i.model.sdxl", "0.1.0", "Apache-2.0",
           t2i::model<sdxl::Sdxl>("sdxl", "Stable Diffusion XL, its refiner, and models of their shape", R"({
  "clip_skip": {"type": "integer", "default": null, "minimum": 0,
                "description": "how many more of the text encoders' last layers are left out; the last one always is"}})",
                                  "StableDiffusionXLPipeline StableDiffusionXLInstructPix2PixPipeline StableDiffusionXLImg2ImgPipeline"))
