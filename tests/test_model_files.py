"""Model folders that diffusers, transformers and the hub's own client write are found and read; and what the error
messages tell people to type does what they promise."""
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import diffusers
import huggingface_hub
import pytest
import safetensors.torch
import torch
import transformers

PROBE = pathlib.Path(os.environ["T2I_BUILD"]) / "bin" / "file_probe"


def probe(*args, **env):
    return subprocess.run([PROBE, *map(str, args)], capture_output=True, text=True, env={**os.environ, **env})


def probed(*args, **env):
    result = probe(*args, **env)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def advised(result):
    """The command that an error message ends with."""
    return shlex.split(result.stderr.split("→ ")[1].split("  [T2I")[0])


def fetched(files, command):
    """Which of a repository's files `hf download` fetches with the command's patterns."""
    patterns = [command[i + 1] for i, word in enumerate(command) if word == "--include"]
    return list(huggingface_hub.utils.filter_repo_objects(files, allow_patterns=patterns))


def fingerprints(state):
    return {name: (list(t.shape), hashlib.sha256(t.contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()) for name, t in state.items()}


def read_by_us(folder, part, variant="", **env):
    return {name: (t["shape"], t["data"]) for name, t in probed("weights", folder, part, variant, **env)["tensors"].items()}


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                                   norm_num_groups=8, sample_size=32)


@pytest.fixture(scope="module")
def text_encoder():
    torch.manual_seed(0)
    return transformers.CLIPTextModel(transformers.CLIPTextConfig(vocab_size=99, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                                                  num_attention_heads=2, max_position_embeddings=77))


def make_model(folder, vae, text_encoder, **how):
    folder.mkdir(parents=True, exist_ok=True)
    vae.save_pretrained(folder / "vae", **how)
    text_encoder.save_pretrained(folder / "text_encoder", **how)
    diffusers.DDIMScheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({
        "_class_name": "APipeline", "_diffusers_version": diffusers.__version__, "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "scheduler": ["diffusers", "DDIMScheduler"], "image_encoder": [None, None]}))
    return folder


@pytest.mark.parametrize("how", [{}, {"variant": "fp16"}, {"max_shard_size": "60KB"}, {"max_shard_size": "60KB", "variant": "fp16"}],
                         ids=["plain", "fp16", "sharded", "sharded-fp16"])
def test_what_diffusers_and_transformers_save(tmp_path, vae, text_encoder, how):
    model = make_model(tmp_path / "model", vae, text_encoder, **how)
    described = probed("model", model)
    assert set(described["parts"]) == {"vae", "text_encoder", "scheduler"}
    assert described["parts"]["vae"]["config"]["norm_num_groups"] == 8
    assert described["parts"]["scheduler"]["config"]["_class_name"] == "DDIMScheduler"
    if "max_shard_size" in how:
        assert probed("weights", model, "vae")["files"] > 1  # the fp16 variant is taken by itself where it is the only one
    for part, module in ("vae", vae), ("text_encoder", text_encoder):
        expected = fingerprints(module.state_dict())
        assert {n: v for n, v in read_by_us(model, part).items() if n in expected} == expected
        assert read_by_us(model, part, how.get("variant", "")) == read_by_us(model, part)


def test_the_hubs_cache_as_its_own_client_sees_it(tmp_path, vae, text_encoder):
    """The cache is laid out as the client documents; that it is right is shown by the client finding the same folder."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--org--tiny-model"
    made = make_model(tmp_path / "made", vae, text_encoder)
    (repository / "refs").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    for file in made.rglob("*.*"):
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        link = repository / "snapshots" / revision / file.relative_to(made)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    theirs = huggingface_hub.snapshot_download("org/tiny-model", cache_dir=tmp_path / "hub", local_files_only=True)
    for env in ({"HF_HUB_CACHE": str(tmp_path / "hub")}, {"HF_HUB_CACHE": "", "HF_HOME": str(tmp_path)},
                {"HF_HUB_CACHE": "", "HF_HOME": "", "XDG_CACHE_HOME": str(tmp_path / "xdg")}):
        if "XDG_CACHE_HOME" in env:
            (tmp_path / "xdg" / "huggingface").mkdir(parents=True)
            (tmp_path / "xdg" / "huggingface" / "hub").symlink_to(tmp_path / "hub")
        assert os.path.samefile(probed("model", "org/tiny-model", **env)["root"], theirs)
    assert read_by_us("org/tiny-model", "vae", HF_HUB_CACHE=str(tmp_path / "hub")) == fingerprints(vae.state_dict())
    blob = next((repository / "snapshots" / revision / "vae").glob("*.safetensors")).resolve()
    assert probe("sha256", blob).stdout.strip() == blob.name  # so a download can be checked without a network


def test_the_download_command_is_one_the_client_takes(tmp_path):
    missing = probe("model", "org/not-here", HF_HUB_CACHE=str(tmp_path))
    assert missing.returncode == 66
    command = advised(missing)
    assert command[:3] == ["hf", "download", "org/not-here"]
    hf = pathlib.Path(sys.executable).parent / "hf"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    result = subprocess.run([hf, *command[1:]], capture_output=True, text=True, env=offline)
    assert "Usage" not in result.stderr and "No such option" not in result.stderr  # it got as far as the network
    assert "offline" in (result.stdout + result.stderr).lower()
    wrong = subprocess.run([hf, *command[1:], "--inklude", "x"], capture_output=True, text=True, env=offline)
    assert "No such option" in wrong.stderr + wrong.stdout
    # The patterns fetch what is read here and leave what is not.
    files = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors.index.json",
             "tokenizer/merges.txt", "tokenizer_2/spiece.model", "text_encoder/model.fp16.safetensors", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors",
             "unet/diffusion_pytorch_model.bin", "README.md"]
    assert fetched(files, command) == files[:7]


def test_the_download_command_of_a_part(tmp_path):
    """Of a whole model the part alone, of a repository of one part its configuration and weights."""
    missing = probe("part", "org/not-here", "vae", HF_HUB_CACHE=str(tmp_path))
    assert missing.returncode == 66
    command = advised(missing)
    whole = ["vae/config.json", "vae/diffusion_pytorch_model.safetensors", "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
             "text_encoder/model.safetensors", "a-vae.safetensors", "vae/diffusion_pytorch_model.bin"]
    assert fetched(whole, command) == whole[:2]
    alone = ["config.json", "diffusion_pytorch_model.safetensors", "README.md", "a-vae.safetensors", "diffusion_pytorch_model.bin"]
    assert fetched(alone, command) == alone[:2]


def test_a_part_by_itself(tmp_path, vae, text_encoder):
    """Its own folder, a model's, or one of each in the hub's cache, whole or fetched without the rest of its model."""
    model = make_model(tmp_path / "model", vae, text_encoder)
    for name, source in {"alone": model / "vae", "model": model}.items():
        shutil.copytree(source, tmp_path / "hub" / f"models--org--{name}" / "snapshots" / "0")
    shutil.copytree(model / "vae", tmp_path / "hub" / "models--org--the-part" / "snapshots" / "0" / "vae")
    for path in (model / "vae", model, "org/alone", "org/model", "org/the-part"):
        found = probed("part", path, "vae", HF_HUB_CACHE=str(tmp_path / "hub"))
        assert found["library"] == "diffusers" and found["class"] == "AutoencoderKL"
        assert (pathlib.Path(found["folder"]) / "diffusion_pytorch_model.safetensors").exists()
    assert probed("part", model, "text_encoder")["class"] == "CLIPTextModel"


def test_the_conversion_command_converts(tmp_path, vae, text_encoder):
    model = make_model(tmp_path / "a model", vae, text_encoder)
    part = model / "vae"
    (part / "diffusion_pytorch_model.safetensors").unlink()
    state = vae.state_dict()
    state["shared"] = state["quant_conv.weight"]  # two names for one storage, which safetensors would refuse
    torch.save({"state_dict": state, "step": 3}, part / "diffusion_pytorch_model.bin")
    refused = probe("weights", model, "vae")
    assert refused.returncode == 65 and "T2I-E2001" in refused.stderr
    command = refused.stderr[refused.stderr.index("python -c"):].split("  [T2I")[0]
    subprocess.run(command.replace("python ", shlex.quote(sys.executable) + " ", 1), shell=True, check=True)
    assert read_by_us(model, "vae") == fingerprints(state)


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model.pt", "model.pth", "model.pkl"])
def test_no_pickle_is_read_anywhere(tmp_path, name, text_encoder, vae):
    """One that would leave a mark if it were opened."""
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self):
            return open, (str(mark), "w")

    torch.save({"w": Bomb()}, tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        refused = probe("model", path)
        assert refused.returncode == 65 and "T2I-E2001" in refused.stderr, refused.stderr
    model = make_model(tmp_path / "model", vae, text_encoder)
    disguised = model / "vae" / "diffusion_pytorch_model.safetensors"
    disguised.write_bytes((tmp_path / name).read_bytes())
    refused = probe("weights", model, "vae")
    assert refused.returncode == 65 and "T2I-E2001" in refused.stderr, refused.stderr
    assert not mark.exists()


def test_messages_about_weights_that_are_something_else(tmp_path, vae, text_encoder):
    model = make_model(tmp_path / "model", vae, text_encoder, max_shard_size="60KB")
    shards = sorted((model / "vae").glob("*.safetensors"))
    whole = shards[1].read_bytes()

    def refusal(content):
        shards[1].write_bytes(content)
        result = probe("weights", model, "vae")
        return result.returncode, result.stderr.strip()

    cut = int(len(whole) * 0.41) + 1
    assert refusal(whole[:cut]) == (65, f"{shards[1]}: header promises {len(whole):,} bytes, file has {cut:,} (41 %). The download did not finish. "
                                        "→ rerun hf download (it resumes)  [T2I-E2003]")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"
    assert refusal(pointer) == (66, f"{shards[1]}: is {len(pointer)} bytes of text: a Git-LFS pointer, not the weights. "
                                    "→ git lfs pull, or hf download the model  [T2I-E2002]")
    code, text = refusal(b"<!DOCTYPE html>\n<html>")
    assert code == 66 and 'file begins with "<!DOCTYPE html>": this is a web page' in text and "hf auth login" in text
    shards[1].unlink()
    index = next((model / "vae").glob("*.index.json"))
    line = 1 + index.read_text().split(f'"{shards[1].name}"')[0].count("\n")
    result = probe("weights", model, "vae")
    assert (result.returncode, result.stderr.strip()) == (
        66, f"{index}:{line}: lists {shards[1].name}, which is not in the folder. The download did not finish. → rerun hf download (it resumes)  [T2I-E2004]")


def test_files_of_safetensors_torch_are_mapped_in_place(tmp_path):
    """Alignment as the reference leaves it (8 bytes) is accepted too."""
    state = {"a": torch.randn(3, 5), "b": torch.randn(7).half(), "c": torch.arange(5)}
    folder = tmp_path / "m"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "config.json").write_text("{}")
    (folder / "model_index.json").write_text('{"x": ["a", "b"]}')
    safetensors.torch.save_file(state, folder / "x" / "model.safetensors")
    assert read_by_us(folder, "x") == fingerprints(state)
