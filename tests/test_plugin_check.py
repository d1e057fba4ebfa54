"""`t2i plugins check` bites: each plugin of bad_plugins/ breaks one rule and is caught by it; the built-in ones pass."""

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from make_folders import make_flux, make_sd15, make_sd3, make_sdxl
from tiny import sd_folder

BUILD = os.environ.get("T2I_BUILD", os.path.join(os.path.dirname(__file__), "..", "build"))
T2I = os.path.join(BUILD, "bin", "t2i")
HERE = os.path.dirname(os.path.abspath(__file__))

RULES = {f"{group}{i + 1}" for group, count in zip("FDEMRG", (8, 7, 5, 3, 3, 4)) for i in range(count)}

# What must fail: the rule that a plugin breaks with those that cannot hold then (a loss that throws gives no gradient
# either), and a part of the sentence.
BAD = {
    "throws": ({"D6", "D7", "E1", "E2", "E3", "E5", "M1", "M3", "R1", "R2", "R3", "G1", "G2"}, "over the fence"),
    "leaks_a_handle": ({"M1", "M3"}, "leaves 100 tensor handles behind in 100 calls"),
    "leaks_an_object": ({"M2"}, "keeps 100 tensor handles after 100 times create and destroy"),
    "leaks_memory": ({"M2"}, "bytes of memory each time it is created and destroyed"),
    "keeps_a_graph": ({"M3"}, "drop() never came for 1 of 20 autograd nodes"),
    "takes_any_ending": ({"D7"}, "takes a tensor 'prediction~' for 'prediction'"),
    "wrong_major": ({"F1"}, "built for plugin interface 9.0; this core has 0.2"),
    "wrong_torch": ({"F1"}, "built for torch 1.0.0+cpu; this core has 2.11.0"),
    "missing_tag": ({"F1"}, "no section .t2i_tag"),
    "tag_differs": ({"D1"}, "its descriptor says id 'bad.tag_differs', its tag 'bad.somebody_else'"),
    "drops_twice": ({"M3"}, "it crashed"),
    "wrong_gradient": ({"G1"}, "gives a gradient that is off by"),
    "nan_gradient": ({"G1"}, "gives a gradient that is not finite"),
    "no_gradient": ({"G1"}, "without a gradient towards the prediction"),
    "missing_function": ({"D1"}, "loss 'missing_function' lacks the function compute()"),
    "short_table": ({"D1"}, "loss 'short_table' lacks the function compute()"),
    "duplicate_id": ({"D1"}, "loss 'twin' is offered twice"),
    "extra_symbol": ({"F3"}, "bad_helper"),
    "unique_symbol": ({"F5", "F3"}, "process-wide symbols"),
    "executable_stack": ({"F6"}, "executable stack"),
    "imports_torch": ({"F4"}, "_ZN2at15get_num_threadsEv"),
    "missing_symbol": ({"F7"}, "t2i_bad_function_of_tomorrow"),
    "op_of_tomorrow": ({"D2"}, "no op aten::sqrt_of_tomorrow"),
    "loses_the_text": ({"E1"}, "without a text"),
    "changes_the_text": ({"E5"}, "loses the text of host call"),
    "hides_failures": ({"E5"}, "returns 0 although host call"),
    "reads_values": ({"R3"}, "waits for the device inside a step"),
    "own_randomness": ({"R1", "R2", "G2"}, "draws from torch's global generator"),
    "crashes": ({"E1"}, "it crashed: Segmentation fault"),
    "crashes_at_load": (RULES - {"F1", "F2", "F3", "F4", "F5", "F6"}, "it crashed: Segmentation fault"),
    "exits": ({"E2"}, "it ended the process with code 3"),
    "mixes_samples": ({"G2"}, "for a sample alone than within a batch"),
    "wrong_shape": ({"D6"}, "puts 'loss_per_sample' of shape [], [3] is wanted"),
    "refuses_its_defaults": ({"D4"}, "c must be above 0"),
    "unsound_schema": ({"D3"}, "needs a type out of"),
    "slow_entry": ({"F8"}, "ms of processor time"),
    "two_descriptors": ({"F8"}, "two calls gave two descriptors"),
    "describes_no_object": ({"D5"}, "gives something that is no JSON object"),
    "silent_about_its_config": ({"E4", "E5"}, "without a text"),
    "model_wrong_gradient": ({"G3"}, "by its gradients and"),
    "model_unused_weight": ({"G3"}, "declares 'spare.weight' but gives it no gradient"),
    "model_other_recompute": ({"G4"}, "has other gradients when its blocks are recomputed"),
    "model_leaks_a_handle": ({"M1", "M3"}, "leaves 100 tensor handles behind in 100 calls"),
    "model_leaks_memory": ({"M2"}, "bytes of memory each time it is created and destroyed"),
    "model_forgets_a_name": ({"D5"}, "file_names() leaves out the parameter 'middle.weight'"),
    "model_builds_anything": ({"D7"}, "builds a part 'unet~', which it does not have"),
}

# After memory is freed twice, anything may happen; whether these crash too is up to the allocator.
MAY_FAIL_TOO = {"drops_twice": {"G1", "G2", "R1", "R2", "E5"}}


def check(path, *options):
    """The lines of one check by rule, its exit code, and all it said."""
    run = subprocess.run([T2I, "plugins", "check", path, *options], capture_output=True, text=True)
    lines = re.findall(r"^(pass|fail|skip)  (\w\d+) +(\S+) +(.*)$", run.stdout, re.M)
    return {rule: (status, text) for status, rule, _, text in lines}, run.returncode, run.stdout + run.stderr


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return sd_folder(tmp_path_factory.mktemp("sd") / "model")


@pytest.fixture(scope="module")
def bad(sd):
    def check_bad(name):
        model = ["--model", sd] if name.startswith("model_") else []
        return check(os.path.join(BUILD, "bad_plugins", f"t2i-{name}.so"), *model)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(BAD, pool.map(check_bad, BAD)))


def test_every_broken_plugin_is_built_and_expected():
    sources = {f[:-4] for f in os.listdir(os.path.join(HERE, "bad_plugins")) if f.endswith(".cpp")}
    assert sources == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_the_broken_rule_is_named(bad, name):
    rules, code, said = bad[name]
    failing = {rule for rule, (status, _) in rules.items() if status == "fail"}
    expected, sentence = BAD[name]
    assert expected <= failing <= expected | MAY_FAIL_TOO.get(name, set()), said
    assert any(sentence in rules[rule][1] for rule in failing), said
    assert code == len(failing)


def test_a_model_that_keeps_every_rule_but_one_was_looked_at(bad):
    """What a broken model does not break, it keeps: nothing of it was skipped but what is for losses."""
    for name in (n for n in BAD if n.startswith("model_")):
        rules, _, said = bad[name]
        assert {r for r, (status, _) in rules.items() if status == "skip"} == {"G1"}, said


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_others_may_write_breaks_f2(tmp_path, what):
    folder = tmp_path / "mine"
    folder.mkdir()
    path = folder / "t2i-epsilon.so"
    shutil.copyfile(os.path.join(BUILD, "lib", "t2i", "t2i-epsilon.so"), path)
    folder.chmod(0o755), path.chmod(0o644)
    assert check(str(path), "--only", "F2")[1] == 0
    (path if what == "file" else folder).chmod(0o777)
    rules, code, said = check(str(path))
    assert {r for r, (status, _) in rules.items() if status == "fail"} == {"F2"} and code == 1, said
    assert "others than its owner may write to this" in rules["F2"][1] and rules["D2"][0] == "skip", said


MODELS = {"sd15": make_sd15, "sdxl": make_sdxl, "sd3": lambda folder: make_sd3(folder, t5={}), "flux": make_flux}


@pytest.mark.parametrize("family", MODELS)
def test_the_built_in_models_on_a_folder(tmp_path, family):
    """Everything but the rule for losses runs, on models of about a million parameters."""
    MODELS[family](str(tmp_path / "model"))
    rules, code, said = check(os.path.join(BUILD, "lib", "t2i", f"t2i-{family}.so"), "--model", tmp_path / "model")
    assert code == 0 and {r for r, (status, _) in rules.items() if status != "pass"} == {"G1"}, said
    assert re.search(r"(all|\d+ of) \d+ host calls failed in turn", rules["E5"][1]), said
    assert re.search(rf"(all|\d+ of) 100 steps of model '{family}'", rules["M1"][1]), said


def test_every_built_in_plugin_is_checked():
    built = {f[4:-3] for f in os.listdir(os.path.join(BUILD, "lib", "t2i")) if f.endswith(".so")}
    assert built == set(BUILT_IN)


NOT_MADE = {*MODELS, "arrow"}  # without a folder or a file
BUILT_IN = ["epsilon", "v_prediction", "min_snr", "rectified_flow", "text", "ip2p", *sorted(NOT_MADE)]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_plugins_pass(name):
    rules, code, said = check(os.path.join(BUILD, "lib", "t2i", f"t2i-{name}.so"))
    assert code == 0 and not [r for r, (status, _) in rules.items() if status == "fail"], said
    must_run = {"F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "D1", "D2", "D3"}
    if name not in NOT_MADE:
        must_run |= {"D4", "D5", "D6", "D7", "E1", "E2", "E3", "E4", "E5", "M1", "M2", "R1", "R2", "R3", "G2"}
    if name not in (*NOT_MADE, "text", "ip2p"):
        must_run |= {"M3", "G1"}
    assert must_run <= {r for r, (status, _) in rules.items() if status == "pass"}, said


def test_every_failing_call_is_counted():
    """E5 says how many host calls were made to fail, of how many; for a loss that is all of them."""
    rules, _, said = check(os.path.join(BUILD, "lib", "t2i", "t2i-min_snr.so"), "--only", "E5")
    counted = re.search(r"all (\d+) host calls failed in turn", rules["E5"][1])
    assert counted and int(counted[1]) > 30, said
    rules, _, said = check(os.path.join(BUILD, "bad_plugins", "t2i-keeps_a_graph.so"), "--only", "memory")
    assert rules["M1"][0] == rules["M2"][0] == "pass", said  # one handle and no growth: the count of drops alone tells


def test_json():
    def run(name, *options):
        path = os.path.join(BUILD, name)
        return path, subprocess.run([T2I, "plugins", "check", path, "--json", *options], capture_output=True, text=True)

    path, done = run("bad_plugins/t2i-leaks_memory.so", "--only", "memory", "--seed", "5")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["file"] == path and found["seed"] == 5
    assert (found["passed"], found["failed"], found["skipped"]) == (2, 1, 0)
    checks = {c["rule"]: c for c in found["checks"]}
    assert set(checks) == {"M1", "M2", "M3"} and checks["M2"]["group"] == "memory" and checks["M2"]["name"] == "objects"
    assert checks["M2"]["status"] == "fail" and "bytes of memory" in checks["M2"]["text"] and checks["M1"]["status"] == "pass"
    _, done = run("bad_plugins/t2i-missing_tag.so")
    found = json.loads(done.stdout)
    assert found["failed"] == done.returncode == 1 and {c["status"] for c in found["checks"]} == {"pass", "fail", "skip"}


def test_in_process():
    """For a debugger: what a library does wrong, it does to the program."""
    folder = os.path.join(BUILD, "bad_plugins")
    rules, code, said = check(os.path.join(folder, "t2i-wrong_gradient.so"), "--in-process")
    assert code == 1 and rules["G1"][0] == "fail", said
    assert check(os.path.join(folder, "t2i-exits.so"), "--only", "E2", "--in-process")[1] == 3
    # A second start, which D2 asks for, leaves the services in place that count and fail.
    rules, code, said = check(os.path.join(BUILD, "lib", "t2i", "t2i-min_snr.so"), "--in-process")
    counted = re.search(r"all (\d+) host calls failed in turn", rules["E5"][1])
    assert code == 0 and counted and int(counted[1]) > 30, said
    rules, code, said = check(os.path.join(folder, "t2i-keeps_a_graph.so"), "--in-process")
    assert code == 1 and rules["M3"][0] == "fail", said


def test_rules_are_documented():
    with open(os.path.join(HERE, "..", "docs", "plugin-rules.md")) as f:
        documented = set(re.findall(r"^\| (\w\d+) \|", f.read(), re.M))
    rules, _, _ = check(os.path.join(BUILD, "lib", "t2i", "t2i-text.so"))
    assert set(rules) == documented


def test_only_and_seed():
    path = os.path.join(BUILD, "lib", "t2i", "t2i-min_snr.so")
    for only, expected in (("gradients", {"G1", "G2", "G3", "G4"}), ("G1", {"G1"}), ("file/tag", {"F1"})):
        rules, code, said = check(path, "--only", only, "--seed", "7")
        assert set(rules) == expected and code == 0 and "(seed 7)" in said
    assert check(path, "--only", "nothing")[1] == 64
    assert check(path + ".not")[1] == 66
    code, said = check(path, "--model", path + ".not")[1:]
    assert code == 66 and "fail" not in said and said.count("T2I-E") == 1, said
