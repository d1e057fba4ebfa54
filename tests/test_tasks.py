"""The built-in tasks: what is dropped in training and how predictions are combined, called through the plugin interface."""

import abi
import torch

N = 20000


def conditioning(n, null_rows=None):
    g = torch.Generator().manual_seed(5)
    make = lambda *s: torch.randn(*s, generator=g)
    rows = null_rows or n
    return {"prompt_embeds": make(n, 3, 2), "null_prompt_embeds": make(rows, 3, 2), "pooled": make(n, 4),
            "null_pooled": make(rows, 4), "time_ids": make(n, 6), "image_latents": make(n, 2, 2, 3)}


def test_ip2p_drops_by_one_draw_a_sample():
    d = 0.05  # the default: not given
    task, key, given = abi.Task("t2i-ip2p.so"), abi.rng(N, seed=9, step=4), conditioning(N)
    out = task.apply(**given, rng=key)
    assert set(out) == {"prompt_embeds", "pooled", "time_ids", "image_latents"}
    p = abi.uniform(key, "conditioning_dropout")
    text, image = p < 2 * d, (p >= d) & (p < 3 * d)
    for name in ("prompt_embeds", "pooled"):
        mask = text.view(-1, *[1] * (given[name].dim() - 1))
        assert torch.equal(out[name], torch.where(mask, given["null_" + name], given[name]))
    assert torch.equal(out["image_latents"], given["image_latents"] * ~image.view(-1, 1, 1, 1))
    assert torch.equal(out["time_ids"], given["time_ids"])
    # 5 % text alone, 5 % both, 5 % picture alone; 4.5 standard deviations of a count of 20,000
    for share in (text & ~image, text & image, image & ~text):
        assert abs(float(share.float().mean()) - d) < 4.5 * (d * (1 - d) / N) ** 0.5


def test_ip2p_keeps_pooled_text_when_asked():
    """As diffusers' train_instruct_pix2pix_sdxl.py does: torch.where(mask, null, prompt_embeds), and text_embeds as they are."""
    key, given = abi.rng(N, seed=9, step=4), conditioning(N)
    out = abi.Task("t2i-ip2p.so", dropout_keeps_pooled=True).apply(**given, rng=key)
    by_default = abi.Task("t2i-ip2p.so").apply(**given, rng=key)
    assert torch.equal(out["pooled"], given["pooled"]) and not torch.equal(by_default["pooled"], given["pooled"])
    assert out.keys() == by_default.keys()
    for name in ("prompt_embeds", "image_latents", "time_ids"):
        assert torch.equal(out[name], by_default[name])
    # A family without pooled text has nothing to keep.
    without = {name: t for name, t in given.items() if "pooled" not in name}
    assert "pooled" not in abi.Task("t2i-ip2p.so", dropout_keeps_pooled=True).apply(**without, rng=key)


def test_dropout_is_a_function_of_the_draw_alone():
    task, given = abi.Task("t2i-ip2p.so", conditioning_dropout_prob=0.3), conditioning(64)
    key = abi.rng(64, seed=2)
    whole = task.apply(**given, rng=key)
    part = task.apply(**{k: v[10:20] for k, v in given.items()}, rng=key[10:20])
    for name in whole:
        assert torch.equal(whole[name][10:20], part[name])


def test_nothing_is_dropped_without_draws_or_at_probability_zero():
    given = conditioning(8)
    for out in (abi.Task("t2i-ip2p.so", conditioning_dropout_prob=0.3).apply(**given),
                abi.Task("t2i-ip2p.so", conditioning_dropout_prob=0.0).apply(**given, rng=abi.rng(8)),
                abi.Task("t2i-text.so").apply(**given, rng=abi.rng(8))):
        assert all(torch.equal(out[k], given[k]) for k in ("prompt_embeds", "pooled", "time_ids", "image_latents"))


def test_text_drops_captions_when_asked():
    given = conditioning(N, null_rows=1)  # one row of the empty prompt serves all
    out = abi.Task("t2i-text.so", conditioning_dropout_prob=0.1).apply(**given, rng=abi.rng(N))
    dropped = abi.uniform(abi.rng(N), "conditioning_dropout") < 0.1
    want = torch.where(dropped.view(-1, 1, 1), given["null_prompt_embeds"], given["prompt_embeds"])
    assert torch.equal(out["prompt_embeds"], want) and 0.09 < float(dropped.float().mean()) < 0.11


def test_dropout_keeps_the_dtype():
    given = {k: v.to(torch.bfloat16) for k, v in conditioning(32).items()}
    out = abi.Task("t2i-ip2p.so", conditioning_dropout_prob=0.3).apply(**given, rng=abi.rng(32))
    assert {t.dtype for t in out.values()} == {torch.bfloat16}


def test_ip2p_guidance_is_the_pipelines():
    given = {k.replace("null_", "negative_"): v for k, v in conditioning(2).items()}
    task = abi.Task("t2i-ip2p.so", guidance_scale=7.0, image_guidance_scale=1.5)
    assert task.branches() == 3
    both, picture, none = (task.branch(i, **given) for i in range(3))
    for name in ("prompt_embeds", "pooled"):
        assert torch.equal(both[name], given[name])
        assert torch.equal(picture[name], given["negative_" + name]) and torch.equal(none[name], given["negative_" + name])
    assert torch.equal(both["image_latents"], given["image_latents"]) and torch.equal(picture["image_latents"], given["image_latents"])
    assert torch.equal(none["image_latents"], torch.zeros_like(given["image_latents"]))
    text, image, uncond = torch.randn(3, 2, 4, 5, 6)
    want = uncond + 7.0 * (text - image) + 1.5 * (image - uncond)
    torch.testing.assert_close(task.combine(text, image, uncond), want, rtol=1e-6, atol=1e-6)  # float32, same operations


def test_guidance_is_off_when_the_pipeline_says_so():
    # StableDiffusionInstructPix2PixPipeline: guidance_scale > 1.0 and image_guidance_scale >= 1.0
    for guidance, image_guidance, count in ((7.5, 1.5, 3), (1.0, 1.5, 1), (0.5, 1.5, 1), (7.5, 0.99, 1), (7.5, 1.0, 3), (1.01, 1.0, 3)):
        task = abi.Task("t2i-ip2p.so", guidance_scale=guidance, image_guidance_scale=image_guidance)
        assert task.branches() == count
    given = conditioning(2)
    alone = abi.Task("t2i-ip2p.so", guidance_scale=1.0).branch(0, **given)
    assert torch.equal(alone["prompt_embeds"], given["prompt_embeds"]) and torch.equal(alone["image_latents"], given["image_latents"])
    # StableDiffusionPipeline: guidance_scale > 1
    assert [abi.Task("t2i-text.so", guidance_scale=g).branches() for g in (7.5, 1.5, 1.0, 0.0)] == [2, 2, 1, 1]


def test_text_guidance_is_the_pipelines():
    given = {k.replace("null_", "negative_"): v for k, v in conditioning(2).items() if k != "image_latents"}
    task = abi.Task("t2i-text.so", guidance_scale=5.0)
    negative, prompt = task.branch(0, **given), task.branch(1, **given)
    assert torch.equal(negative["prompt_embeds"], given["negative_prompt_embeds"])
    assert torch.equal(prompt["prompt_embeds"], given["prompt_embeds"]) and torch.equal(negative["time_ids"], given["time_ids"])
    uncond, text = torch.randn(2, 2, 4, 5, 6)
    torch.testing.assert_close(task.combine(uncond, text), uncond + 5.0 * (text - uncond), rtol=1e-6, atol=1e-6)
    assert torch.equal(abi.Task("t2i-text.so", guidance_scale=1.0).combine(text), text)


def test_tasks_say_what_they_need():
    ip2p = abi.Task("t2i-ip2p.so").describe()
    assert {c["use"]: c["name"] for c in ip2p["columns"]} == {"source": "input_image", "prompt": "instruction", "target": "output_image"}
    assert ip2p["added_latents"] == ["image_latents"]
    text = abi.Task("t2i-text.so").describe()
    assert {c["use"] for c in text["columns"]} == {"target", "prompt"} and text["added_latents"] == []
