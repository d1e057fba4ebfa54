"""`t2i init`: what it writes, asks, takes over from other trainers, and leaves alone; each message whole.

Broken by: a file written over, half a file after Ctrl-C, an answer that the configuration does not take, a name of theirs that is ours no more.
"""

import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time

import pytest
import yaml
from tiny import T2I, t2i

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUESTS = ROOT / "tests" / "other_trainers"


def init(*arguments, code=0, **more):
    return t2i("init", *arguments, code=code, **more)


def written(path):
    return yaml.safe_load(pathlib.Path(path).read_text())


# ---- files ----


def test_it_is_commented_by_the_knobs_own_sentences(tmp_path):
    init("--preset", "sdxl-lora-8gb", "--model", "weights/mine", "--set", "train.seed=7", "--set", "task.conditioning_dropout_prob=0.1", "-o", tmp_path / "a.yaml")
    text = (tmp_path / "a.yaml").read_text()
    help_ = re.sub(r"\s+", " ", t2i("run", "--help").stdout)
    comments = re.findall(r"((?:^ *# .*\n)+)^ *\w+:", text, re.M)
    assert len(comments) >= 20
    sentences = [re.sub(r"\s+", " ", re.sub(r"^ *# ", "", c, flags=re.M)).strip() for c in comments[1:]]
    of_plugins = ["how often a caption is replaced by the empty one in training"]
    assert all(s in help_ or s in of_plugins for s in sentences), [s for s in sentences if s not in help_]
    assert of_plugins[0] in sentences
    config = written(tmp_path / "a.yaml")
    assert config["model"]["path"] == "weights/mine" and config["train"]["seed"] == 7
    assert config["task"] == {"name": "text", "conditioning_dropout_prob": 0.1}
    assert max(map(len, text.splitlines())) < 130


def test_every_key_is_there_when_asked(tmp_path):
    init("--preset", "sdxl-lora-8gb", "-o", tmp_path / "a.yaml", "--every-key", "--no-schema")
    text = (tmp_path / "a.yaml").read_text()
    keys = re.findall(r"^  ([a-z_.0-9]+) \[", t2i("run", "--help").stdout, re.M)
    assert len(keys) > 80 and not [k for k in keys if not re.search(rf"^ *(# )?{k.split('.')[-1]}:", text, re.M)]
    # A name with room for options, and parts of which nothing is chosen, mean the same.
    short = {key: value["name"] if isinstance(value, dict) and set(value) == {"name"} else value for key, value in written(tmp_path / "a.yaml").items() if value is not None}
    assert short == written(ROOT / "presets" / "sdxl-lora-8gb.yaml")
    assert os.listdir(tmp_path) == ["a.yaml"]


def test_nothing_is_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init("--preset", "low-level-256")
    assert sorted(os.listdir()) == ["low-level-256.yaml", "t2i.schema.json"]
    pathlib.Path("low-level-256.yaml").write_text("mine")
    pathlib.Path("t2i.schema.json").write_text("{}")
    assert "is there already" in init("--preset", "low-level-256", code=73).stderr
    done = init("--preset", "low-level-256", "-o", "other.yaml")
    assert "notice: t2i.schema.json is of other plugins or another t2i" in done.stderr
    assert pathlib.Path("low-level-256.yaml").read_text() == "mine" and pathlib.Path("t2i.schema.json").read_text() == "{}"
    init("--preset", "low-level-256", "--force")
    assert len(pathlib.Path("t2i.schema.json").read_text()) > 1000 and written("low-level-256.yaml") == written(ROOT / "presets" / "low-level-256.yaml")
    assert init("--preset", "other.yaml", "-o", "-").stdout.startswith("# Stable Diffusion 1.5 learns to denoise")
    assert sorted(os.listdir()) == ["low-level-256.yaml", "other.yaml", "t2i.schema.json"]


def test_presets_of_the_user_and_of_an_installed_tree(tmp_path):
    (tmp_path / ".t2i" / "presets").mkdir(parents=True)
    (tmp_path / ".t2i" / "presets" / "mine.yaml").write_text("# What we always do\ntrain: {seed: 3}\n")
    env = {"HOME": str(tmp_path)}
    assert re.search(r"^mine +What we always do$", init("--list", env=env).stdout, re.M)
    assert yaml.safe_load(init("--preset", "mine", "-o", "-", env=env).stdout) == {"train": {"seed": 3}}
    subprocess.run(["cmake", "--install", T2I.parent.parent, "--prefix", tmp_path / "there"], check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run([tmp_path / "there" / "bin" / "t2i", "init", "--list"], capture_output=True, text=True, env={**os.environ, "HOME": "/nowhere"})
    assert done.stdout == init("--list", env={"HOME": "/nowhere"}).stdout and "cartoonization-256" in done.stdout


# ---- messages ----

MESSAGES = {
    "preset": (["--preset", "sdxl-lora-8g", "-o", "-"], 64, "--preset: there is no preset 'sdxl-lora-8g'. Did you mean 'sdxl-lora-8gb'? → t2i init --list shows all  [T2I-E8040]\n"),
    "terminal": ([], 64, "t2i init: there is no terminal to ask questions on. → name a preset: t2i init --preset NAME; t2i init --list shows them  [T2I-E8041]\n"),
    "key": (["--preset", "sdxl-lora-8gb", "-o", "-", "--set", "train.sed=1", "--set", "lora.rank=0"], 78,
            "--set train.sed: unknown key 'train.sed'. Did you mean 'train.seed'?  [T2I-E1001]\n"
            "--set lora.rank: lora.rank = 0 is too small. Expected a whole number from 1 to 65536, or null, e.g. 16.  [T2I-E1003]\n"),
    "task": (["--preset", "sdxl-lora-8gb", "-o", "-", "--task", "txt", "--set", "loss=min_snr", "--set", "loss.gama=3"], 78,
             "--task: there is no task 'txt' among the installed plugins. Did you mean 'text'? → there are ip2p, text  [T2I-E8045]\n"
             "--set loss.gama: loss 'min_snr' has no option 'gama'. Did you mean 'gamma'?  [T2I-E1014]\n"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name):
    arguments, code, text = MESSAGES[name]
    assert init(*arguments, code=code).stderr == text


def test_problems_of_a_preset_come_with_their_places_and_all_at_once(tmp_path):
    (tmp_path / "mine.yaml").write_text("# mine\ntrain:\n  sed: 3\n  max_train_steps: -1\noptimizer: {nam: lion}\ndata: {resolution: 4}\n")
    lines = init("--preset", tmp_path / "mine.yaml", "-o", "-", code=78).stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{tmp_path}/mine.yaml:{at}" for at in ("3:3", "4:20", "5:13", "6:20")]
    assert "Did you mean 'train.seed'?" in lines[0] and "Did you mean 'optimizer.name'?" in lines[2]


# ---- questions ----


class Terminal:
    """t2i init at a pseudo-terminal."""

    def __init__(self, folder, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ["HOME"] = str(folder)
            os.execv(T2I, [str(T2I), "init", *arguments])
        self.said = ""

    def read(self, until=None, seconds=20):
        end = time.time() + seconds
        while time.time() < end:
            if until and self.said.rstrip().endswith(until):
                return True
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    more = os.read(self.fd, 4096).decode()
                except OSError:
                    more = ""
                if not more:
                    return until is None
                self.said += more
        return False

    def answer(self, *lines):
        for line in lines:
            assert self.read("]:"), self.said
            self.said += " "
            os.write(self.fd, line.encode() + b"\n")

    def end(self):
        self.read()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_answers_become_a_configuration(tmp_path):
    t = Terminal(tmp_path)
    #         preset  model        family  task  data     resolution    rank  quantization  epochs  output  file
    t.answer("none", "weights/x", "sdxl", "2", "my data", "five", "512", "8", "nf44", "nf4", "3", "", "out/a.yaml")
    assert t.end() == 0, t.said
    assert written(tmp_path / "out" / "a.yaml") == {
        "plugin": "sdxl", "task": "text", "model": {"path": "weights/x", "quantization": "nf4"}, "data": {"path": "my data", "resolution": 512},
        "train": {"num_train_epochs": 3}, "lora": {"rank": 8}, "output": "runs/first"}
    assert 'data.resolution = five is not an integer' in t.said and "did you mean nf4" in t.said
    assert "Stable Diffusion XL" in t.said and "The training data:" in t.said and "t2i plan out/a.yaml" in t.said
    assert (tmp_path / "out" / "t2i.schema.json").exists()


def test_a_preset_and_a_folder_that_says_what_it_is(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    t = Terminal(tmp_path, "-o", "b.yaml")
    t.answer("sdxl-lora-8gb", "m", "", "")
    assert t.end() == 0, t.said
    preset = written(ROOT / "presets" / "sdxl-lora-8gb.yaml")
    assert written(tmp_path / "b.yaml") == preset | {
        "model": preset["model"] | {"path": "m"}, "data": {"path": "my_data", "resolution": 512}}
    t = Terminal(tmp_path, "-o", "c.yaml", "--data", "d")
    t.answer("", "m", "", "", "null", "", "")
    assert t.end() == 0, t.said
    assert "It is a StableDiffusionXLPipeline" in t.said
    assert written(tmp_path / "c.yaml") == {"model": {"path": "m"}, "data": {"path": "d"}, "lora": {"rank": None}, "output": "runs/first"}


@pytest.mark.parametrize("how", ["end of input", "interrupt"])
def test_who_leaves_early_leaves_nothing(tmp_path, how):
    t = Terminal(tmp_path)
    t.answer("none", "weights/x")
    assert t.read("]:")
    os.write(t.fd, b"\x04" if how == "end of input" else b"\x03")
    code = t.end()
    assert os.listdir(tmp_path) == []
    if how == "interrupt":
        assert code == -signal.SIGINT
    else:
        assert code == 64 and "the questions were not answered to the end. Nothing was written" in t.said and "[T2I-E8044]" in t.said


# ---- what other trainers' files say ----

SD3 = """
model:
  id: "stabilityai/stable-diffusion-3.5-medium"
  use_quantization: true
paths:
  output_dir: "/path/to/your/outputs"
  dataset_path: "/path/to/your/dataset"
training:
  num_epochs: 20
  batch_size: 1
  gradient_accumulation_steps: 8
  mixed_precision: "bf16"
lora:
  rank: 32
  alpha: 64
optimizer:
  transformer_lr: 1.0e-6
"""
IP2P = """
export MODEL_ID="runwayml/stable-diffusion-v1-5"
export DATASET_ID="instruction-tuning-sd/low-level-image-proc"
export OUTPUT_DIR="low-level-img-proc-scratch"

accelerate launch --mixed_precision="fp16" train_instruct_pix2pix.py \\
  --pretrained_model_name_or_path=$MODEL_ID \\
  --dataset_name=${DATASET_ID} \\
  --original_image_column="input_image" \\
  --edited_image_column="ground_truth_image" \\
  --use_ema --enable_xformers_memory_efficient_attention \\
  --resolution=256 --random_flip \\
  --train_batch_size=2 --gradient_accumulation_steps=4 --gradient_checkpointing \\
  --max_train_steps=15000 \\
  --checkpointing_steps=5000 --checkpoints_total_limit=1 \\
  --learning_rate=5e-05 --lr_warmup_steps=0 \\
  --val_image_url="https://example.org/derain.png" \\
  --validation_prompt="Derain: the image" \\
  --seed=42 \\
  --output_dir=$OUTPUT_DIR \\
  --push_to_hub
"""
SDXL = """
uv run python train_sdxl.py \\
  --data_dir my_dataset --use_lora --lora_rank 4 --lora_alpha 16 --batch_size 1 --gradient_accumulation_steps 4 \\
  --num_epochs 10 --learning_rate 1e-4 --output_dir ./outputs --pretrained_model ./weights/sdxl-base-1.0 --image_size 512 \\
  --lora_target_mode attention_out --precision bf16 --save_interval 2 --snr_gamma 5
"""


def taken_over(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    done = init("--from", tmp_path / name, "-o", tmp_path / "ours.yaml", "--no-schema")
    return written(tmp_path / "ours.yaml"), done.stderr.replace(f"{tmp_path}/", "").splitlines()


def test_a_yaml_of_another_trainer(tmp_path):
    ours, notices = taken_over(tmp_path, "training_config.yaml", SD3)
    assert ours == {
        "model": {"path": "stabilityai/stable-diffusion-3.5-medium", "quantization": "nf4", "text_encoder_quantization": "nf4"},
        "data": {"path": "/path/to/your/dataset"}, "output": "/path/to/your/outputs",
        "train": {"num_train_epochs": 20, "train_batch_size": 1, "gradient_accumulation_steps": 8, "mixed_precision": "bf16"},
        "lora": {"rank": 32, "alpha": 64}, "optimizer": {"transformer_lr": 1e-6}}
    assert notices == []


def test_a_command_line_of_another_trainer(tmp_path):
    ours, notices = taken_over(tmp_path, "train.sh", IP2P)
    assert ours == {
        "task": "ip2p", "model": {"path": "runwayml/stable-diffusion-v1-5"}, "output": "low-level-img-proc-scratch",
        "data": {"path": "instruction-tuning-sd/low-level-image-proc", "resolution": 256, "random_flip": True,
                 "columns": {"input_image": "input_image", "output_image": "ground_truth_image"}},
        "train": {"max_train_steps": 15000, "train_batch_size": 2, "gradient_accumulation_steps": 4, "mixed_precision": "fp16",
                  "gradient_checkpointing": True, "seed": 42, "use_ema": True},
        "optimizer": {"learning_rate": 5e-5, "lr_warmup_steps": 0}, "checkpoint": {"every_steps": 5000, "keep": 1},
        "validation": {"prompts": ["Derain: the image"]}}
    assert notices == ["notice: train.sh:17: val_image_url is left out: nothing is fetched: download it and name it in validation.images",
                       "notice: train.sh:22: push_to_hub is left out: a run sends nothing; see report_to"]


def test_flags_with_spaces_and_what_is_left_out(tmp_path):
    ours, notices = taken_over(tmp_path, "train.txt", SDXL + " --noise_offset 0.1 --gradient_checkpointing maybe")
    assert ours == {
        "task": "text", "loss": {"name": "min_snr", "gamma": 5}, "model": {"path": "./weights/sdxl-base-1.0"},
        "data": {"path": "my_dataset", "resolution": 512}, "output": "./outputs",
        "train": {"num_train_epochs": 10, "train_batch_size": 1, "gradient_accumulation_steps": 4, "mixed_precision": "bf16"},
        "lora": {"rank": 4, "alpha": 16, "targets": ["attention_out"]}, "optimizer": {"learning_rate": 1e-4}}
    assert [n.split(": ")[2].split(" is")[0] for n in notices] == ["save_interval", "noise_offset", "gradient_checkpointing"]
    assert "t2i has nothing of that name" in notices[1] and "is neither true nor false" in notices[2]


def test_a_file_with_nothing_to_take(tmp_path):
    (tmp_path / "a.yaml").write_text("nothing: {of: ours}\n")
    assert "[T2I-E8043]" in init("--from", tmp_path / "a.yaml", "-o", "-", code=65).stderr
    assert "[T2I-E4103]" in init("--from", tmp_path / "b.yaml", "-o", "-", code=66).stderr


def test_every_row_of_the_table_is_a_key_of_ours():
    import json
    table = json.loads((ROOT / "presets" / "other-names.json").read_text())
    schema = json.loads(t2i("schema").stdout)["properties"]

    def known(key):
        section, _, leaf = key.partition(".")
        return section in schema and (not leaf or schema[section].get("additionalProperties") is not False or leaf.split(".")[0] in schema[section]["properties"])

    ours = [row for row in table["keys"].values() if isinstance(row, str)]
    ours += [key for row in table["keys"].values() if isinstance(row, dict) for change in row.get("values", {}).values() for key in change]
    ours += [key for change in table["programs"].values() for key in change]
    assert len(ours) > 50 and not [key for key in ours if not known(key)]
