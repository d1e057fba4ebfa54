"""The rooms of the source tree: who may include whom, that core and apps know no family, task or loss, and file sizes."""

import os
import re

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))
SOURCE = (".h", ".hpp", ".cpp", ".cu", ".cuh")

# Room -> rooms it may include besides itself. Tests (_test.cpp) may include one more: what they compare with.
BASE = {"core/base"}
MAY = {
    "sdk": {"t2i", "nn"},
    "plugins": {"t2i", "nn"},
    "core/base": set(),
    "core/config": BASE,
    "core/data": BASE,
    "core/cache": BASE | {"core/checkpoint"},
    "core/checkpoint": BASE,
    "core/metric": BASE,
    "core/precision": BASE,
    "core/kernel": BASE,
    "core/memory": BASE,
    "core/cuda": BASE | {"core/kernel", "core/dist"},
    "core/dist": BASE,
    "core/model": BASE | {"core/precision", "core/dist", "core/checkpoint", "core/kernel"},
    "core/plug": BASE | {"core/model", "core/kernel", "core/checkpoint", "core/config", "t2i", "core/plug/meter.h",
                          "core/commands.h"},
    "core/generate": BASE | {"core/model", "core/plug", "core/precision", "core/kernel", "core/config", "core/checkpoint", "core/data"},
    "core/train": BASE | {"core/config", "core/data", "core/cache", "core/checkpoint", "core/metric", "core/precision", "core/kernel", "core/dist",
                          "core/model", "core/plug", "core/session.h", "core/single_files.h", "core/adapters.h", "core/quantization.h",
                          "core/data_options.h", "core/commands.h"},
    "core/plan": BASE | {"core/config", "core/data", "core/memory", "core/metric", "core/model", "core/plug", "core/precision", "core/train", "core/session.h",
                         "core/validation.h", "core/commands.h"},
    "core/report": BASE | {"core/config", "core/data", "core/metric"},
    "core/publish": BASE | {"core/config", "core/metric"},
    "core/curate": BASE | {"core/config", "core/data", "core/metric", "core/plug", "core/session.h", "core/data_options.h", "core/commands.h"},
    "core/doctor": BASE | {"core/plug/catalog.h", "core/dist/launch.h", "core/checkpoint/hub_cache.h"},
    "apps": BASE | {"core/config", "core/commands.h", "core/doctor", "core/plug/catalog.h", "core/report/report.h", "core/report/compare.h"},
    "tests/bad_plugins": {"t2i"},
    "examples": {"t2i", "nn"},
}
# The top of core ties its rooms together; it knows no plugin, and no program knows more of it than one header.
MAY["core"] = {room for room in MAY if room.startswith("core/")}
PLUG_ALONE = ("t2i/plugin.h", "boost/dll", "dlfcn.h")  # the C interface and loading belong to core/plug
LOADS_TOO = {"core/precision/device.cpp": "LibTorch's CUDA half, which only machines with a GPU load",
             "core/doctor/nvml.cpp": "NVIDIA's management library, which the driver brings",
             "core/doctor_probe.cpp": "looks up NCCL's version in what is loaded"}
TORCH = re.compile(r"^(ATen|c10|torch|caffe2)/")
TORCH_FREE = ("sdk", "plugins", "apps", "examples", "tests/bad_plugins", "core/base", "core/doctor", "core/config", "core/data", "core/cache", "core/checkpoint",
              "core/metric", "core/report", "core/publish")
LONG = {}  # file -> why it may have more than 500 lines


# core/base is the standard library and the system's; what else it is made of is said here, file by file.
STANDARD = re.compile(r"[a-z_]+|(sys/)?(errno|fcntl|mman|random|resource|signal|stat|statvfs|string|types|unistd|wait)\.h")
LIBRARIES_OF_BASE = {"core/base/json.h": {"nlohmann/json.hpp"}, "core/base/hash.cpp": {"xxhash.h", "openssl/evp.h"}}


def files(*tops, ends=SOURCE):
    for top in tops:
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith(ends):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def room_of(path):
    parts = path.split("/")
    if parts[0] == "core":
        return "core" if len(parts) == 2 else "/".join(parts[:2])
    return "tests/bad_plugins" if path.startswith("tests/bad_plugins/") else parts[0]


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', read(path), re.M)


def test_who_includes_whom():
    breaches = []
    for path in files("core", "sdk", "plugins", "apps", "tests/bad_plugins", "examples"):
        room = room_of(path)
        assert room in MAY, f"{path}: room {room} is not in the table of this test"
        for include in includes(path):
            target = room_of(include)
            if not include.startswith(("core/", "apps/", "plugins/", "sdk/", "t2i/", "nn/", "bench/", "tests/")) or target == room:
                continue
            test_of_config = path.endswith("_test.cpp") and target == "core/config"
            if target not in MAY[room] and include not in MAY[room] and not test_of_config:
                breaches.append(f"{path} includes {include}")
    assert not breaches, "\n".join(breaches)


def test_plugins_do_not_include_each_other():
    for path in files("plugins"):
        own = os.path.dirname(path)
        for include in includes(path):
            if own == "plugins/arrow" and include.startswith(("arrow/", "parquet/")):
                continue  # the libraries that it brings in
            local = os.path.join(ROOT, own, include)
            assert include.startswith(("t2i/", "nn/")) or "/" not in include, f"{path} includes {include}"
            assert include.startswith(("t2i/", "nn/")) or "." not in include or os.path.exists(local) or include.endswith(".h"), path


def test_base_is_the_standard_library():
    breaches = []
    for path in files("core/base"):
        allowed = LIBRARIES_OF_BASE.get(path, {"gtest/gtest.h"} if path.endswith("_test.cpp") else set())
        for include in includes(path):
            if not include.startswith("core/base/") and include not in allowed and not STANDARD.fullmatch(include):
                breaches.append(f"{path} includes {include}")
    assert not breaches, "\n".join(breaches)


def test_a_name_means_one_type():
    """Two types of one name in one namespace are undefined behaviour as soon as both are linked, and no compiler says so."""
    where = {}
    for path in files("core", "apps", ends=(".h",)):
        text = read(path)
        namespace = re.search(r"^namespace ([\w:]+) \{", text, re.M)
        for name in re.findall(r"^(?:struct|class|enum class) (\w+)(?: final)?(?: *:[^;{]*)? *\{", text, re.M):
            where.setdefault((namespace.group(1) if namespace else "", name), set()).add(path)
    assert len(where) > 100
    assert not {name: paths for name, paths in where.items() if len(paths) > 1}


def everything_included(path, seen):
    """The files of ours that a file includes, and they, and so on; and all that these include beside."""
    found = set()
    for include in includes(path):
        found.add(include)
        if os.path.exists(os.path.join(ROOT, include)) and include not in seen:
            seen.add(include)
            found |= everything_included(include, seen)
    return found


def test_no_torch_reaches_the_cuda_compiler():
    """nvcc sees what a .cu includes, through our headers too; torch's it cannot compile in a minute, or at all."""
    sources = list(files("core", ends=(".cu",)))
    assert sources
    for path in sources:
        assert not [i for i in everything_included(path, {path}) if TORCH.match(i)], path


def test_torch_stays_out_of_the_torch_free_rooms():
    for path in files("core", "sdk", "plugins", "apps", "tests/bad_plugins", "examples"):
        if room_of(path) in TORCH_FREE:
            assert not [i for i in includes(path) if TORCH.match(i)], path


def test_only_plug_knows_the_interface_and_loads_libraries():
    for path in files("core"):
        if room_of(path) != "core/plug" and path not in LOADS_TOO:
            assert not [i for i in includes(path) if i.startswith(PLUG_ALONE)], path


def test_the_contract_includes_nothing_of_ours():
    assert includes("sdk/include/t2i/plugin.h") == ["stddef.h", "stdint.h"]


# What core and apps must not know, not even in a comment. Two words are other things too: adam_epsilon is the
# optimizer's, and "epsilon" and "v_prediction" are values of a scheduler's file, which samplers read.
NAMES = re.compile(r"sd15|sdxl|sd3|flux|ip2p|pix2pix|min_snr|rectified_flow|epsilon|v_prediction", re.I)
OTHER = re.compile(r"adam_epsilon")
SAMPLERS = re.compile(r'"(epsilon|v_prediction|sample|flow_prediction)"')


def test_core_and_apps_name_no_family_task_or_loss():
    found = []
    for path in files("core", "apps"):
        for number, line in enumerate(read(path).splitlines(), 1):
            rest = OTHER.sub("", line)
            if room_of(path) == "core/generate":
                rest = SAMPLERS.sub("", rest)
            if NAMES.search(rest):
                found.append(f"{path}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_files_stay_readable():
    tops = ("core", "sdk", "plugins", "apps", "tests", "bench", "tools", "examples", "deploy", "cmake")
    lengths = {p: read(p).count("\n") for p in files(*tops, ends=(*SOURCE, ".py", ".sh", ".cmake"))}
    assert {"tests/tiny.py", "tools/setup.sh", "bench/step/run.py", "examples/third_party/tiny.cpp"} <= set(lengths)
    long = {p: n for p, n in lengths.items() if n > 500}
    assert set(long) <= set(LONG), {p: n for p, n in long.items() if p not in LONG}


def test_every_error_id_is_documented_once():
    documented = {}
    for name in sorted(os.listdir(os.path.join(ROOT, "docs", "ERRORS.d"))):
        for id_ in re.findall(r"^\| T2I-(E\d{4}) \|", read(f"docs/ERRORS.d/{name}"), re.M):
            documented.setdefault(id_, []).append(name)
    used = set()
    for path in files("core", "apps"):
        if not path.endswith("_test.cpp"):
            used |= set(re.findall(r'"(E\d{4})"', read(path)))
    assert not used - set(documented), f"no line in docs/ERRORS.d: {sorted(used - set(documented))}"
    assert not {i: d for i, d in documented.items() if len(d) > 1}
