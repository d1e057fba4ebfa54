"""`t2i doctor` on this machine and on machines made up from the outside: variables, limits, folders, a driver's library that is ours.
Its checks one by one on machines that nobody has: core/doctor/doctor_test.cpp.

Broken by: a check that ends the program, a failure without a fix, an exit code that a script cannot go by, a library that hangs.
"""

import json
import os
import re
import shutil
import subprocess

import pytest
from tiny import BUILD, T2I, t2i

DRIVER = os.path.exists("/dev/nvidiactl")


def doctor(*arguments, **env):
    done = subprocess.run([T2I, "doctor", "--json", *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **env})
    assert done.returncode in (0, 78), done.stderr
    report = json.loads(done.stdout)
    assert (done.returncode == 78) == (report["worst"] == "fail") == ("[T2I-E8050]" in done.stderr)
    return report["checks"]


def found(checks, name):
    return [c for c in checks if c["check"] == name]


def test_this_machine():
    checks = doctor()
    names = [c["check"] for c in checks]
    assert {"processor", "memory", "driver", "LibTorch", "disk", "shared memory", "hub cache", "open files", "plugins", "interfaces", "locale"} <= set(names)
    for c in checks:
        assert set(c) == {"check", "state", "text", "fix"} and c["state"] in ("ok", "warn", "fail") and c["text"]
        assert c["fix"] or c["state"] == "ok" or "computes on the processor" in c["text"]
    assert [c["state"] for c in found(checks, "plugins") + found(checks, "LibTorch")] == ["ok", "ok"]
    import torch
    assert torch.__version__.split("+")[0] in found(checks, "LibTorch")[0]["text"]
    cores = len(os.sched_getaffinity(0))
    assert found(checks, "processor")[0]["text"].startswith(f"{cores} core")
    flags = re.search(r"^flags.*", open("/proc/cpuinfo").read(), re.M)
    if flags:
        assert ("AVX-512" in found(checks, "instructions")[0]["text"]) == (" avx512vl" in flags[0])


def test_lines_for_people():
    done = subprocess.run([T2I, "doctor"], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout and re.match(r"(ok|warn|fail)  +processor  +\d+ core", lines[0])
    checks = doctor()
    assert [line.split()[0] for line in lines if re.match(r"(ok|warn|fail) ", line)] == [c["state"] for c in checks]
    assert sum(line.lstrip().startswith("→ ") for line in lines) == sum(bool(c["fix"]) for c in checks)


def test_variables_that_name_what_is_not_there(tmp_path):
    (tmp_path / "file").write_text("")
    checks = doctor("--output", "/proc/nowhere", NCCL_SOCKET_IFNAME="nosuch0", HF_HUB_CACHE="/proc/nowhere", RANK="0")
    assert [c["state"] for c in found(checks, "network")] == ["fail"] and "nosuch0" in found(checks, "network")[0]["text"]
    assert found(checks, "disk")[0]["state"] in ("warn", "fail") and found(checks, "hub cache")[0]["state"] == "warn"  # root may write anywhere, but there is no room
    assert "WORLD_SIZE is not set" in found(checks, "launcher")[0]["text"] and found(checks, "launcher")[0]["state"] == "fail"
    checks = doctor("--output", tmp_path / "not" / "yet", HF_HUB_CACHE=str(tmp_path))
    assert found(checks, "disk")[0]["state"] != "fail" and not found(checks, "network") + found(checks, "launcher")
    assert str(tmp_path) in found(checks, "hub cache")[0]["text"]


def test_a_token_that_others_can_read_and_that_is_not_shown(tmp_path):
    (tmp_path / "token").write_text("hf_canary")
    for mode, warned in [(0o644, 1), (0o600, 0)]:
        (tmp_path / "token").chmod(mode)
        done = subprocess.run([T2I, "doctor"], capture_output=True, text=True, env={**os.environ, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_canary"})
        assert done.stdout.count("can be read by other users") == warned and "canary" not in done.stdout + done.stderr


def test_limits():
    def under(limit):
        done = subprocess.run(["bash", "-c", f'ulimit {limit} && exec "$0" doctor --json', str(T2I)], capture_output=True, text=True)
        return json.loads(done.stdout)["checks"]
    assert found(under("-n 200"), "open files")[0] == {"check": "open files", "state": "warn", "text": "at most 200", "fix": "ulimit -n 65536, or LimitNOFILE= of the service"}
    assert "1.0 MB" in found(under("-f 1024"), "file size")[0]["text"]


def test_bad_plugins_are_named(tmp_path):
    said = {"crashes_at_load": "tried in a process of its own", "wrong_major": "was built for plugin interface", "missing_tag": "", "unsound_schema": "declares options wrongly",
            "wrong_torch": "was built for torch"}
    for name in ("reads_values", *said):
        shutil.copy(BUILD / "bad_plugins" / f"t2i-{name}.so", tmp_path)
    bad = found(doctor("--plugin-path", tmp_path), "plugin")
    assert all(c["state"] == "fail" and c["fix"] for c in bad) and len(bad) == len(said)
    for name, text in said.items():
        assert [c for c in bad if f"t2i-{name}.so: " in c["text"] and text in c["text"]], (name, bad)


def test_without_the_engine_or_with_a_broken_one(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    copy = tmp_path / "bin" / "t2i"
    shutil.copy(T2I, copy)

    def checks():
        done = subprocess.run([copy, "doctor", "--json"], capture_output=True, text=True, env={**os.environ, "HOME": "/nowhere"})
        assert done.returncode == 78
        return json.loads(done.stdout)["checks"]

    assert "the engine is not there" in found(checks(), "LibTorch")[0]["text"] and found(checks(), "plugins")[0]["state"] == "fail"
    engine = tmp_path / "lib" / "libt2i_engine.so"
    engine.write_bytes(b"not a library")
    assert "the engine cannot be loaded" in found(checks(), "LibTorch")[0]["text"]
    build(tmp_path, engine, 'extern "C" int t2i_engine_command(const char*, const void*) { __builtin_trap(); }')
    assert re.search(r"ended by signal \d+", found(checks(), "LibTorch")[0]["text"])


def build(tmp_path, library, code):
    (tmp_path / "code.cpp").write_text(code)
    subprocess.run(["c++", "-shared", "-fPIC", "-o", library, tmp_path / "code.cpp"], check=True)


# The driver's management library with the functions and structures of nvml.h, whose numbers are a part of its interface.
NVML = """
#include <cstring>
#include <cstdlib>
extern "C" {
int nvmlInit_v2() { return std::getenv("BROKEN") ? 18 : 0; }
int nvmlShutdown() { return 0; }
int nvmlSystemGetDriverVersion(char* to, unsigned n) { std::strncpy(to, "580.65.06", n); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int* v) { *v = 13000; return 0; }
int nvmlDeviceGetCount_v2(unsigned* n) { *n = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void** device) { *device = reinterpret_cast<void*>(i + 1ul); return 0; }
int nvmlDeviceGetName(void*, char* to, unsigned n) { std::strncpy(to, "NVIDIA H200", n); return 0; }
int nvmlDeviceGetMemoryInfo(void*, unsigned long long* m) { m[0] = 141000000000ull; m[1] = m[2] = 0; return 0; }
int nvmlDeviceGetCudaComputeCapability(void*, int* major, int* minor) { *major = 9; *minor = 0; return 0; }
int nvmlDeviceGetP2PStatus(void* a, void* b, int, int* status) { *status = a == reinterpret_cast<void*>(1) && b == reinterpret_cast<void*>(3); return 0; }
}
"""
# /dev/nvidiactl is there: what asks for it is t2i, so it is told so.
SEEN = """
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <cstring>
#include <sys/stat.h>
static int told(const char* name, const char* path, void* to) {
  auto* real = reinterpret_cast<int (*)(const char*, void*)>(dlsym(RTLD_NEXT, name));
  return real(std::strcmp(path, "/dev/nvidiactl") == 0 ? "/dev/null" : path, to);
}
extern "C" int stat(const char* path, struct stat* to) { return told("stat", path, to); }
extern "C" int stat64(const char* path, struct stat64* to) { return told("stat64", path, to); }
"""


@pytest.mark.skipif(DRIVER, reason="there is a driver already")
def test_a_driver(tmp_path):
    build(tmp_path, tmp_path / "libnvidia-ml.so.1", NVML)
    build(tmp_path, tmp_path / "seen.so", SEEN)
    env = {"LD_LIBRARY_PATH": str(tmp_path), "LD_PRELOAD": str(tmp_path / "seen.so")}
    checks = doctor(**env)
    assert found(checks, "driver")[0]["text"] == "580.65.06, for CUDA 13.0"
    assert [found(checks, f"GPU {i}")[0]["text"] for i in range(3)] == ["NVIDIA H200, 141.0 GB, compute capability 9.0"] * 3
    assert "1 of the pairs of GPUs cannot read each other's memory, as 0 and 2" in found(checks, "peer access")[0]["text"]
    cuda = found(checks, "CUDA")[0]  # LibTorch is not deceived: it finds no GPU, or its half for GPUs is not built
    assert cuda["state"] == "fail" and "cannot be used" in cuda["text"]
    checks = doctor(**env, BROKEN="1")
    assert "nvmlInit_v2() failed" in found(checks, "driver")[0]["text"] and not found(checks, "CUDA")


def test_exit_codes():
    assert t2i("doctor", "--help").returncode == 0
    done = subprocess.run([T2I, "doctor", "extra"], capture_output=True, text=True)
    assert done.returncode == 64
