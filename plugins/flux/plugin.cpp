#include "flux.hpp"

T2I_PLUGIN("t2i.model.flux", "0.1.0", "Apache-2.0",
           t2i::model<flux::Flux>("flux", "FLUX.1 dev and schnell, and their models that are controlled by a picture",
                                  R"({
  "guidance": {"type": "number", "default": 3.5, "minimum": 0,
               "description": "how strongly a guidance-distilled model is told to follow the prompt when generating"},
  "training_guidance": {"type": "number", "default": 1, "minimum": 0,
                        "description": "the same in training; 1: the flow of the data itself, without guidance"},
  "t5_length": {"type": "integer", "default": 512, "minimum": 1, "maximum": 512,
                "description": "how many tokens of a text the T5 encoder sees; schnell was trained with 256"}})",
                                  "FluxPipeline FluxControlPipeline"))
