#!/usr/bin/env bash
# The five methods on insertion from state, 1000 demonstrations of the miscalibrated robot, 200 unseen episodes:
# at equal steps (STEPS) and at equal training time (MINUTES). Results go to results/insertion_state/*.json; what is
# there already is skipped, and an interrupted training continues.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-outputs/compare_state} steps=${STEPS:-4000} minutes=${MINUTES:-10} methods=${METHODS:-"ikp implicit-joint implicit-cartesian explicit explicit-fk"}
ikp=.venv/bin/ikp
$ikp collect --out "$out/data" --observation state --perturbation 0.7 --episodes 1000

train_and_evaluate() { # name, method, training options
  local name=$1 method=$2
  shift 2
  [ -e "results/insertion_state/$name.json" ] && return
  $ikp train --data "$out/data" --out "$out/$name" --method "$method" --resume "$@"
  $ikp evaluate --policy "$out/$name" --episodes 200 --out "results/insertion_state/$name.json"
}

for method in $methods; do
  train_and_evaluate "$method-${steps}steps" "$method" --train.steps "$steps"
  train_and_evaluate "$method-${minutes}min" "$method" --train.steps 100000 --train.minutes "$minutes"
done
