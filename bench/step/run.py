"""Times training steps of t2i against diffusers with PyTorch eager: same weights, batch, noise, timesteps and dtype.

    run.py --model MODEL [--dtype float32|bfloat16] [--pairs N] [--channels-last] [--recompute]

Runs of the two sides alternate, one at a time, each in a process of its own. Losses must agree in every pair; else there
is no timing. Prints a row of a markdown table (with its head), then what it was measured under.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from machine import Machine, busy_machine, probe_gflops

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Steps of a run, of them dropped as warm-up, pairs.
PLAN = {"small": (30, 5, 7), "middle": (8, 2, 7), "sd15": (3, 1, 2), "sdxl-middle": (8, 2, 5), "sd3-middle": (8, 2, 5),
        "flux-middle": (8, 2, 5), "sdxl": (3, 1, 1), "sd35-medium": (3, 1, 1)}
RECOMPUTED = ("sdxl", "sd35-medium")  # their activations would not fit beside the weights
# How far losses may differ, relative: at step 1, and in any later step (large models: ten times that). Later, other orders
# of sums have gone through AdamW, whose first updates depend on the gradient's sign alone, however small it is.
NEAR = {"float32": (1e-5, 1e-4), "bfloat16": (5e-3, 5e-3)}
HEAD = ("| model | dtype | step t2i, s | step diffusers, s | diffusers / t2i (min–max) "
        "| of processor time | peak t2i, MiB | peak diffusers, MiB | first step t2i, s | first step diffusers, s | pairs |\n"
        + "|---" * 11 + "|")


def model_folder(name, work):
    """The folder with its weights and batch, made at the first call. In a process of its own: its memory is not ours."""
    folder = pathlib.Path(work) / name
    if not (folder / "facts.json").exists():
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, HERE / "random_folder.py", name, folder], check=True)
    return folder


def run_side(command, env):
    """One run of a side; what it printed, with how much of the machine others took meanwhile."""
    with busy_machine() as others:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nexit {done.returncode}\n{done.stderr}")
    return {**json.loads(done.stdout.splitlines()[-1]), "others": others.share}


def disagreement(a, b, dtype, large=False):
    """What is wrong with a pair's losses, or nothing."""
    first, later = NEAR[dtype]
    later *= 10 if large and dtype == "float32" else 1
    if a["parameters"] != b["parameters"]:
        return f"{a['parameters']} and {b['parameters']} parameters"
    for k, (x, y) in enumerate(zip(a["losses"], b["losses"], strict=True)):
        if not abs(x - y) <= (later if k else first) * abs(y):
            return f"step {k + 1}: losses {x!r} ({a['side']}) and {y!r} ({b['side']})"
    return None


def measure(args, folder, machine):
    """Pairs of runs, t2i and diffusers in turns first."""
    build = pathlib.Path(args.build)
    common = ["--model", folder, "--inputs", folder / "inputs.safetensors", "--steps", args.steps, "--threads", machine.threads]
    draws = folder / f"draws-{args.steps}.safetensors"
    subprocess.run([str(x) for x in [build / "bin" / "t2i_step", *common, "--draws", draws]], check=True)
    trained = json.loads((folder / "facts.json").read_text()).get("trained", [])
    more = ["--dtype", args.dtype, *(["--recompute"] if args.recompute else [])]
    more += [word for pattern in trained for word in ("--parameters", pattern)]
    ours = [build / "bin" / "t2i_step", *common, *more]
    theirs = [sys.executable, HERE / "diffusers_step.py", *common, *more, "--draws", draws,
              *(["--channels-last"] if args.channels_last else [])]
    for file in folder.rglob("*.safetensors"):
        file.read_bytes() if file.stat().st_size < 1 << 28 else subprocess.run(["cat", file], stdout=subprocess.DEVNULL)

    pairs = []
    for i in range(args.pairs):
        pair, sides = {"probes": []}, [("t2i", ours), ("diffusers", theirs)]
        for name, command in sides if i % 2 == 0 else reversed(sides):
            pair["probes"].append(probe_gflops(machine.threads))
            pair[name] = run_side(command, machine.environment())
            for what in ("step", "processor"):
                pair[name][what] = statistics.median(pair[name][f"{what}_seconds"][args.warmup:])
        if problem := disagreement(pair["t2i"], pair["diffusers"], args.dtype, args.model != "small"):
            sys.exit(f"no timing: the two sides do not agree. {problem}")
        print(f"pair {i + 1}: t2i {pair['t2i']['step']:.4f} s, diffusers {pair['diffusers']['step']:.4f} s", file=sys.stderr)
        pairs.append(pair)
    return pairs


def quiet(pair):
    """Did both runs meet the same machine, and have it to themselves?"""
    alike = max(pair["probes"]) <= 1.1 * min(pair["probes"])
    return alike and max(pair["t2i"]["others"], pair["diffusers"]["others"]) <= 0.1


def ratios(pairs, what):
    values = [p["diffusers"][what] / p["t2i"][what] for p in pairs]
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def row(args, pairs, measured):
    def median(side, key):
        return statistics.median(p[side][key] for p in pairs)

    how = [args.dtype, *(["channels_last"] if args.channels_last else []), *(["recompute"] if args.recompute else [])]
    cells = [args.model, ", ".join(how), f"{median('t2i', 'step'):.4f}", f"{median('diffusers', 'step'):.4f}",
             ratios(pairs, "step"), ratios(pairs, "processor"),
             f"{median('t2i', 'peak_bytes') / 2**20:.0f}", f"{median('diffusers', 'peak_bytes') / 2**20:.0f}",
             f"{median('t2i', 'first_step_seconds'):.2f}", f"{median('diffusers', 'first_step_seconds'):.2f}",
             f"{len(pairs)} of {measured}"]
    return "| " + " | ".join(cells) + " |"


def worst_difference(pairs):
    """The largest relative difference of losses: at step 1, and over the run."""
    gaps = [[abs(x - y) / abs(y) for x, y in zip(p["t2i"]["losses"], p["diffusers"]["losses"])] for p in pairs]
    return max(g[0] for g in gaps), max(max(g) for g in gaps)


def report(args, folder, pairs, machine):
    kept = [p for p in pairs if quiet(p)]
    facts = json.loads((folder / "facts.json").read_text())
    at_first, over_run = worst_difference(pairs)
    others = [p[side]["others"] for p in pairs for side in ("t2i", "diffusers")]
    probes = [x for p in pairs for x in p["probes"]]
    loads = [statistics.median(p[side]["load_seconds"] for p in pairs) for side in ("t2i", "diffusers")]
    print(HEAD + "\n" + row(args, kept or pairs, len(pairs)) + "\n")
    print(f"- {facts['model']}: {facts['parameters'] / 1e6:.2f} M parameters, batch {facts['batch']}, latents {facts['latents']}, "
          f"weights SHA-256 {facts['weights_sha256'][:16]}…; {args.steps} steps a run, {args.warmup} dropped."
          + (f" Trained: {' '.join(facts['trained'])}." if facts.get("trained") else ""))
    processor = [statistics.median(p[side]["processor"] for p in kept or pairs) for side in ("t2i", "diffusers")]
    print(f"- Processor time of a step, all threads: t2i {processor[0]:.4f} s, diffusers {processor[1]:.4f} s.")
    print(f"- Losses differ by {at_first:.1e} at step 1, by {over_run:.1e} at most over the run (relative).")
    print(f"- Loading the weights: t2i {loads[0]:.2f} s, diffusers {loads[1]:.2f} s.")
    print(f"- {machine.description()}; others took {statistics.median(others):.0%} ({min(others):.0%}–{max(others):.0%}) of the "
          f"cores; probe before each run {min(probes):.0f}–{max(probes):.0f} GFLOP/s.")
    if len(kept) < len(pairs):
        print(f"- In {len(pairs) - len(kept)} pairs others took more than 10 % of the cores, or the probes differ by more: "
              + ("they are left out." if kept else "in all, so all are kept and THE FIGURES ARE ROUGH."))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=PLAN, required=True)
    parser.add_argument("--dtype", choices=NEAR, default="float32")
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--steps", type=int, help="of each run, warm-up included")
    parser.add_argument("--warmup", type=int, help="first steps of each run that are not counted")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--channels-last", action="store_true", help="for diffusers; t2i chooses its own layout")
    parser.add_argument("--recompute", action="store_true", help="blocks are run again in backward, on both sides")
    parser.add_argument("--build", default=ROOT / "build", help="where t2i was built")
    parser.add_argument("--work", default=ROOT / "runs" / "bench", help="where model folders are made and kept")
    parser.add_argument("--json", help="a file for everything that was measured")
    args = parser.parse_args()
    steps, warmup, pairs = PLAN[args.model]
    args.recompute |= args.model in RECOMPUTED
    args.steps, args.pairs = args.steps or steps, args.pairs or pairs
    args.warmup = min(warmup if args.warmup is None else args.warmup, args.steps - 1)
    machine = Machine(args.threads)
    folder = model_folder(args.model, args.work)
    pairs = measure(args, folder, machine)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(pairs))
    report(args, folder, pairs, machine)


if __name__ == "__main__":
    main()
