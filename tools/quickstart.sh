#!/usr/bin/env bash
# The main job on the embedded default: data, training, pictures of held-out edits before and after, the check.
# Run again, it goes on where it was: finished steps are skipped, an interrupted training resumes.
# QUICKSTART_LOSS, QUICKSTART_STEPS and QUICKSTART_OUT change the loss, the length and the folder.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${QUICKSTART_OUT:-runs/quickstart${QUICKSTART_LOSS:+-$QUICKSTART_LOSS}}
t2i=build/bin/t2i
model=assets/small-sd15
say() { printf '\n== %s\n' "$*"; }
once() { # FILE COMMAND...: the command, unless the file is there already
  local file=$1
  shift
  [ -e "$file" ] || "$@"
}
mkdir -p "$out"

say "making instruction triplets: a picture, what to do, the right answer"
once "$out/data/metadata.jsonl" python3 tools/shapes/generate.py triplets "$out/data" --kinds background,border,remove --count 6000 --seed 1
once "$out/held_out/metadata.jsonl" python3 tools/shapes/generate.py triplets "$out/held_out" --kinds background,border,remove --count 200 --seed 2 --held-out

once "$out/held_out/prompts.jsonl" python3 - "$out/held_out" <<'PY'
import json, os, sys
rows = [json.loads(line) for line in open(sys.argv[1] + "/metadata.jsonl")]
with open(sys.argv[1] + "/prompts.part", "w") as out:
    for row in rows:
        out.write(json.dumps({"prompt": row["instruction"], "image": row["input_image"]}) + "\n")
os.replace(sys.argv[1] + "/prompts.part", sys.argv[1] + "/prompts.jsonl")
PY

edit() { # MODEL FOLDER: its answers to the held-out instructions, drawn anew where the model is younger than they are
  if [ -e "$2" ] && ! [ "$2" -nt "$1/model_index.json" ]; then rm -rf "$2"; fi
  once "$2/00199.png" $t2i generate --model "$1" --task ip2p --prompts "$out/held_out/prompts.jsonl" --steps 20 --guidance 2 --image-guidance 1.5 \
    --sampler ddim --size 32x32 --seed 7 --batch 50 --output "$2"
}

once "$out/ceiling/00199.png" python3 tools/shapes/through_vae.py --data "$out/held_out" --model "$model" --t2i $t2i "$out/ceiling"

say "before training"
edit "$model" "$out/before"

say "training: t2i run --plugin sd15 --task ip2p"
began=$(date +%s)
$t2i run tools/quickstart.yaml --plugin sd15 --task ip2p --model "$model" --data "$out/data" --output "$out/run" \
  ${QUICKSTART_LOSS:+--loss "$QUICKSTART_LOSS"} ${QUICKSTART_STEPS:+--set train.max_train_steps="$QUICKSTART_STEPS"}
echo "trained in $(($(date +%s) - began)) s"

say "after training"
edit "$out/run/final" "$out/after"

say "how many of 200 held-out edits are right"
python3 tools/shapes/check.py --data "$out/held_out" --before "$out/before" --after "$out/after" --ceiling "$out/ceiling" --json "$out/check.json"
python3 tools/shapes/contact_sheet.py --data "$out/held_out" --before "$out/before" --after "$out/after" --output "$out/edits.png"
say "look at $out/edits.png: input, instruction, before training, after, truth"
