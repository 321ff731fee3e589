#!/usr/bin/env bash
# Builds .venv-aloha, an environment of its own for ALOHA's simulated tasks (gym-aloha) with ikp: gym-aloha refuses the
# MuJoCo of this checkout, and the version decides how its contacts behave.
#
#   benchmarks/peers/aloha.sh       PYTHON names the interpreter, python3.11 if not given
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.venv-aloha
stamp=$venv/.setup

wanted() { (echo "$PWD" && cat pyproject.toml constraints.txt benchmarks/peers/aloha.sh) | sha256sum; }
if [ -x $venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$(wanted)" ]; then exit 0; fi

"${PYTHON:-python3.11}" -m venv --clear $venv
pip=($venv/bin/python -m pip --disable-pip-version-check --quiet install)
echo "aloha: installing into $venv; the first time this takes minutes"
"${pip[@]}" --constraint constraints.txt torch
"${pip[@]}" --editable . gym-aloha==0.1.5 mujoco==3.3.7 pytest hypothesis beartype
wanted >$stamp
echo "aloha: gym-aloha is ready in $venv"
