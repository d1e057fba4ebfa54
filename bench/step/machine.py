"""The machine that a measurement ran on: what it is, and whether it was ours alone."""

import contextlib
import importlib.metadata
import os
import resource
import time


class Machine:
    def __init__(self, threads=0):
        self.cores = len(os.sched_getaffinity(0))
        self.threads = threads or self.cores

    def environment(self):
        return {**os.environ, "OMP_NUM_THREADS": str(self.threads), "PYTHONDONTWRITEBYTECODE": "1"}

    def description(self):
        with open("/proc/cpuinfo") as f:
            info = dict(line.split(":", 1) for line in f.read().split("\n\n")[0].splitlines())
        info = {key.strip(): value.strip() for key, value in info.items()}
        cpu = f"{info.get('model name', 'unknown CPU')} (family {info.get('cpu family')}, model {info.get('model')})"
        features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in info.get("flags", "").split()]
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers"))
        used = f"{self.threads} of {self.cores} cores"
        return f"{time.strftime('%Y-%m-%d')}, {cpu}, {' '.join(features)}, {used}, {versions}"


def probe_gflops(threads, seconds=0.2):
    """How fast a matrix product is right now: shows a core that is shared or throttled."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read when numpy is imported, at the first call
        os.environ.setdefault(name, str(threads))
    import numpy

    a = numpy.ones((768, 768), numpy.float32)
    a @ a  # starts the threads
    began, products = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        a @ a
        products += 1
    return 2e-9 * 768**3 * products / (time.perf_counter() - began)


class Others:
    share = 0.0  # of all cores' time, in 0…1


def busy_ticks():
    with open("/proc/stat") as f:  # proc(5): user nice system idle iowait irq softirq steal
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, f.readline().split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + iowait


def own_ticks():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used) * os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def busy_machine():
    """Afterwards `share` says how much of the machine was taken by others, or stolen by the host, in the block."""
    others, (busy, total), own = Others(), busy_ticks(), own_ticks()
    yield others
    (busy_after, total_after), own_after = busy_ticks(), own_ticks()
    if total_after > total:
        others.share = max(0.0, (busy_after - busy - (own_after - own)) / (total_after - total))
