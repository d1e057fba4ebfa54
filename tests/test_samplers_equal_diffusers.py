"""Every sampler against the scheduler class of diffusers that it stands for: same timesteps, same trajectory, for the
same initial latents, the same per-step noise and a fixed linear "network", over the settings that published folders use.

Broken by: another rounding of timesteps, another order of float32 operations in a schedule, a wrong default of a class.
"""
import inspect
import itertools
import json
import math
import os
import subprocess
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import diffusers
from diffusers.schedulers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                                  EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, PNDMScheduler)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers with numpy 2
PROBE = os.path.join(os.environ.get("T2I_BUILD", "build"), "bin", "sampler_probe")
SHAPE = (2, 4, 6, 5)
MOST_EVALUATIONS = 140

BY_NAME = {"ddim": DDIMScheduler, "ddpm": DDPMScheduler, "pndm": PNDMScheduler, "euler": EulerDiscreteScheduler,
           "euler_a": EulerAncestralDiscreteScheduler, "dpm++2m": DPMSolverMultistepScheduler,
           "dpm++2m_karras": DPMSolverMultistepScheduler, "flow_euler": FlowMatchEulerDiscreteScheduler}

SD15 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
        "set_alpha_to_one": False, "steps_offset": 1}
SPACINGS = ["leading", "trailing", "linspace"]


def case(cls, steps, config, sampler="", image_tokens=0, loose=None, ends_at_step=False):
    return {"class": cls, "steps": steps, "config": config, "sampler": sampler, "image_tokens": image_tokens, "loose": loose,
            "ends_at_step": ends_at_step}


def make_cases():
    cases = []
    add = lambda *a, **k: cases.append(case(*a, **k))
    three = ["epsilon", "sample", "v_prediction"]
    # Spacing x prediction x step count; 48 and 16 trailing steps hit ties in rounding, 7 divides nothing.
    for spacing, prediction, steps in itertools.product(SPACINGS, three, [1, 7, 20, 48]):
        both = SD15 | {"timestep_spacing": spacing, "prediction_type": prediction}
        add(DDIMScheduler, steps, both)
        add(DDPMScheduler, steps, both)
        add(EulerDiscreteScheduler, steps, both)
        add(DPMSolverMultistepScheduler, steps, both)
        if prediction != "sample":
            add(EulerAncestralDiscreteScheduler, steps, both)
            add(PNDMScheduler, steps, both | {"skip_prk_steps": True})
            if steps >= 4:
                add(PNDMScheduler, steps, both | {"skip_prk_steps": False, "set_alpha_to_one": True})
    # Schedules: other betas, trained ones, other lengths.
    trained = [float(b) for b in np.linspace(0.001, 0.03, 300)]
    for betas in [{"beta_schedule": "linear"}, {"beta_schedule": "squaredcos_cap_v2"},
                  {"trained_betas": trained, "num_train_timesteps": 300},
                  {"beta_schedule": "scaled_linear", "num_train_timesteps": 500}]:
        for cls in [DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, PNDMScheduler]:
            add(cls, 12, {"clip_sample": False} | betas)
        for karras in [False, True]:
            add(DPMSolverMultistepScheduler, 12, betas | {"use_karras_sigmas": karras})
    for kind in ["sigmoid", "laplace"]:
        add(DDPMScheduler, 12, {"clip_sample": False, "beta_schedule": kind})
    # Zero terminal SNR with the predictions that make sense of it, and with the floor that some classes have.
    zero = SD15 | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    for prediction in ["v_prediction", "sample"]:
        add(DDIMScheduler, 10, zero | {"prediction_type": prediction})
        add(DDPMScheduler, 10, zero | {"prediction_type": prediction})
    for cls in [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, DPMSolverMultistepScheduler]:
        add(cls, 10, zero | {"prediction_type": "epsilon"})
        # Unscaled x is 4096 times the noise at the first step, of which 1/300 is left after it: 6e-8 * 300 of rounding.
        add(cls, 10, zero | {"prediction_type": "v_prediction"}, loose=None if cls is DPMSolverMultistepScheduler else 6e-5)
    # What single classes have.
    for variance in ["fixed_small", "fixed_small_log", "fixed_large"]:
        add(DDPMScheduler, 9, SD15 | {"variance_type": variance})
    for clip_range in [1.0, 0.5]:
        for cls in [DDIMScheduler, DDPMScheduler]:
            add(cls, 9, {"clip_sample": True, "clip_sample_range": clip_range})
    add(DDIMScheduler, 9, {"set_alpha_to_one": True, "clip_sample": False})
    for spread, final, prediction in itertools.product(["use_karras_sigmas", "use_exponential_sigmas", None],
                                                       ["zero", "sigma_min"], ["epsilon", "v_prediction"]):
        config = SD15 | {"final_sigmas_type": final, "prediction_type": prediction} | ({spread: True} if spread else {})
        for steps in [5, 20]:
            add(EulerDiscreteScheduler, steps, config)
            add(DPMSolverMultistepScheduler, steps, config)
    add(EulerDiscreteScheduler, 8, SD15 | {"use_karras_sigmas": True, "sigma_min": 0.05, "sigma_max": 9.0})
    add(EulerDiscreteScheduler, 8, SD15 | {"interpolation_type": "log_linear"})
    add(EulerDiscreteScheduler, 8, SD15 | {"timestep_type": "continuous", "prediction_type": "v_prediction", "use_karras_sigmas": True})
    for order, solver, lower, euler, steps in itertools.product([1, 2], ["midpoint", "heun"], [True, False], [True, False], [6, 18]):
        add(DPMSolverMultistepScheduler, steps, SD15 | {"solver_order": order, "solver_type": solver, "lower_order_final": lower,
                                                        "euler_at_final": euler, "final_sigmas_type": "sigma_min"})
    add(DPMSolverMultistepScheduler, 15, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1})
    add(DPMSolverMultistepScheduler, 15, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1, "timestep_spacing": "trailing"})
    add(DPMSolverMultistepScheduler, 15, {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1, "timestep_spacing": "leading"})
    for shift in [1.0, 3.0]:
        add(DPMSolverMultistepScheduler, 11, {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"})
    # What flow training leaves for pipelines that were made for diffusion, drawn from by name.
    for shift, steps in itertools.product([1.0, 3.0], [1, 7, 28]):
        left = {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift,
                "solver_order": 1, "final_sigmas_type": "zero", "algorithm_type": "dpmsolver++"}
        add(FlowMatchEulerDiscreteScheduler, steps, left, sampler="flow_euler")
        add(DPMSolverMultistepScheduler, steps, left, sampler="dpm++2m")
        add(FlowMatchEulerDiscreteScheduler, steps, left | {"_class_name": "UniPCMultistepScheduler"}, sampler="flow_euler")
    # Flows.
    for shift, steps in itertools.product([1.0, 3.0, 0.7], [1, 4, 28]):
        add(FlowMatchEulerDiscreteScheduler, steps, {"shift": shift})
    for kind, tokens in itertools.product(["exponential", "linear"], [256, 1024, 4096]):
        add(FlowMatchEulerDiscreteScheduler, 7, {"use_dynamic_shifting": True, "time_shift_type": kind}, image_tokens=tokens)
    # As FLUX.1's pipelines give the scheduler their own levels: dev's file, schnell's, and other lines.
    dev = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
    for config, tokens, steps in itertools.product([dev, {"shift": 1.0}, {"shift": 3.0}, dev | {"time_shift_type": "linear", "max_shift": 2.0},
                                                    dev | {"shift_terminal": 0.1}], [256, 4096], [1, 4, 28]):
        if steps > 1 or "shift_terminal" not in config:  # one level cannot be stretched
            add(FlowMatchEulerDiscreteScheduler, steps, config, image_tokens=tokens, ends_at_step=True)
    add(FlowMatchEulerDiscreteScheduler, 7, {"shift": 3.0, "shift_terminal": 0.1})
    add(FlowMatchEulerDiscreteScheduler, 7, {"shift": 3.0, "stochastic_sampling": True})
    add(FlowMatchEulerDiscreteScheduler, 7, {"shift": 3.0, "use_karras_sigmas": True})
    add(FlowMatchEulerDiscreteScheduler, 7, {"shift": 3.0, "use_exponential_sigmas": True})
    # --sampler over a folder of another class: what the file says, the rest by the defaults of the class asked for.
    # PNDMScheduler's own file, as saved, with every key; and one with a few.
    for name, cls in BY_NAME.items():
        if name == "flow_euler":
            continue
        for config in [SD15 | {"skip_prk_steps": True}, {"beta_schedule": "scaled_linear"}]:
            for source in [PNDMScheduler, EulerDiscreteScheduler]:
                add(cls, 10, config | {"_class_name": source.__name__}, sampler=name)
    add(DPMSolverMultistepScheduler, 10, SD15 | {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++",
                                                 "solver_order": 3}, sampler="dpm++2m")
    # A scheduler that is not offered gives its betas to one that is.
    add(EulerDiscreteScheduler, 10, SD15 | {"_class_name": "UniPCMultistepScheduler", "timestep_spacing": "linspace"}, sampler="euler")
    # Whole files as save_pretrained writes them (-Infinity among their values).
    for cls in BY_NAME.values():
        add(cls, 6, json.loads(cls().to_json_string()))
    for i, c in enumerate(cases):
        c["id"] = f"{i}-{c['sampler'] or c['class'].__name__}-{c['steps']}"
    return cases


CASES = make_cases()


def scheduler_of(c):
    config = {k: v for k, v in c["config"].items() if not k.startswith("_")}
    if c["sampler"] == "dpm++2m_karras":
        config["use_karras_sigmas"] = True
    if c["sampler"] == "flow_euler":
        config["shift"] = config["flow_shift"]
    if c["sampler"].startswith("dpm++2m"):
        config |= {"algorithm_type": "dpmsolver++", "solver_order": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = inspect.signature(c["class"].__init__).parameters
        return c["class"](**{k: v for k, v in config.items() if k in known})


def dynamic_shift(c):
    """mu as the pipelines compute it from the picture's size."""
    config = c["config"]
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (most - base) / (high - low)
    return c["image_tokens"] * slope + base - slope * low


class NoiseAt:
    """Stands in for diffusers' randn_tensor: the noise of the evaluation that is running."""

    def __init__(self, noise):
        self.noise, self.step = noise, 0

    def __call__(self, shape, generator=None, device=None, dtype=None, layout=None):
        assert tuple(shape) == tuple(self.noise.shape[1:])
        return self.noise[self.step].to(dtype)


def reference(c, inputs, monkeypatch):
    scheduler = scheduler_of(c)
    if c["ends_at_step"]:
        scheduler.set_timesteps(c["steps"], sigmas=np.linspace(1.0, 1 / c["steps"], c["steps"]), mu=dynamic_shift(c))
    elif c["config"].get("use_dynamic_shifting") and c["class"] is FlowMatchEulerDiscreteScheduler:
        scheduler.set_timesteps(c["steps"], mu=dynamic_shift(c))
    else:
        scheduler.set_timesteps(c["steps"])
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # as pipelines do where two timesteps are equal
    source = NoiseAt(inputs["noise"])
    monkeypatch.setattr(inspect.getmodule(c["class"]), "randn_tensor", source, raising=False)
    sigma = float(getattr(scheduler, "init_noise_sigma", 1.0))
    x = inputs["latents"] * sigma
    trajectory = []
    for i, t in enumerate(scheduler.timesteps):
        source.step = i
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        output = network(scaled, float(t), inputs["offset"])
        x = scheduler.step(output, t, x, return_dict=False)[0]
        trajectory.append(x)
    return scheduler.timesteps.float(), sigma, torch.stack(trajectory)


A, B = 0.6, 0.3


def network(x, t, offset):
    return A * x + B * (t / 1000) + offset


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(5)
    return {"latents": torch.randn(SHAPE, generator=g), "offset": 0.2 * torch.randn(SHAPE, generator=g),
            "noise": torch.randn((MOST_EVALUATIONS,) + SHAPE, generator=g)}


def probe(tmp_path, cases, inputs):
    plain = lambda v: str(v).replace("inf", "Infinity") if isinstance(v, float) and math.isinf(v) else v
    listed = [{"id": c["id"], "sampler": c["sampler"], "steps": c["steps"], "image_tokens": c["image_tokens"],
               "ends_at_step": c["ends_at_step"], "a": A, "b": B,
               "config": {"_class_name": c["class"].__name__} | {k: plain(v) for k, v in c["config"].items()}} for c in cases]
    (tmp_path / "cases.json").write_text(json.dumps(listed))
    save_file(inputs, tmp_path / "in.safetensors")
    done = subprocess.run([PROBE, tmp_path / "cases.json", tmp_path / "in.safetensors", tmp_path / "out.safetensors"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused = {line["id"]: line["error"] for line in map(json.loads, done.stdout.splitlines())}
    return load_file(tmp_path / "out.safetensors"), refused


@pytest.fixture(scope="module")
def probed(tmp_path_factory, inputs):
    return probe(tmp_path_factory.mktemp("probe"), CASES, inputs)


@pytest.mark.parametrize("c", CASES, ids=[c["id"] for c in CASES])
def test_sampler_equals_diffusers(c, inputs, probed, monkeypatch):
    out, refused = probed
    assert c["id"] not in refused, refused.get(c["id"])
    timesteps, sigma, trajectory = reference(c, inputs, monkeypatch)
    # Fractional timesteps come from logarithms that numpy and libm round differently in the last bit of a float32.
    torch.testing.assert_close(out[c["id"] + ".timesteps"], timesteps, rtol=1e-6, atol=1e-4)
    assert float(out[c["id"] + ".init_noise_sigma"]) == pytest.approx(sigma, rel=1e-6)
    mine = out[c["id"] + ".trajectory"]
    assert torch.isfinite(trajectory).all()
    assert mine.shape == trajectory.shape
    for step in range(len(trajectory)):
        scale = trajectory[step].abs().max()
        error = ((mine[step] - trajectory[step]).abs().max() / scale).item()
        # 1e-5 of the largest value: float32 has 6e-8, a step adds a few roundings and divides by alpha once.
        assert error < (c["loose"] or 1e-5), f"evaluation {step}: {error:.2e}"


REFUSED = [
    ({"_class_name": "HeunDiscreteScheduler"}, "", 10, "E6002", "ddim, ddpm, pndm, euler, euler_a, dpm++2m, dpm++2m_karras, flow_euler"),
    ({}, "", 10, "E6002", "--sampler"),
    ({"_class_name": "DDIMScheduler"}, "eulr", 10, "E6001", "did you mean 'euler'"),
    ({"_class_name": "DDIMScheduler"}, "flow_euler", 10, "E6002", "predicts no flow: its scheduler is 'DDIMScheduler'. A diffusion model's schedule has no "
     "shift. \u2192 use one of ddim, ddpm, pndm, euler, euler_a, dpm++2m, dpm++2m_karras"),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "ddim", 10, "E6002", "predicts a flow: its scheduler is 'FlowMatchEulerDiscreteScheduler'. A model "
     "trained on flows has no diffusion schedule. \u2192 use flow_euler"),
    *[({"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True}, name, 10, "E6002",
       f"--sampler: '{name}' does not fit this model, which predicts a flow: its scheduler is 'DPMSolverMultistepScheduler' with prediction_type "
       "'flow_prediction'. A model trained on flows has no diffusion schedule. \u2192 use one of dpm++2m, flow_euler")
      for name in ["ddim", "ddpm", "pndm", "euler", "euler_a", "dpm++2m_karras"]],
    ({"_class_name": "DDIMScheduler", "prediction_type": "flow_prediction"}, "", 10, "E6002", "scheduler_config.json: 'ddim' does not fit"),
    ({"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True, "use_karras_sigmas": True}, "", 10,
     "E6003", "use_flow_sigmas"),
    ({"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction"}, "", 10, "E6003", "use_flow_sigmas"),
    ({"_class_name": "DDIMScheduler", "beta_schedule": "cosine"}, "", 10, "E6003", "'beta_schedule' is \"cosine\""),
    ({"_class_name": "DDIMScheduler", "prediction_type": "v-prediction"}, "", 10, "E6003", "did you mean 'v_prediction'"),
    ({"_class_name": "DDIMScheduler", "timestep_spacing": "even", "beta_end": "x"}, "", 10, "E6003", "beta_end"),
    ({"_class_name": "DDIMScheduler", "thresholding": True}, "", 10, "E6003", "thresholding"),
    ({"_class_name": "DDIMScheduler", "num_train_timesteps": 0}, "", 10, "E6003", "num_train_timesteps"),
    ({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, "", 10, "E6003", "pure noise"),
    ({"_class_name": "DDPMScheduler", "variance_type": "learned"}, "", 10, "E6003", "variance_type"),
    ({"_class_name": "PNDMScheduler", "prediction_type": "sample"}, "", 10, "E6003", "prediction_type"),
    ({"_class_name": "PNDMScheduler"}, "", 3, "E6004", "at least 4"),
    ({"_class_name": "EulerDiscreteScheduler", "use_beta_sigmas": True}, "", 10, "E6003", "use_beta_sigmas"),
    ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True, "use_exponential_sigmas": True}, "", 10, "E6003", "choose one"),
    ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}, "", 10, "E6003", "algorithm_type"),
    ({"_class_name": "DPMSolverMultistepScheduler"}, "", 1000, "E6004", "1000"),
    ({"_class_name": "DDIMScheduler"}, "", 1001, "E6004", "1 to 1000"),
    ({"_class_name": "DDIMScheduler", "steps_offset": 1, "clip_sample": False}, "", 1000, "E6004", "fewer"),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": -1}, "", 10, "E6003", "shift"),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True}, "", 10, "E6003", "invert_sigmas"),
]


def test_what_cannot_be_sampled_is_refused_with_key_and_value(tmp_path, inputs):
    cases = [case(DDIMScheduler, steps, config, sampler) | {"id": str(i)} for i, (config, sampler, steps, _, _) in enumerate(REFUSED)]
    for c in cases:
        c["config"] = {"_class_name": ""} | c["config"]
    _, refused = probe(tmp_path, cases, inputs)
    for i, (config, _, _, id_, words) in enumerate(REFUSED):
        message = refused.get(str(i), "accepted")
        assert id_ in message and words in message, f"{config}: {message}"
    both = refused[str([r[4] for r in REFUSED].index("beta_end"))]
    assert "timestep_spacing" in both, "all problems at once"


def test_trailing_steps_have_no_timestep_below_zero(tmp_path, inputs):
    """1000 / (1000 / 61) is a little more than 61 in floating point; diffusers 0.42 then adds a 62nd step at -1."""
    config = SD15 | {"timestep_spacing": "trailing"}
    out, refused = probe(tmp_path, [case(DDIMScheduler, 61, config) | {"id": "61"}], inputs)
    assert not refused
    timesteps = out["61.timesteps"]
    assert len(timesteps) == 61 and timesteps[0] == 999 and timesteps[-1] > 0
    theirs = DDIMScheduler(**config)
    theirs.set_timesteps(61)
    assert torch.equal(timesteps, theirs.timesteps[:61].float())
