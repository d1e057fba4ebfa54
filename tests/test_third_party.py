"""A stranger's view: t2i installed into a folder that is then moved, plugins built out of tree against it alone."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import tiny

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("T2I_BUILD", os.path.join(HERE, "..", "build"))
EXAMPLES = os.path.join(HERE, "..", "examples", "third_party")


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The installed tree, moved away from where it was installed."""
    first = tmp_path_factory.mktemp("prefix") / "first"
    run("cmake", "--install", BUILD, "--prefix", first)
    moved = first.parent / "moved here"
    first.rename(moved)
    return moved


@pytest.fixture(scope="module")
def plugins(installed, tmp_path_factory):
    """Both examples, copied out of the source tree and built with nothing but the installed SDK."""
    work = tmp_path_factory.mktemp("mine")
    for name in ("CMakeLists.txt", "pseudo_huber.cpp", "tiny.cpp"):
        shutil.copy(os.path.join(EXAMPLES, name), work)
    build = work / "build"
    run("cmake", "-S", work, "-B", build, f"-DCMAKE_PREFIX_PATH={installed}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    commands = (build / "compile_commands.json").read_text()
    assert os.path.realpath(os.path.join(HERE, "..")) not in commands and "torch" not in commands.replace(str(work), "")
    run("cmake", "--build", build, "-j2")
    os.chmod(build, 0o755)
    for name in ("pseudo_huber", "tiny"):
        os.chmod(build / f"t2i-{name}.so", 0o755)
    return build


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    run(sys.executable, os.path.join(EXAMPLES, "make_folder.py"), folder, 32, 2, 2)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six 16x16 pictures with captions, and as many pairs of pictures with an instruction."""
    folder, pairs = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("pairs")
    random, rows = np.random.default_rng(0), []
    for i in range(6):
        picture = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"picture number {i}")
        Image.fromarray(picture).save(pairs / f"{i}_in.png")
        Image.fromarray(255 - picture).save(pairs / f"{i}_out.png")
        rows.append({"input_image": f"{i}_in.png", "instruction": "invert", "output_image": f"{i}_out.png"})
    (pairs / "metadata.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder, pairs


def train(installed, plugins, model, data, output, steps, *more):
    settings = {"data.resolution": 16, "train.max_train_steps": steps, "train.train_batch_size": 2, "checkpoint.every_steps": 2,
                "train.gradient_accumulation_steps": 1, "train.mixed_precision": "no", "train.log_every_steps": 1,
                "optimizer.learning_rate": 0.001, "validation.every_steps": 0, "train.num_threads": 1, "train.device": "cpu"}
    return run(installed / "bin" / "t2i", "run", "--plugin-path", plugins, "--model", model, "--data", data, "--output", output,
               *[f"--set={k}={v}" for k, v in settings.items()], *more, env={**os.environ, "T2I_PLUGIN_PATH": ""})


def weights_of(output):
    return load_file(os.path.join(output, "final", "transformer", "diffusion_pytorch_model.safetensors"))


def test_tutorials_show_the_code_that_is_built():
    def shown(page, language):
        with open(os.path.join(HERE, "..", "docs", page)) as f:
            return re.findall(rf"```{language}\n(.*?)```", f.read(), re.S)

    def source(name):
        with open(os.path.join(EXAMPLES, name)) as f:
            return f.read()

    assert shown("tutorial-loss.md", "cpp") == [source("pseudo_huber.cpp")]
    assert shown("tutorial-loss.md", "cmake") == [source("CMakeLists.txt")]
    assert shown("tutorial-model.md", "cpp") == [source("tiny.cpp")]
    assert source("pseudo_huber.cpp").count("\n") <= 20 and source("tiny.cpp").count("\n") <= 80


def test_installed_tree_lists_the_built_in_plugins(installed):
    out = run(installed / "bin" / "t2i", "plugins", "list", env={**os.environ, "T2I_PLUGIN_PATH": ""})
    listed = {tuple(line.split()[:2]) for line in out.splitlines()}
    assert {("loss", "epsilon"), ("task", "ip2p"), ("model", "sd15")} <= listed
    info = run(installed / "bin" / "t2i", "plugins", "info", "epsilon", env={**os.environ, "T2I_PLUGIN_PATH": ""})
    assert str(installed / "lib" / "t2i" / "t2i-epsilon.so") in info


def test_both_keep_every_rule(installed, plugins, model):
    loss = run(installed / "bin" / "t2i", "plugins", "check", plugins / "t2i-pseudo_huber.so")
    assert "0 failed" in loss and re.search(r"^pass  G1 ", loss, re.M)
    tiny = run(installed / "bin" / "t2i", "plugins", "check", plugins / "t2i-tiny.so", "--model", model)
    assert "0 failed" in tiny and re.search(r"^pass  G3 ", tiny, re.M) and re.search(r"^pass  G4 ", tiny, re.M)


def test_trained_checkpointed_resumed(installed, plugins, model, data, tmp_path):
    """The loss by path, the model by name: 2 steps, then 4 more from the checkpoint, against 6 at once."""
    loss = ("--loss", plugins / "t2i-pseudo_huber.so")
    train(installed, plugins, model, data[0], tmp_path / "once", 6, *loss)
    train(installed, plugins, model, data[0], tmp_path / "twice", 2, *loss)
    assert (tmp_path / "twice" / "checkpoint-2").is_dir()
    train(installed, plugins, model, data[0], tmp_path / "twice", 6, *loss)

    def digest(output):
        file = output / "final" / "transformer" / "diffusion_pytorch_model.safetensors"
        return hashlib.sha256(file.read_bytes()).hexdigest()

    assert digest(tmp_path / "once") == digest(tmp_path / "twice")
    start, end = load_file(model / "transformer" / "diffusion_pytorch_model.safetensors"), weights_of(tmp_path / "once")
    assert set(start) == set(end) and all(not np.array_equal(start[k], end[k]) for k in start if k.endswith("weight"))
    scheduler = json.loads((tmp_path / "once" / "final" / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "epsilon"


def test_losses_are_swapped_by_name_alone(installed, plugins, model, data, tmp_path):
    ends = {}
    for loss in ("epsilon", "v_prediction", "min_snr", "rectified_flow", "pseudo_huber"):
        train(installed, plugins, model, data[0], tmp_path / loss, 2, "--loss", loss)
        ends[loss] = weights_of(tmp_path / loss)["head.weight"].tobytes()
    assert len(set(ends.values())) == 5


def test_a_strangers_model_learns_to_edit(installed, plugins, model, data, tmp_path):
    """The built-in editing task widens the first layer of a model it has never heard of."""
    train(installed, plugins, model, data[1], tmp_path / "edit", 2, "--task", "ip2p")
    final = weights_of(tmp_path / "edit")
    assert final["in.weight"].shape == (32, 96, 3, 3) and np.abs(final["in.weight"][:, 48:]).max() > 0
    config = json.loads((tmp_path / "edit" / "final" / "transformer" / "config.json").read_text())
    index = json.loads((tmp_path / "edit" / "final" / "model_index.json").read_text())
    assert config["in_channels"] == 96 and index["_class_name"] == "TinyEditPipeline"


def test_a_model_that_does_not_say_what_single_files_call_its_tensors(installed, plugins, model, tmp_path):
    output = tmp_path / "model.safetensors"
    done = subprocess.run([installed / "bin" / "t2i", "export", "--plugin-path", plugins, "--model", model, "--output", output],
                          capture_output=True, text=True, env={**os.environ, "T2I_PLUGIN_PATH": ""})
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == ("model 'tiny': does not say how single files name the tensors of 'text_encoder'. → export a folder: "
                           "--format diffusers  [T2I-E2037]\n")
    assert not list(tmp_path.iterdir())
    run(installed / "bin" / "t2i", "export", "--plugin-path", plugins, "--model", model, "--output", tmp_path / "folder", "--format", "diffusers",
        env={**os.environ, "T2I_PLUGIN_PATH": ""})  # as the message says
    assert (tmp_path / "folder" / "model_index.json").exists()


@pytest.fixture(scope="module")
def shared_parts(installed, tmp_path_factory):
    """A model of the installed parts that families share (t2i::nn), built with nothing but the installed tree."""
    work = tmp_path_factory.mktemp("nn")
    for name in ("CMakeLists.txt", "shared_parts.cpp"):
        shutil.copy(os.path.join(HERE, "out_of_tree", name), work)
    run("cmake", "-S", work, "-B", work / "build", f"-DCMAKE_PREFIX_PATH={installed}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    commands = (work / "build" / "compile_commands.json").read_text()
    assert os.path.realpath(os.path.join(HERE, "..")) not in commands and "torch" not in commands
    run("cmake", "--build", work / "build")
    os.chmod(work / "build", 0o755)
    os.chmod(work / "build" / "t2i-shared_parts.so", 0o755)
    return work / "build" / "t2i-shared_parts.so"


@pytest.fixture(scope="module")
def sd_folder(tmp_path_factory):
    return tiny.sd_folder(tmp_path_factory.mktemp("sd") / "model")


def test_shared_parts_work_for_strangers(installed, shared_parts, sd_folder, tmp_path):
    """Text, autoencoder and UNet out of tree give the bits that the built-in family gives from the same parts."""
    random = np.random.default_rng(1)
    inputs = {"pixels": random.uniform(-1, 1, (2, 3, 16, 16)), "latents": random.normal(size=(2, 4, 8, 8)),
              "timesteps": np.array([3.0, 900.0]), "prompt_embeds": random.normal(size=(2, 16, 32))}
    save_file({k: v.astype(np.float32) for k, v in inputs.items()}, tmp_path / "in")

    def probe(what, *more):
        out = {}
        for plugin in ("sd15", shared_parts):
            run(installed / "bin" / "t2i", "probe", what, "--model", sd_folder, "--plugin", plugin, "--task", "text", "--outputs",
                tmp_path / "out", *more, env={**os.environ, "T2I_PLUGIN_PATH": ""})
            out[plugin] = load_file(tmp_path / "out")
        return out["sd15"], out[shared_parts]

    for what, wants, more in (("text", {"prompt_embeds"}, ("--prompt", "Zwölf  Boxkämpfer", "--prompt", "a cat's hat")),
                              ("encode", {"mean", "logvar", "latents"}, ("--inputs", tmp_path / "in")),
                              ("decode", {"pixels"}, ("--inputs", tmp_path / "in")),
                              ("forward", {"prediction"}, ("--inputs", tmp_path / "in"))):
        ours, theirs = probe(what, *more)
        assert wants <= set(ours) and set(ours) == set(theirs)
        for name in wants:
            assert np.std(ours[name]) > 0 and np.array_equal(ours[name], theirs[name]), (what, name)


def test_shared_parts_train_for_strangers(installed, shared_parts, sd_folder, data, tmp_path):
    train(installed, shared_parts, sd_folder, data[0], tmp_path / "run", 2, "--plugin", "shared_parts", "--task", "text")
    start = load_file(os.path.join(sd_folder, "unet", "diffusion_pytorch_model.safetensors"))
    end = load_file(tmp_path / "run" / "final" / "unet" / "diffusion_pytorch_model.safetensors")
    assert set(start) == set(end) and not np.array_equal(start["conv_out.weight"], end["conv_out.weight"])
