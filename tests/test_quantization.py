"""model.quantization: frozen weights in 4 and 8 bits against bitsandbytes, bit for bit in files and through whole networks against
diffusers and transformers with the weights that bitsandbytes makes of them.

Broken by: a weight left unpacked or packed that should not be, scales of another block, a convolution's weight in another order,
gradients that do not pass a packed layer, a folder that bitsandbytes reads otherwise.
"""

import json
import os
import pathlib
import shutil

import bitsandbytes.functional as bnb
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_parity_flux import CASES as FLUX_CASES
from test_parity_flux import FolderFlux
from test_parity_sd15 import FORWARD, GRADIENT, PROMPTS, Folder, assert_close, prompts
from test_parity_sd3 import Folder3
from test_parity_sdxl import FolderXL
from tiny import AS_CAPTIONS, metrics, sd_folder, settings, t2i, triplet_data

FAMILIES = {"sd15": (Folder, "published", "unet"), "sdxl": (FolderXL, "base", "unet"), "sd3": (Folder3, "medium", "transformer"),
            "flux": (FolderFlux, "dev", "transformer")}
FORMS = ("nf4", "int8")
# Rows of whole blocks everywhere: for why, see unpacked().
FLUX_CASES["whole"] = dict(transformer=dict(attention_head_dim=32, axes_dims_rope=(8, 12, 12), pooled_projection_dim=64), text=dict(hidden_size=64),
                           t5=dict(d_kv=16, d_ff=64))
NETWORK = "diffusion_pytorch_model.safetensors"
# bitsandbytes' mean of many scales depends on how many threads sum them; t2i's is that of one.
torch.set_num_threads(1)


def packed(weight, form):
    """By bitsandbytes: the tensors that it stores, by their endings, and the weight that comes back."""
    matrix = weight.reshape(weight.shape[0], -1)
    if form == "int8":
        codes, scales, _ = bnb.int8_vectorwise_quant(matrix.half())
        return {"weight": codes, "SCB": scales, "weight_format": torch.tensor(0, dtype=torch.uint8)}, bnb.int8_vectorwise_dequant(codes, scales).reshape(weight.shape)
    codes, state = bnb.quantize_4bit(matrix, quant_type="nf4", blocksize=64, compress_statistics=True)
    return {"weight": codes, **{f"weight.{k}": v for k, v in state.as_dict(packed=True).items()}}, unpacked(codes, state).reshape(weight.shape)


def unpacked(codes, state):
    """As one row: for a matrix whose rows are no whole blocks, bitsandbytes 0.50.2 takes other blocks' scales where it uses AVX-512."""
    shape, state.shape = state.shape, torch.Size([state.shape.numel()])
    flat = bnb.dequantize_4bit(codes, state)
    state.shape = shape
    return flat.reshape(shape)


@torch.no_grad()
def quantize(network, form, but=()):
    """Every linear layer and convolution through bitsandbytes and back."""
    count = 0
    for name, module in network.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and not name.endswith(tuple(but)):
            module.weight.copy_(packed(module.weight.float(), form)[1])
            count += 1
    assert count


class Case:
    def __init__(self, root, family, of_other_sizes=None):
        kind, name, self.part = FAMILIES[family]
        self.folder = kind(str(root), of_other_sizes or name)
        self.network = getattr(self.folder.pipeline, self.part)
        self.plain = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.weights = pathlib.Path(self.folder.path) / self.part / NETWORK
        config = self.network.config
        self.channels = getattr(config, "out_channels", None) or config.in_channels
        if family == "flux":
            self.channels = self.folder.channels
        self.step = self.folder.conditioning(2) | {"latents": self.folder.randn(2, self.channels, *self.folder.size), "timesteps": torch.tensor([417.25, 961.0])}

    def predict(self, step):
        rest = {k: v for k, v in step.items() if k not in ("latents", "timesteps", "noise")}
        call = self.folder.unet if self.part == "unet" else self.folder.denoiser
        return call(step["latents"], step["timesteps"], rest)


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, tmp_path_factory):
    return Case(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def restored(case):
    yield case
    case.network.load_state_dict(case.plain)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_forward(restored, form):
    case = restored
    unpacked = case.predict(case.step)
    quantize(case.network, form)
    wanted = case.predict(case.step)
    got = case.folder.probe("forward", case.step, "--set", f"model.quantization={form}")["prediction"]
    assert_close(got, wanted, FORWARD)
    assert (unpacked - wanted).abs().max() > 100 * FORWARD * wanted.abs().max()  # else nothing was shown


@pytest.mark.parametrize("form, recompute", [("nf4", "false"), ("nf4", "true"), ("int8", "false")])
def test_gradients_pass_packed_layers(restored, form, recompute):
    """Of all biases: those of the first layers hang on every weight behind them."""
    case = restored
    step = case.step | {"noise": case.folder.randn(*case.step["latents"].shape)}
    got = case.folder.probe("step", step, "--grads", "--loss", "rectified_flow",
                            *settings(model__quantization=form, train__parameters="['*.bias']", train__gradient_checkpointing=recompute))
    quantize(case.network, form)
    sigma = (step["timesteps"] / 1000).view(-1, 1, 1, 1)
    noisy = (1 - sigma) * step["latents"] + sigma * step["noise"]
    case.network.zero_grad()
    prediction = case.predict(step | {"latents": noisy})
    ((prediction - (step["noise"] - step["latents"])) ** 2).mean().backward()
    assert_close(got["prediction"], prediction.detach(), FORWARD)
    wanted = {name: p.grad for name, p in case.network.named_parameters() if name.endswith(".bias")}
    gradients = {name.removeprefix("grad."): g for name, g in got.items() if name.startswith("grad.")}
    assert gradients.keys() == wanted.keys()
    least = 1e-3 * max(g.abs().max().item() for g in wanted.values())  # why: test_parity_sd15.py
    for name, g in wanted.items():
        assert_close(gradients[name], g, GRADIENT, name, least)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_text_encoders(tmp_path, form):
    """Embeddings stay, and the layers of T5 that transformers keeps."""
    folder = FolderFlux(str(tmp_path), "dev")
    for encoder in (folder.pipeline.text_encoder, folder.pipeline.text_encoder_2):
        quantize(encoder, form, but=("wo",))
    got = folder.probe("text", None, *prompts(*PROMPTS), "--set", f"model.text_encoder_quantization={form}", "--set", "plugin.t5_length=16")
    embeds, pooled, _ = folder.pipeline.encode_prompt(PROMPTS, device="cpu", max_sequence_length=16)
    assert_close(got["prompt_embeds"], embeds, FORWARD)
    assert_close(got["pooled"], pooled, FORWARD)


# ---- folders ----


def export(model, output, *more):
    shutil.rmtree(output, ignore_errors=True)
    t2i("export", "--model", model, "--output", output, *more)
    return pathlib.Path(output)


def in_float32(network):
    """Outside of training, bitsandbytes' layers go to bfloat16 on a processor that has it."""
    for module in network.modules():
        if type(module).__name__ == "Linear4bit":
            module.train()
    return network


def linear_layers(network):
    return [name for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)]


@pytest.mark.parametrize("form", FORMS)
def test_files_are_as_bitsandbytes_writes_them(case, tmp_path, form):
    out = export(case.folder.path, tmp_path / "out", "--quantization", form)
    got, source = load_file(out / case.part / NETWORK), load_file(case.weights)
    old_names = {name for name in source if name not in case.plain}
    wanted = dict(source)
    for layer in linear_layers(case.network):
        if layer + ".weight" in old_names or layer + ".weight" not in source:
            continue
        stored, _ = packed(wanted.pop(layer + ".weight").float(), form)
        wanted |= {f"{layer}.{ending}": t for ending, t in stored.items()}
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        if ".quant_state." in name:
            mine, theirs = (json.loads(bytes(t.numpy())) for t in (got[name], tensor))
            assert mine == theirs and list(mine) == list(theirs), name
        else:
            assert got[name].dtype == tensor.dtype and got[name].shape == tensor.shape and torch.equal(got[name], tensor), name
    config = json.loads((out / case.part / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "bitsandbytes" and config["load_in_4bit"] == (form == "nf4") and config["load_in_8bit"] == (form == "int8")
    for other in ("vae", "text_encoder"):
        assert json.loads((out / other / "config.json").read_text()).get("quantization_config") is None


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_a_packed_folder_predicts_what_packing_in_memory_does(tmp_path, form):
    """Where all that is packed are matrices, bit for bit."""
    case = Case(tmp_path, "flux")
    at_once = case.folder.probe("forward", case.step, "--set", f"model.quantization={form}")["prediction"]
    case.folder.path = str(export(case.folder.path, tmp_path / "packed", "--quantization", form))
    assert torch.equal(case.folder.probe("forward", case.step)["prediction"], at_once)
    assert torch.equal(case.folder.probe("forward", case.step, "--set", f"model.quantization={form}")["prediction"], at_once)


@torch.no_grad()
def test_diffusers_reads_the_folder(tmp_path, monkeypatch):
    """Through bitsandbytes' own layers, which would want a GPU for no reason but speed."""
    from diffusers import FluxTransformer2DModel
    from diffusers.quantizers.bitsandbytes.bnb_quantizer import BnB4BitDiffusersQuantizer

    case = Case(tmp_path, "flux", "whole")
    out = export(case.folder.path, tmp_path / "packed", "--quantization", "nf4", "--dtype", "float32")
    monkeypatch.setattr(BnB4BitDiffusersQuantizer, "validate_environment", lambda *_, **__: None)
    network = FluxTransformer2DModel.from_pretrained(out / "transformer", torch_dtype=torch.float32, device_map={"": "cpu"})
    assert {type(network.get_submodule(name)).__name__ for name in linear_layers(case.network)} == {"Linear4bit"}
    in_float32(network)
    case.folder.pipeline.transformer = network
    wanted = case.predict(case.step)
    case.folder.path = str(out)
    assert_close(case.folder.probe("forward", case.step)["prediction"], wanted, FORWARD)


@torch.no_grad()
def test_transformers_reads_its_text_encoder(tmp_path):
    from transformers import T5EncoderModel

    folder = FolderFlux(str(tmp_path), "whole")
    out = export(folder.path, tmp_path / "packed", "--text-encoder-quantization", "nf4", "--dtype", "float32")
    encoder = T5EncoderModel.from_pretrained(out / "text_encoder_2", dtype=torch.float32, device_map={"": "cpu"})
    kinds = {name: type(module).__name__ for name, module in encoder.named_modules() if name.endswith((".q", ".wi_0", ".wo"))}
    assert {kind for name, kind in kinds.items() if not name.endswith(".wo")} == {"Linear4bit"}
    assert {kind for name, kind in kinds.items() if name.endswith(".wo")} == {"Linear"}
    folder.pipeline.text_encoder_2 = in_float32(encoder)
    quantize(folder.pipeline.text_encoder, "nf4")
    embeds, pooled, _ = folder.pipeline.encode_prompt(PROMPTS, device="cpu", max_sequence_length=16)
    folder.path = str(out)
    got = folder.probe("text", None, *prompts(*PROMPTS), "--set", "plugin.t5_length=16")
    assert_close(got["prompt_embeds"], embeds, FORWARD)
    assert_close(got["pooled"], pooled, FORWARD)


def test_what_bitsandbytes_writes_is_read(tmp_path):
    """Scales packed once, which is its default; a bias beside; a layer that it skipped."""
    case = Case(tmp_path, "flux")
    state, wanted = load_file(case.weights), None
    for layer in linear_layers(case.network):
        if layer == "proj_out":
            continue
        codes, quant = bnb.quantize_4bit(state[layer + ".weight"].bfloat16(), quant_type="nf4", blocksize=64)
        with torch.no_grad():
            quant.dtype = torch.float32
            case.network.get_submodule(layer).weight.copy_(unpacked(codes, quant))
            quant.dtype = torch.bfloat16
        state[layer + ".weight"] = codes
        state |= {f"{layer}.weight.{k}": v for k, v in quant.as_dict(packed=True).items()}
    save_file(state, case.weights, {"format": "pt"})
    with torch.no_grad():
        wanted = case.predict(case.step)
    assert_close(case.folder.probe("forward", case.step)["prediction"], wanted, FORWARD)


@pytest.mark.parametrize("form", FORMS)
def test_unpacked_again(tmp_path, form):
    case = Case(tmp_path, "flux")
    packed_folder = export(case.folder.path, tmp_path / "packed", "--quantization", form)
    out = export(packed_folder, tmp_path / "plain", "--quantization", "none", "--dtype", "float32")
    got, source = load_file(out / case.part / NETWORK), load_file(case.weights)
    assert got.keys() == source.keys()
    for layer in linear_layers(case.network):
        assert torch.equal(got[layer + ".weight"], packed(source[layer + ".weight"], form)[1]), layer
    assert "quantization_config" not in json.loads((out / case.part / "config.json").read_text())
    again = export(packed_folder, tmp_path / "again")  # nothing asked: the files go along as they are
    assert (again / case.part / NETWORK).read_bytes() == (packed_folder / case.part / NETWORK).read_bytes()


def test_the_number_of_threads_changes_nothing(tmp_path):
    """A tensor with more scales than one thread sums alone."""
    folder = FolderFlux(str(tmp_path), "dev")
    path = pathlib.Path(folder.path) / "transformer" / NETWORK
    config_path = path.with_name("config.json")
    config_path.write_text(json.dumps(json.loads(config_path.read_text()) | {"joint_attention_dim": 70_000}))
    state = load_file(path)
    state["context_embedder.weight"] = torch.randn(32, 70_000, generator=folder.generator) * 0.02
    save_file(state, path, {"format": "pt"})
    (pathlib.Path(folder.path) / "text_encoder_2" / "config.json").unlink()
    shutil.rmtree(pathlib.Path(folder.path) / "text_encoder_2")
    files = []
    for threads in (1, 2):
        t2i("export", "--model", folder.path, "--output", tmp_path / f"out-{threads}", "--quantization", "nf4", env={"OMP_NUM_THREADS": str(threads)})
        files.append(load_file(tmp_path / f"out-{threads}" / "transformer" / NETWORK))
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    wanted, _ = packed(state["context_embedder.weight"], "nf4")
    assert torch.equal(files[0]["context_embedder.weight.absmax"], wanted["weight.absmax"])


# ---- training ----

RUN = settings(data__resolution=16, data__num_workers=0, train__train_batch_size=2, train__gradient_accumulation_steps=1, train__max_train_steps=4,
               train__mixed_precision="fp32", optimizer__learning_rate=1e-3, checkpoint__every_steps=2, validation__every_steps=0,
               train__parameters="['*.bias']")


def train(model, data, output, *more):
    done = t2i("run", "--task", "text", "--model", model, "--data", data, "--output", output, *RUN, *AS_CAPTIONS, *more)
    return [line["loss"] for line in metrics(output)], done.stderr


def test_training_beside_packed_weights(tmp_path):
    """The same losses as over the numbers that bitsandbytes unpacks; final/ has the base as it was, not what packing left of it."""
    from diffusers import UNet2DConditionModel

    model, data = sd_folder(tmp_path / "model"), triplet_data(tmp_path / "data", count=8)
    losses, said = train(model, data, tmp_path / "packed", *settings(model__quantization="nf4", model__text_encoder_quantization="int8",
                                                                     train__use_ema="true"))
    assert "packed as int8: text_encoder (" in said and "nf4: unet (" in said
    shutil.copytree(model, tmp_path / "unpacked")
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    quantize(unet, "nf4")
    unet.save_pretrained(tmp_path / "unpacked" / "unet")
    from transformers import CLIPTextModel

    text = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
    quantize(text, "int8")
    text.save_pretrained(tmp_path / "unpacked" / "text_encoder")
    wanted, _ = train(tmp_path / "unpacked", data, tmp_path / "plain", *settings(train__use_ema="true"))
    assert len(losses) == len(wanted) == 4
    assert max(abs(a - b) / b for a, b in zip(losses, wanted)) < 1e-5  # other orders of sums
    before, after, plain = (load_file(pathlib.Path(p) / "unet" / NETWORK) for p in (model, tmp_path / "packed" / "final", tmp_path / "plain" / "final"))
    assert after.keys() == before.keys()
    for name in before:
        if name.endswith(".bias"):
            # AdamW divides by a gradient's size: where that is rounding's, so is the step's direction.
            assert (after[name] - plain[name]).abs().max() <= 1e-5 + 1e-3 * plain[name].abs().max(), name
            assert not torch.equal(after[name], before[name]) or before[name].abs().max() == 0 or "to_k" in name, name
        else:
            assert torch.equal(after[name], before[name]), name
    # Going on after an interruption is the same run.
    shutil.rmtree(tmp_path / "packed" / "final")
    shutil.rmtree(tmp_path / "packed" / "checkpoint-4")
    train(model, data, tmp_path / "packed", *settings(model__quantization="nf4", model__text_encoder_quantization="int8", train__use_ema="true"))
    again = load_file(tmp_path / "packed" / "final" / "unet" / NETWORK)
    assert all(torch.equal(again[name], after[name]) for name in after)


def test_training_beside_a_packed_folder(tmp_path):
    """final/ then holds the codes that the folder held, and t2i reads it."""
    model, data = sd_folder(tmp_path / "model"), triplet_data(tmp_path / "data", count=8)
    out = export(model, tmp_path / "source", "--quantization", "nf4")
    train(out, data, tmp_path / "run", "--set", "train.parameters=['*.bias', '*.attn1.to_q.weight']")
    before, after = (load_file(p / "unet" / NETWORK) for p in (out, tmp_path / "run" / "final"))
    trained = {name for name in after if name.endswith(".bias") or name.endswith(".attn1.to_q.weight")}
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - trained)
    queries = {name for name in trained if name.endswith("to_q.weight")}
    assert queries and all(after[name].dtype == torch.float32 and before[name].dtype == torch.uint8 for name in queries)
    assert before.keys() - after.keys() == {name for name in before if ".attn1.to_q.weight." in name}
    skipped = json.loads((tmp_path / "run" / "final" / "unet" / "config.json").read_text())["quantization_config"]["llm_int8_skip_modules"]
    assert {name.removesuffix(".weight") for name in queries} <= set(skipped)
    t2i("generate", "--model", tmp_path / "run" / "final", "--prompt", "x", "--steps", "2", "--size", "16x16", "--output", tmp_path / "a.png")


def test_pictures(tmp_path):
    """`generate` takes the same settings; the picture is near to the unpacked one's and not the same."""
    import numpy as np
    from PIL import Image
    from tiny import louder

    model = sd_folder(tmp_path / "model")
    louder(model)
    pictures = []
    for name, more in {"plain": [], "packed": settings(model__quantization="int8", model__text_encoder_quantization="int8")}.items():
        t2i("generate", "--model", model, "--prompt", "a red ball", "--steps", "3", "--size", "16x16", "--seed", "3", "--output", tmp_path / f"{name}.png", *more)
        pictures.append(np.asarray(Image.open(tmp_path / f"{name}.png"), dtype=float))
    assert 0 < abs(pictures[0] - pictures[1]).mean() < 12
    assert os.path.getsize(tmp_path / "packed.png")
