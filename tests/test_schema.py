"""`t2i schema` held to the JSON Schema that everybody else knows: jsonschema accepts it as a schema of draft 2020-12, accepts with it
every configuration that t2i accepts, and refuses what t2i refuses.

Broken by: a key, range or choice that the schema has another way than the loader, a plugin's options that are not in it.
"""

import json
import os
import pathlib
import shutil
import subprocess

import jsonschema
import pytest
import yaml
from tiny import BUILD, T2I, t2i

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema():
    return json.loads(t2i("schema").stdout)


def judged(schema, text):
    return list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(text) or {}))


def loaded(tmp_path, text):
    """What t2i says of it; a model that is not there is not the configuration's fault."""
    (tmp_path / "a.yaml").write_text(text)
    done = subprocess.run([T2I, "run", "a.yaml", "--model", "/nowhere/at/all", "--data", "d", "--output", "o"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode in (66, 78), done.stderr
    return done.returncode == 66 and "[T2I-E2011]" in done.stderr


def test_it_is_a_schema(schema):
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft7Validator.check_schema({**schema, "$schema": "http://json-schema.org/draft-07/schema#"})  # editors know that one best

    def walk(node):
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else []:
                assert value is False or "const" in value or "description" in value or key == "name", key
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
    walk({k: v for k, v in schema["properties"].items() if k != "optimizer"})


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_accepted(schema, path, tmp_path):
    assert judged(schema, path.read_text()) == []
    t2i("init", "--preset", path.stem, "-o", tmp_path / "run.yaml", "--every-key")
    assert judged(schema, (tmp_path / "run.yaml").read_text()) == []
    assert json.loads((tmp_path / "t2i.schema.json").read_text()) == schema


RIGHT = ["", "train: null", "optimizer: lion", "optimizer: {name: lion, lion_beta1: 0.8}", "lora: {rank: 4, targets: attention}",
         "lora: {rank: 4, targets: [attention, \"*.ff.*\"]}", "task: text", "task: {name: ip2p, conditioning_dropout_prob: 0.1}", "plugin: {clip_skip: 2}",
         "plugin: {name: sd15, clip_skip: null}", "loss: ./mine.so", "loss: {name: min_snr, gamma: 3}", "data: {columns: {image: before}}",
         "train: {max_train_steps: null, max_grad_norm: 0}", "validation: {sampler: null}", "report_to: tensorboard"]
WRONG = ["trian: {}", "train: {seeds: 1}", "train: {seed: -1}", "train: {seed: 1.5}", "train: {seed: ten}", "train: 5", "optimizer: adam",
         "optimizer: {name: lion, adam_beta1: 0.5}", "optimizer: {lion_beta1: 0.5}", "optimizer: {adam_beta1: 1}", "lora: {rank: 0}", "lora: {rank: 4, alpha: 0}",
         "task: ipp2p", "task: {name: text, conditioning_dropout_prob: 2}", "task: {name: text, guidance: 1}", "loss: {name: min_snr, gamma: 0}",
         "plugin: {name: sd15, clip_skip: -1}", "data: {resolution: 7}", "data: {random_flip: 3}", "data: {columns: [a]}", "validation: {sampler: eulr}",
         "report_to: [tensorbord]", "model: {quantization: nf8}", "checkpoint: {keep: 0}"]


@pytest.mark.parametrize("text", RIGHT)
def test_what_t2i_accepts(schema, text, tmp_path):
    assert judged(schema, text) == []
    assert loaded(tmp_path, text)


@pytest.mark.parametrize("text", WRONG)
def test_what_t2i_refuses(schema, text, tmp_path):
    assert judged(schema, text), "the schema lets it pass"
    if not text.startswith(("task", "loss", "plugin")):
        assert not loaded(tmp_path, text)
    else:
        sets = [f"--set={key}" for key in flat(yaml.safe_load(text))]
        done = subprocess.run([T2I, "init", *sets, "--preset", PRESETS[0].stem, "-o", "-"], capture_output=True, text=True)
        assert done.returncode == 78, done.stdout + done.stderr


def flat(tree):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from (f"{key}={v}" if k == "name" else f"{key}.{k}={v}" for k, v in value.items())
        else:
            yield f"{key}={value}"


def test_a_runs_own_configuration_is_accepted(schema, tmp_path):
    """config.yaml has every key with its default, those of optimizers that were not chosen too."""
    done = subprocess.run([T2I, "run", "--help"], capture_output=True, text=True)
    keys = {}
    for line in done.stdout.splitlines():
        if line.startswith("  ") and line.endswith("]") and " [" in line and not line.startswith("   "):
            key, value = line.strip()[:-1].split(" [", 1)
            section, _, leaf = key.rpartition(".")
            (keys.setdefault(section, {}) if section else keys)[leaf] = yaml.safe_load(value)
    assert len(keys) >= 10 and judged(schema, yaml.safe_dump(keys)) == []


def test_a_strangers_plugin_is_in_it(tmp_path):
    for name in ("reads_values", "crashes_at_load", "wrong_major", "unsound_schema", "missing_tag"):
        shutil.copy(BUILD / "bad_plugins" / f"t2i-{name}.so", tmp_path)
    done = t2i("schema", env={"T2I_PLUGIN_PATH": str(tmp_path)})
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert judged(schema, "loss: reads_values") == [] and judged(schema, "loss: unsound_schema") and judged(json.loads(t2i("schema").stdout), "loss: reads_values")


def test_without_the_engine_and_plugins(tmp_path):
    """A name alone then goes, because nothing is known of it."""
    (tmp_path / "bin").mkdir()
    copy = tmp_path / "bin" / "t2i"
    copy.write_bytes(T2I.read_bytes())
    copy.chmod(0o755)
    done = subprocess.run([copy, "schema"], capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    bare = json.loads(done.stdout)
    assert judged(bare, "task: anything") == [] and judged(bare, "train: {seed: -1}")
