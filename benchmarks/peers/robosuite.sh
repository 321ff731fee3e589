#!/usr/bin/env bash
# Builds .venv-robosuite, an environment of its own for robosuite: it needs an older MuJoCo and an older NumPy than
# ikp's own environment has. This checkout of ikp is installed beside it.
#
#   benchmarks/peers/robosuite.sh       PYTHON names the interpreter, python3.11 if not given
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.venv-robosuite

if [ -x $venv/bin/python ] && $venv/bin/python -c 'import ikp, robosuite' >/dev/null 2>&1; then exit 0; fi

"${PYTHON:-python3.11}" -m venv --clear $venv
pip=($venv/bin/python -m pip --disable-pip-version-check --quiet install)
"${pip[@]}" --constraint <(grep ^torch= constraints.txt) torch
"${pip[@]}" --editable . mujoco==3.3.7 'numpy<2.3' numba scipy opencv-python-headless termcolor
# robosuite asks for mink, which Lift does not use and which asks for NumPy 1
"${pip[@]}" --no-deps robosuite==1.5.2
$venv/bin/python -W ignore -c 'import ikp, robosuite' >/dev/null 2>&1
echo "robosuite is ready in $venv"
