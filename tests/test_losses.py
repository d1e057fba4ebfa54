"""The built-in losses against diffusers' schedulers and training formulas, called through the plugin interface.

Tolerance 1e-6 relative to the size of the values: both sides do the same few float32 operations.
"""

import abi
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.training_utils import compute_snr

SD1 = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
       "num_train_timesteps": 1000, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
SCHEDULES = {
    "scaled_linear": SD1,
    "linear": {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"},
    "defaults": {},
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500},
    "trained": {"trained_betas": [0.01 * (i + 1) ** 0.5 for i in range(64)], "num_train_timesteps": 64},
    "zero_snr": {**SD1, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
}
CLOSE = dict(rtol=1e-6, atol=1e-6)


def diffusers_scheduler(keys):
    return DDPMScheduler(**{k: v for k, v in keys.items() if k not in ("_class_name", "set_alpha_to_one", "steps_offset")})


def batch(n=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, 8, 6, generator=g), torch.randn(n, 4, 8, 6, generator=g)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_is_diffusers_own(name):
    scheduler = diffusers_scheduler(SCHEDULES[name])
    steps = scheduler.config.num_train_timesteps
    t = torch.arange(steps)
    ones, zeros = torch.ones(steps, 1, 1, 1), torch.zeros(steps, 1, 1, 1)
    signal, _ = abi.Loss("t2i-epsilon.so", SCHEDULES[name]).prepare(latents=ones, noise=zeros, timesteps=t.float())
    noise, _ = abi.Loss("t2i-epsilon.so", SCHEDULES[name]).prepare(latents=zeros, noise=ones, timesteps=t.float())
    torch.testing.assert_close(signal.flatten(), scheduler.alphas_cumprod**0.5, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(noise.flatten(), (1 - scheduler.alphas_cumprod) ** 0.5, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_epsilon_and_velocity_targets(name):
    scheduler = diffusers_scheduler(SCHEDULES[name])
    x, noise = batch()
    t = torch.linspace(0, scheduler.config.num_train_timesteps - 1, len(x)).round().long()
    for library, target in (("t2i-epsilon.so", noise), ("t2i-v_prediction.so", scheduler.get_velocity(x, noise, t))):
        noisy, got = abi.Loss(library, SCHEDULES[name]).prepare(latents=x, noise=noise, timesteps=t.float())
        torch.testing.assert_close(noisy, scheduler.add_noise(x, noise, t), **CLOSE)
        torch.testing.assert_close(got, target, **CLOSE)


@pytest.mark.parametrize("library", ["epsilon", "v_prediction", "min_snr", "rectified_flow"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_raw_loss_is_the_mean_squared_error_in_float32(library, dtype):
    prediction, target = (b.to(dtype) for b in batch())
    t = torch.tensor([0.0, 1, 10, 250, 500, 998, 999])
    loss, raw = abi.Loss(f"t2i-{library}.so", SD1).compute(prediction=prediction, target=target, timesteps=t)
    want = torch.nn.functional.mse_loss(prediction.float(), target.float(), reduction="none").mean(dim=(1, 2, 3))
    assert raw.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(raw, want, **CLOSE)
    assert (library == "min_snr") or torch.equal(loss, raw)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("gamma", [5, 1, 0.25])
def test_min_snr_weighs_as_the_training_scripts_do(prediction_type, gamma):
    keys = {**SD1, "prediction_type": prediction_type}
    scheduler = diffusers_scheduler(keys)
    t = torch.arange(1000)
    prediction, target = torch.full((1000, 1, 1, 1), 2.0), torch.zeros(1000, 1, 1, 1)
    loss, raw = abi.Loss("t2i-min_snr.so", keys, gamma=gamma).compute(prediction=prediction, target=target, timesteps=t.float())
    snr = compute_snr(scheduler, t)
    weight = torch.stack([snr, gamma * torch.ones_like(snr)], dim=1).min(dim=1)[0]
    weight = weight / snr if prediction_type == "epsilon" else weight / (snr + 1)
    torch.testing.assert_close(loss, 4 * weight, rtol=1e-6, atol=0)
    assert torch.equal(raw, torch.full((1000,), 4.0))


def test_min_snr_takes_the_folders_prediction_type_unless_told():
    x, noise = batch()
    t = torch.full((7,), 321.0)
    velocity = diffusers_scheduler(SD1).get_velocity(x, noise, t.long())
    for keys, options, target in (
        (SD1, {}, noise),
        ({**SD1, "prediction_type": "v_prediction"}, {}, velocity),
        ({**SD1, "prediction_type": "v_prediction"}, {"prediction_type": "epsilon"}, noise),
        (SD1, {"prediction_type": "v_prediction"}, velocity),
    ):
        loss = abi.Loss("t2i-min_snr.so", keys, **options)
        _, got = loss.prepare(latents=x, noise=noise, timesteps=t)
        torch.testing.assert_close(got, target, **CLOSE)
        kind = options.get("prediction_type", keys.get("prediction_type", "epsilon"))
        assert loss.describe() == {"scheduler": {"prediction_type": kind}}
    with pytest.raises(abi.PluginError, match='prediction_type is "sample"'):
        abi.Loss("t2i-min_snr.so", {**SD1, "prediction_type": "sample"})


def test_min_snr_stays_finite_where_the_signal_is_gone():
    keys = {**SD1, "rescale_betas_zero_snr": True}
    prediction, target = torch.ones(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    for kind, want in (("epsilon", 1.0), ("v_prediction", 0.0)):
        loss = abi.Loss("t2i-min_snr.so", keys, prediction_type=kind)
        got, _ = loss.compute(prediction=prediction, target=target, timesteps=torch.tensor([999.0, 500.0]))
        assert got[0] == want and torch.isfinite(got).all()


def test_flow_is_a_straight_line_to_noise():
    scheduler = FlowMatchEulerDiscreteScheduler()  # its timesteps are sigma * 1000, descending from 1000
    x, noise = batch()
    t = scheduler.timesteps[[0, 1, 50, 500, 750, 990, 999]]
    noisy, target = abi.Loss("t2i-rectified_flow.so", SD1).prepare(latents=x, noise=noise, timesteps=t)
    torch.testing.assert_close(noisy, scheduler.scale_noise(x, t, noise), **CLOSE)
    assert torch.equal(target, noise - x)


def test_discrete_timesteps_are_uniform_and_belong_to_their_sample():
    loss = abi.Loss("t2i-epsilon.so", SD1)
    t = loss.draw(latents=torch.zeros(20000, 1, 1, 1), rng=abi.rng(20000))
    assert t.dtype == torch.float32 and torch.equal(t, t.floor()) and t.min() == 0 and t.max() == 999
    counts = torch.histc(t, 100, 0, 1000)
    chi2 = float(((counts - 200) ** 2 / 200).sum())  # 99 degrees of freedom: 99 % lie in 66.5 ... 139
    assert 60 < chi2 < 150, chi2
    assert torch.equal(loss.draw(latents=torch.zeros(5, 1, 1, 1), rng=abi.rng(20000)[100:105]), t[100:105])
    for other in ("v_prediction", "min_snr"):  # the same draws, so that losses can be compared step by step
        assert torch.equal(abi.Loss(f"t2i-{other}.so", SD1).draw(rng=abi.rng(20000)), t)
    assert not torch.equal(loss.draw(rng=abi.rng(20000, step=1)), t)


def test_flow_timesteps_follow_the_asked_density():
    key, n = abi.rng(20000, seed=3), 20000
    uniform = abi.Loss("t2i-rectified_flow.so", SD1).draw(rng=key) / 1000
    assert 0 < uniform.min() and uniform.max() <= 1

    def distance(samples, cdf):  # Kolmogorov and Smirnov; 1.95 / sqrt(n) is passed by 99.9 % of honest samples
        ordered = samples.double().sort().values
        return float((cdf(ordered) - torch.arange(1, n + 1) / n).abs().max()) * n**0.5

    assert distance(uniform, lambda s: s) < 1.95
    draws = abi.Loss("t2i-rectified_flow.so", SD1, weighting="logit_normal", mean=0.3, std=0.8).draw(rng=key) / 1000
    normal = torch.distributions.Normal(torch.tensor(0.3).double(), torch.tensor(0.8).double())
    assert distance(draws, lambda s: normal.cdf(torch.logit(s))) < 1.95
    shifted = abi.Loss("t2i-rectified_flow.so", SD1, shift=3.0).draw(rng=key) / 1000
    torch.testing.assert_close(shifted, 3 * uniform / (1 + 2 * uniform), rtol=1e-6, atol=1e-7)


def test_shift_comes_from_the_folder_unless_set():
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "num_train_timesteps": 1000}
    key = abi.rng(64)
    own = abi.Loss("t2i-rectified_flow.so", flow)
    assert torch.equal(own.draw(rng=key), abi.Loss("t2i-rectified_flow.so", SD1, shift=3.0).draw(rng=key))
    assert torch.equal(abi.Loss("t2i-rectified_flow.so", flow, shift=1.0).draw(rng=key),
                       abi.Loss("t2i-rectified_flow.so", SD1).draw(rng=key))
    assert own.describe()["scheduler"] == {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("patch", [1, 2])
def test_a_folder_with_dynamic_shifting_is_shifted_by_the_pictures_size(kind, patch):
    """The same mu as generating takes (diffusers' calculate_shift), and its scheduler's time_shift."""
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.4, "max_shift": 1.2,
            "base_image_seq_len": 16, "max_image_seq_len": 1024, "time_shift_type": kind}
    own, key = abi.Loss("t2i-rectified_flow.so", flow, patch=patch), abi.rng(64)
    uniform = abi.Loss("t2i-rectified_flow.so", SD1).draw(rng=key) / 1000
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(flow)
    for height, width in [(8, 8), (64, 40)]:
        mu = calculate_shift((height // patch) * (width // patch), 16, 1024, 0.4, 1.2)
        drawn = own.draw(rng=key, latents=torch.zeros(64, 4, height, width)) / 1000
        torch.testing.assert_close(drawn, scheduler.time_shift(mu, 1.0, uniform), rtol=1e-5, atol=1e-6)
    assert "shift" not in own.describe()["scheduler"]  # pictures are drawn as before
    assert torch.equal(abi.Loss("t2i-rectified_flow.so", flow, shift=1.0).draw(rng=key) / 1000, uniform)


def test_what_flow_training_leaves_behind_runs_in_pipelines_made_for_discrete_schedulers():
    keys = abi.Loss("t2i-rectified_flow.so", SD1, shift=2.0).describe()["scheduler"]
    assert keys.pop("_class_name") == "DPMSolverMultistepScheduler"
    scheduler = DPMSolverMultistepScheduler.from_config({**SD1, **keys, "_class_name": "DPMSolverMultistepScheduler"})
    assert scheduler.init_noise_sigma == 1
    scheduler.set_timesteps(8)
    x, v = batch()
    for i, t in enumerate(scheduler.timesteps):
        euler = x + (scheduler.sigmas[i + 1] - scheduler.sigmas[i]) * v
        x = scheduler.step(v, t, x).prev_sample
        torch.testing.assert_close(x, euler, rtol=1e-5, atol=2e-6)  # the solver goes by way of x_0


def test_losses_swap_on_folders_of_the_other_kind():
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    loss = abi.Loss("t2i-v_prediction.so", flow)
    keys = {k: v for k, v in loss.describe()["scheduler"].items()}
    assert keys["prediction_type"] == "v_prediction" and keys["_class_name"] == "DDIMScheduler"
    x, noise = batch()
    t = torch.full((7,), 600.0)
    _, target = loss.prepare(latents=x, noise=noise, timesteps=t)
    torch.testing.assert_close(target, diffusers_scheduler(SD1).get_velocity(x, noise, t.long()), **CLOSE)
    after_flow = {**SD1, **abi.Loss("t2i-rectified_flow.so", SD1).describe()["scheduler"]}
    keys = abi.Loss("t2i-epsilon.so", after_flow).describe()["scheduler"]
    assert keys["prediction_type"] == "epsilon" and keys["use_flow_sigmas"] is False


def test_timesteps_between_and_beyond_the_table():
    loss = abi.Loss("t2i-epsilon.so", SD1)
    x, noise = batch(4)
    near, _ = loss.prepare(latents=x, noise=noise, timesteps=torch.tensor([0.4, 499.6, 999.4, 1000.0]))
    exact, _ = loss.prepare(latents=x, noise=noise, timesteps=torch.tensor([0.0, 500.0, 999.0, 999.0]))
    assert torch.equal(near, exact)


@pytest.mark.parametrize("library", ["epsilon", "v_prediction", "min_snr", "rectified_flow"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float64])
def test_the_type_of_the_timesteps_does_not_matter(library, dtype):
    x, noise = batch(4)
    t = torch.tensor([1, 250, 500, 999])
    results = []
    for timesteps in (t.to(dtype), t.float()):
        loss = abi.Loss(f"t2i-{library}.so", SD1)
        noisy, target = loss.prepare(latents=x, noise=noise, timesteps=timesteps)
        results.append([noisy, target, *loss.compute(prediction=x, target=target, timesteps=timesteps)])
    for got, want in zip(*results):
        assert got.dtype == want.dtype or dtype == torch.float64
        torch.testing.assert_close(got.float(), want, **CLOSE)


def test_bfloat16_latents_are_mixed_in_float32():
    x, noise = (b.to(torch.bfloat16) for b in batch())
    t = torch.full((7,), 250.0)
    noisy, _ = abi.Loss("t2i-epsilon.so", SD1).prepare(latents=x, noise=noise, timesteps=t)
    want = diffusers_scheduler(SD1).add_noise(x.float(), noise.float(), t.long())
    assert noisy.dtype == torch.bfloat16 and torch.equal(noisy, want.to(torch.bfloat16))


@pytest.mark.parametrize("keys, said", [
    ({"beta_schedule": "wavy"}, 'beta_schedule = "wavy" is not known'),
    ({"beta_start": "much"}, 'beta_start = "much" is of the wrong type'),
    ({"num_train_timesteps": 0}, "num_train_timesteps = 0 is out of range"),
    ({"trained_betas": []}, "trained_betas is empty"),
])
def test_a_schedule_that_cannot_be_read_names_key_and_value(keys, said):
    with pytest.raises(abi.PluginError) as e:
        abi.Loss("t2i-epsilon.so", keys)
    assert "scheduler_config.json" in str(e.value) and said in str(e.value)


def test_a_missing_tensor_is_named():
    with pytest.raises(abi.PluginError, match="no tensor named 'noise' here; there are: latents, timesteps"):
        abi.Loss("t2i-epsilon.so", SD1).prepare(latents=torch.zeros(1, 4, 2, 2), timesteps=torch.zeros(1))
