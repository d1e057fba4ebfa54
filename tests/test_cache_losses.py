"""Training from a cache is training: the weights and losses of a run that encodes as it goes, to the last bit, for four
families and two tasks; and what is in a cache is what `t2i probe` encodes.

Broken by: an entry of another picture, crop or caption; a rounding on the way to the disk; the empty text not being what a
dropped caption becomes; sizes of another crop beside the latents; a batch whose pictures are not encoded one by one.
"""

import numpy as np
import pytest
import torch
from cached import MAKE, cache, listed, tensors, what
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import metrics, own_peak, settings, sha256, t2i, T2I, triplet_data

STEPS = 4
RUN = settings(train__max_train_steps=STEPS, checkpoint__every_steps=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    for family, make in MAKE.items():
        make(str(root / family))
    triplet_data(root / "data", count=6)
    return root


def state(output):
    return sha256(output / f"checkpoint-{STEPS}" / "state.safetensors"), [(m["step"], m["loss"], m["grad_norm"]) for m in metrics(output)]


@pytest.mark.parametrize("task", ["text", "ip2p"])
@pytest.mark.parametrize("family", MAKE)
def test_equal_losses(place, family, task):
    """Flips are drawn, captions and pictures dropped: the same ones."""
    outputs = []
    for cached in ("off", "auto", "only"):
        outputs.append(place / f"{family}-{task}-{cached}")
        done = t2i("run", *what(place, family, task), *RUN, *settings(task__conditioning_dropout_prob=0.3, data__cache=cached, data__cache_dir=place / f"{family}.cache"),
                   "--output", outputs[-1])
        if cached == "only":
            assert "12 of 12 latents are there" in done.stderr or "24 of 24 latents are there" in done.stderr
    whole, *cached = map(state, outputs)
    assert cached == [whole, whole]


def test_entries_are_what_the_encoders_make(place):
    """The VAE's posterior by `t2i probe encode`, text by `t2i probe text`, on the pixels that PIL reads."""
    cache(place, "build", *settings(data__random_flip="true", data__cache_dir=place / "probed"))
    for flip in (False, True):
        entry = next(e for e in listed(place / "probed", kind="latents", source="3-out.png") if e["about"]["flip"] == flip)
        pixels = torch.from_numpy(np.array(Image.open(place / "data" / "3-out.png")).astype(np.float32) / 255).sub(0.5).div(0.5)
        pixels = pixels.permute(2, 0, 1)[None]
        save_file({"pixels": (pixels.flip(3) if flip else pixels).contiguous()}, place / "in.safetensors")
        t2i("probe", "encode", "--model", place / "sd15", "--inputs", place / "in.safetensors", "--outputs", place / "out.safetensors")
        encoded = load_file(place / "out.safetensors")
        for name in ("mean", "logvar"):
            assert torch.equal(tensors(entry)[name], encoded[name]), name
    for text in ("edit number 2", ""):
        [entry] = [e for e in listed(place / "probed", kind="text") if e["text"] == text]
        t2i("probe", "text", "--model", place / "sd15", "--prompt", text, "--outputs", place / "text.safetensors")
        assert torch.equal(tensors(entry)["prompt_embeds"], load_file(place / "text.safetensors")["prompt_embeds"])


def test_crops_have_their_own_sizes(place):
    """Three crops of pictures that are no squares: the pixels are PIL's at the place that the entry tells, and all are drawn."""
    random = np.random.default_rng(2)
    triplet_data(place / "wide", count=4)
    for path in (place / "wide").glob("*.png"):
        Image.fromarray(random.integers(0, 256, (20, 40, 3), dtype=np.uint8)).save(path)
    crops = settings(data__cache="auto", data__cache_crops=3, data__random_flip="false", data__cache_dir=place / "wide.cache")
    t2i("run", *what(place, "sdxl", "text", data="wide"), *RUN, *crops, "--output", place / "wide-run")
    entries = listed(place / "wide.cache", kind="latents")
    assert len(entries) == 4 * 3 and len({e["about"]["crop_top_left"][1] for e in entries}) > 3
    for entry in entries[:4]:
        about = entry["about"]
        top, left = about["crop_top_left"]
        assert about["original"] == [40, 20] and about["resized"] == [32, 16] and about["size"] == [16, 16]
        picture = Image.open(place / "wide" / entry["source"]).resize((32, 16), Image.LANCZOS).crop((left, top, left + 16, top + 16))
        pixels = torch.from_numpy(np.array(picture).astype(np.float32) / 255).sub(0.5).div(0.5).permute(2, 0, 1)[None].contiguous()
        save_file({"pixels": pixels}, place / "in.safetensors")
        t2i("probe", "encode", "--model", place / "sdxl", "--inputs", place / "in.safetensors", "--outputs", place / "out.safetensors")
        assert torch.equal(tensors(entry)["mean"], load_file(place / "out.safetensors")["mean"])
    one = t2i("run", *what(place, "sdxl", "text", data="wide"), *RUN, *settings(data__cache="auto", data__cache_dir=place / "wide.cache", data__random_flip="false"),
              "--output", place / "wide-one")
    assert "4 of 4 samples are cropped, and of each the middle is cached" in one.stderr
    assert len(listed(place / "wide.cache", kind="latents")) == 12, "the middle was the first of the three"


def test_no_encoder_is_loaded(place):
    """A text encoder of 64 MB of embeddings, which a run from the cache does not take."""
    MAKE["sd15"](str(place / "large"), text={"vocab_size": 500_000})
    once = settings(data__cache_dir=place / "large.cache", train__max_train_steps=1, checkpoint__every_steps=0)
    run = ["run", *what(place, "large"), *once]
    t2i("cache", "build", *what(place, "large"), *once)
    without, _ = own_peak(T2I, *run, *settings(data__cache="only"), "--output", place / "large-cached")
    with_it, _ = own_peak(T2I, *run, "--output", place / "large-encoded")
    assert with_it - without > 40e6, (with_it, without)
