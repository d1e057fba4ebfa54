"""The built-in plugins as files: what nm and readelf see, and what the registry refuses before it loads anything."""

import os
import shutil
import subprocess

import pytest

from tiny import AS_CAPTIONS, sd_folder, settings, triplet_data

BUILD = os.environ.get("T2I_BUILD", os.path.join(os.path.dirname(__file__), "..", "build"))
T2I = os.path.join(BUILD, "bin", "t2i")
PLUGINS = os.path.join(BUILD, "lib", "t2i")
BAD = os.path.join(BUILD, "bad_plugins")
BUILT_IN = ["epsilon", "v_prediction", "min_snr", "rectified_flow", "text", "ip2p", "sd15"]


def lines(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize("name", BUILT_IN)
def test_one_symbol_out_and_no_torch_in(name):
    path = os.path.join(PLUGINS, f"t2i-{name}.so")
    exported = [line.split()[-1] for line in lines("nm", "-D", "--defined-only", path)]
    assert exported == ["t2i_plugin_v1"]
    wanted = [line.split()[-1] for line in lines("nm", "-D", "--undefined-only", path)]
    assert wanted, "nm lists nothing, so this test would prove nothing"
    torch = ("_ZN2at", "_ZNK2at", "_ZN3c10", "_ZNK3c10", "_ZN5torch", "_ZNK5torch", "aoti_torch", "torch_")
    assert [s for s in wanted if s.startswith(torch)] == []
    needed = [line.split("[")[1].rstrip("]") for line in lines("readelf", "-d", path) if "(NEEDED)" in line]
    assert needed and not [n for n in needed if n.startswith(("libtorch", "libc10", "libt2i"))]
    tag = subprocess.run(["readelf", "-p", ".t2i_tag", path], check=True, capture_output=True, text=True).stdout
    assert "T2I-PLUGIN abi=0.2 torch=any id=" in tag


def t2i(*arguments, **environment):
    run = subprocess.run([T2I, *arguments], capture_output=True, text=True, env={**os.environ, **environment})
    return run.returncode, run.stdout, run.stderr


def test_list_and_info():
    code, out, err = t2i("plugins", "list")
    assert code == 0 and err == ""
    listed = {tuple(line.split()[:2]) for line in out.splitlines()}
    assert {("loss", "epsilon"), ("loss", "v_prediction"), ("loss", "min_snr"), ("loss", "rectified_flow"), ("task", "text"),
            ("task", "ip2p"), ("model", "sd15")} <= listed
    code, out, _ = t2i("plugins", "info", "min_snr")
    assert code == 0 and "gamma (number, default 5): " in out and "epsilon|v_prediction" in out
    code, _, err = t2i("plugins", "info", "min_snt")
    assert code == 78 and "Did you mean 'min_snr'?" in err and "[T2I-E2051]" in err


def copy(name, folder, source=PLUGINS):
    folder.mkdir(exist_ok=True, mode=0o755)
    folder.chmod(0o755)
    path = folder / f"t2i-{name}.so"
    shutil.copyfile(os.path.join(source, f"t2i-{name}.so"), path)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("name, id_, said", [
    ("wrong_major", "E2055", "was built for plugin interface 9.0; this core has 0.2"),
    ("wrong_torch", "E2056", "was built for torch 1.0.0+cpu; this core has 2.11.0"),
    ("missing_tag", "E2054", "no section .t2i_tag"),
    ("missing_symbol", "E2058", "t2i_bad_function_of_tomorrow"),
    ("tag_differs", "E2059", "its tag 'bad.somebody_else'"),
    ("missing_function", "E2060", "lacks the function compute()"),
    ("op_of_tomorrow", "E2062", "no op aten::sqrt_of_tomorrow"),
])
def test_refusals_are_one_sentence(tmp_path, name, id_, said):
    path = copy(name, tmp_path / "mine", BAD)
    code, out, err = t2i("plugins", "list", "--plugin-path", str(path))
    assert code == 0 and "epsilon" in out  # the others are there all the same
    (line,) = err.splitlines()
    assert line.startswith(str(path)) and said in line and line.endswith(f"[T2I-{id_}]")


def test_not_a_library(tmp_path):
    text = tmp_path / "t2i-words.so"
    text.write_text("T2I-PLUGIN abi=0.2 torch=any id=words")
    code, _, err = t2i("plugins", "list", "--plugin-path", str(tmp_path))
    assert code == 0 and f"{text}: this is not a shared library" in err and "E2053" in err
    code, _, err = t2i("plugins", "list", "--plugin-path", str(tmp_path / "nowhere"))
    assert code == 66 and "E2050" in err


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_others_may_write_is_not_loaded(tmp_path, what):
    path = copy("epsilon", tmp_path / "mine")
    open_to_all = path if what == "file" else path.parent
    open_to_all.chmod(0o777)
    code, _, err = t2i("plugins", "info", "no-such-thing", "--plugin-path", str(path))
    assert code == 78 and f"chmod go-w '{open_to_all}'" in err and "E2057" in err
    open_to_all.chmod(0o755)
    # Now it is merely the second file of a plugin that was found before.
    code, _, err = t2i("plugins", "list", "--plugin-path", str(path))
    assert code == 0 and "E2061" in err and os.path.join(PLUGINS, "t2i-epsilon.so") in err


def test_places_in_order(tmp_path):
    path = copy("epsilon", tmp_path / "env")
    _, out, _ = t2i("plugins", "info", "epsilon", T2I_PLUGIN_PATH=f"/nowhere:{path.parent}")
    assert str(path) in out  # before the built-in one
    home = tmp_path / "home" / ".t2i"
    home.parent.mkdir()
    home.mkdir()
    third = copy("reads_values", home / "plugins", BAD)
    _, out, _ = t2i("plugins", "info", "reads_values", HOME=str(home.parent))
    assert str(third) in out


# ---- a stranger's library that crashes as soon as it is loaded ----
@pytest.fixture(scope="module")
def crashing(tmp_path_factory):
    """A folder of plugins where such a library lies beside a sound one."""
    folder = tmp_path_factory.mktemp("strangers") / "plugins"
    copy("reads_values", folder, BAD)
    return copy("crashes_at_load", folder, BAD)


def test_a_crash_at_load_is_one_refusal(crashing):
    code, out, err = t2i("plugins", "list", T2I_PLUGIN_PATH=str(crashing.parent))
    assert code == 0 and "epsilon" in out and "reads_values" in out  # the others are there all the same
    (line,) = err.splitlines()
    assert line.startswith(f"{crashing}: ") and "crashed: Segmentation fault" in line and line.endswith("[T2I-E2065]")
    code, _, err = t2i("plugins", "info", "no-such-thing", T2I_PLUGIN_PATH=str(crashing.parent))
    assert code == 78 and "[T2I-E2051]" in err and "[T2I-E2065]" in err


def test_a_run_of_a_built_in_family_loads_no_stranger(crashing, tmp_path):
    """The loader itself says what was opened."""
    model, data = sd_folder(tmp_path / "model"), triplet_data(tmp_path / "data", count=4)
    small = settings(data__resolution=16, train__max_train_steps=1, train__train_batch_size=2, train__device="cpu",
                     train__mixed_precision="no", validation__every_steps=0)
    log = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "loaded")}
    code, out, err = t2i("run", "--model", model, "--data", data, "--output", str(tmp_path / "out"), "--task", "text", *small,
                         *AS_CAPTIONS, T2I_PLUGIN_PATH=str(crashing.parent), **log)
    assert code == 0 and (tmp_path / "out" / "final" / "unet").is_dir(), out + err
    loaded = "".join(path.read_text(errors="replace") for path in tmp_path.glob("loaded.*"))
    assert "t2i-sd15.so" in loaded and "t2i-crashes_at_load.so" not in loaded and "t2i-reads_values.so" not in loaded


def test_a_folder_that_nobody_opens_names_the_library_that_crashed(crashing, tmp_path):
    """It may be the one for this family; and a loss by its path is a sentence, too."""
    model = sd_folder(tmp_path / "model")
    index = tmp_path / "model" / "model_index.json"
    index.write_text(index.read_text().replace('"StableDiffusionPipeline"', '"PipelineOfTomorrow"'))
    probe = ("probe", "tokens", "--prompt", "x", "--outputs", str(tmp_path / "out"))
    code, _, err = t2i(*probe, "--model", model, T2I_PLUGIN_PATH=str(crashing.parent))
    assert code == 65 and "[T2I-E2110]" in err and f"{crashing}: " in err and "[T2I-E2065]" in err
    code, _, err = t2i("run", "--model", sd_folder(tmp_path / "sound"), "--data", triplet_data(tmp_path / "data", count=2), "--output",
                       str(tmp_path / "run"), "--task", "text", "--loss", str(crashing), *AS_CAPTIONS)
    assert code == 70 and "[T2I-E2065]" in err, err
