#!/usr/bin/env bash
# Builds .venv-diengine, an environment of its own for the peer DI-engine: beside ikp it would replace torch by
# another version and NumPy by one that other packages here refuse. Only what its implicit BC imports is installed.
#
#   benchmarks/peers/diengine.sh       PYTHON names the interpreter, python3.11 if not given
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.venv-diengine
imports='from ding.model.template.ebm import AutoregressiveEBM, AutoRegressiveDFO'

if [ -x $venv/bin/python ] && $venv/bin/python -c "$imports" >/dev/null 2>&1; then exit 0; fi

"${PYTHON:-python3.11}" -m venv --clear $venv
pip=($venv/bin/python -m pip --disable-pip-version-check --quiet install)
"${pip[@]}" --constraint constraints.txt torch 'numpy<2'
"${pip[@]}" --constraint constraints.txt 'numpy<2' \
  DI-toolkit DI-treetensor URLObject easydict einops flask gym==0.25.1 pyyaml requests tabulate tensorboardX
"${pip[@]}" --no-deps di-engine==0.5.3
$venv/bin/python -W ignore -c "$imports" >/dev/null
echo "DI-engine is ready in $venv"
