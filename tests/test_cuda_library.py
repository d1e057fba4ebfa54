"""libt2i_cuda.so on a machine without a GPU: that it is built, that loading it gives the engine its kernels and NCCL, and
that the kernels whose bits must equal the host's were compiled without contraction. Their arithmetic itself is compared on the
host, in core/cuda/*_test.cpp.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest
import torch

BUILD = pathlib.Path(os.environ["T2I_BUILD"])
SOURCE = pathlib.Path(__file__).parent.parent
CU13 = pathlib.Path(torch.__file__).parent.parent / "nvidia" / "cu13"

LOAD = """
import ctypes, sys, torch
lib = sys.argv[1]
engine = ctypes.CDLL(f"{lib}/libt2i_engine.so", ctypes.RTLD_GLOBAL)
ops = ("t2i::draw", "t2i::unpack_nf4", "t2i::unpack_int8", "t2i::adam8_update", "t2i::join_halves", "t2i::split_halves", "t2i::round_stochastically")
has = lambda key: all(torch._C._dispatch_has_kernel_for_dispatch_key(op, key) for op in ops)
nccl = lambda: bool(ctypes.c_void_p.in_dll(engine, "_ZN3t2i17make_nccl_backendE").value)
print(has("CPU"), has("CUDA"), nccl())
ctypes.CDLL(f"{lib}/libt2i_cuda.so", ctypes.RTLD_GLOBAL)
print(has("CPU"), has("CUDA"), nccl())
"""


def test_loading_registers_kernels_and_nccl():
    done = subprocess.run([sys.executable, "-c", LOAD, BUILD / "lib"], text=True, capture_output=True, timeout=300)
    assert done.stdout.split("\n")[:2] == ["True False False", "True True True"], done.stdout + done.stderr


def test_the_engine_itself_links_no_cuda():
    """A machine without a driver must not pay for CUDA's libraries: half a second and 350 MB."""
    needed = subprocess.run(["readelf", "-d", BUILD / "lib" / "libt2i_engine.so"], text=True, capture_output=True, check=True).stdout
    assert "libtorch_cpu.so" in needed
    assert not re.search(r"cuda|cudart|nccl", "\n".join(line for line in needed.splitlines() if "NEEDED" in line))


@pytest.mark.parametrize("kernel", ["draw", "unpack", "adam8"])
def test_kernels_are_compiled_without_contraction(tmp_path, kernel):
    rules = (BUILD / "build.ninja").read_text()
    command = next(line for line in rules.splitlines() if "/bin/nvcc" in line and f"{kernel}.cu" in line)
    assert "-fmad=false" in command
    architectures = set(re.findall(r"code=(\w+)", command))
    assert {"sm_80", "sm_89", "sm_90a", "sm_120", "compute_80"} <= architectures
    # The same compiler with the same switch: every float operation of the PTX rounds by itself, none is fused or approximate.
    ptx = tmp_path / "kernel.ptx"
    for flags, fused in ((["-fmad=false"], False), ([], True)):
        subprocess.run([CU13 / "bin" / "nvcc", "-std=c++17", "-O3", *flags, "-arch=compute_80", f"-I{SOURCE}", "-ptx", f"core/cuda/{kernel}.cu", "-o", ptx],
                       cwd=SOURCE, check=True, timeout=300)
        floats = set(re.findall(r"\b((?:fma|mul|add|sub|div|sqrt|rcp|mad)\.[a-z.]*f32)\b", ptx.read_text()))
        assert ("fma.rn.f32" in floats) == fused, floats  # with contraction allowed there are some: the check can fail
        if not fused:
            assert floats <= {"mul.rn.f32", "add.rn.f32", "sub.rn.f32", "div.rn.f32", "sqrt.rn.f32"}, floats
