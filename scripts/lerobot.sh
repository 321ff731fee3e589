#!/usr/bin/env bash
# Builds .venv-lerobot, an environment of its own with LeRobot, ikp and its two plug-ins: LeRobot needs Python 3.12 and
# other versions of torch and NumPy than the rest of this checkout.
#
#   scripts/lerobot.sh       PYTHON names the interpreter; otherwise the first Python 3.12 found is taken
#
# Exit status 77: it cannot be installed here, and the reason was printed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv-lerobot
stamp=$venv/.setup
lerobot='lerobot[training,dataset]==0.6.1'

cannot() {
  echo "lerobot: $*" >&2
  exit 77
}

is_wanted() { "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; }

# A version manager's python3.12 may only say that it is not active; its folder holds the interpreter.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.12 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.12*/bin/python}; do
    if is_wanted "$candidate"; then
      python=$candidate
      return
    fi
  done
  cannot "LeRobot needs Python 3.12 with the module venv, and there is none: install one, or name it with PYTHON"
}

wanted() { (echo "$PWD" && cat pyproject.toml plugins/*/pyproject.toml scripts/lerobot.sh) | sha256sum; }

exec 9<"$PWD" # two set-ups started at once in one checkout take turns
if command -v flock >/dev/null; then flock 9; fi
if [ -x $venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$(wanted)" ]; then exit 0; fi

if ! { [ -x $venv/bin/python ] && is_wanted $venv/bin/python; }; then
  find_python
  echo "lerobot: making $venv with $("$python" --version)"
  "$python" -m venv --clear $venv
fi
pip=($venv/bin/python -m pip --disable-pip-version-check --quiet install)
echo "lerobot: installing $lerobot; the first time this takes minutes and several gigabytes"
"${pip[@]}" "$lerobot" pytest hypothesis beartype || cannot "$lerobot cannot be installed; pip says why above"
"${pip[@]}" --editable . || cannot "ikp cannot be installed beside LeRobot; pip says why above"
"${pip[@]}" --no-deps --editable plugins/lerobot_policy_ikp --editable plugins/lerobot_env_ikp
wanted >$stamp
echo "lerobot: done"
