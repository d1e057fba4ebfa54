"""The built-in plugins as files: what nm and readelf see, and what the registry refuses before it loads anything."""

import os
import shutil
import subprocess

import pytest

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
    assert "T2I-PLUGIN abi=0.1 torch=any id=" in tag


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
    ("wrong_major", "E2055", "was built for plugin interface 9.0; this core has 0.1"),
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
    text.write_text("T2I-PLUGIN abi=0.1 torch=any id=words")
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
