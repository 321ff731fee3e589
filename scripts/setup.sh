#!/usr/bin/env bash
# Builds .venv for this checkout and checks that MuJoCo can render off-screen.
#
#   scripts/setup.sh base    what `ikp` needs to run
#   scripts/setup.sh dev     that, and the tools for tests and linting
#   scripts/setup.sh bench   that, and the libraries that benchmarks/ compare with
#
# PYTHON names the interpreter to use; otherwise the first Python 3.11 or 3.12 found is taken.
# Each finished part leaves a stamp in .venv/.setup, so a second run returns at once, a changed
# pyproject.toml or constraints.txt installs again, and an interrupted run goes on where it stopped.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
stamps=$venv/.setup
kind=${1:-}

say() { echo "setup: $*"; }
fail() {
  printf 'setup: error: %s\n' "$@" >&2
  exit 1
}

case $kind in
  base) target=. ;;
  dev) target='.[dev]' ;;
  bench) target='.[dev,bench]' ;;
  *) fail "the argument is '$kind'; allowed are base, dev and bench" ;;
esac

# Installs Debian packages as root; otherwise stops and prints the command that would.
install_packages() {
  local reason=$1 && shift
  local command="apt-get update && apt-get install -y --no-install-recommends $*"
  if ! command -v apt-get >/dev/null; then
    fail "$reason" "install what Debian calls: $*, then run this again"
  elif [ "$(id -u)" -ne 0 ]; then
    fail "$reason" "run this and try again:" "sudo sh -c '$command'"
  fi
  say "$reason; installing $*"
  DEBIAN_FRONTEND=noninteractive sh -c "$command" >&2 || fail "this failed: $command"
}

# Prints "MAJOR.MINOR" when the interpreter runs and is one we support. Running it matters: a version
# manager may put a python3.12 on the PATH that only says it is not installed.
supported_version() {
  local version
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
  case $version in 3.11 | 3.12) echo "$version" ;; *) return 1 ;; esac
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Sets $python: the first supported interpreter that can build environments.
find_python() {
  local candidate version without_venv=
  for candidate in ${PYTHON:-python3.12 python3.11 python3 python}; do
    version=$(supported_version "$candidate") || continue
    python=$candidate
    if has_venv "$candidate"; then return; fi
    : "${without_venv:=$candidate $version}"
  done
  if [ -z "$without_venv" ]; then
    fail "no Python 3.11 or 3.12 among: ${PYTHON:-python3.12 python3.11 python3 python}" \
      "install one (Debian 12: apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python3.12"
  fi
  read -r python version <<<"$without_venv"
  install_packages "$python has no venv module" "python$version-venv"
  has_venv "$python" || fail "$python still cannot build environments: its ensurepip module is missing"
}

# A moved or copied checkout needs a new environment: the scripts inside carry the path they were made for.
is_this_checkout() { [ "$(cat "$stamps/path" 2>/dev/null)" = "$root" ] && [ -x "$venv/bin/python" ]; }

make_venv() {
  if is_this_checkout && supported_version "$venv/bin/python" >/dev/null &&
    "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    return
  fi
  find_python
  say "making .venv with $("$python" --version)"
  "$python" -m venv --clear "$venv"
  mkdir -p "$stamps"
  echo "$root" >"$stamps/path"
}

# A pip that was killed leaves packages without their RECORD, or renamed to ~name: pip would take the
# first for installed.
remove_half_installed() {
  local info
  for info in "$venv"/lib/python*/site-packages/*.dist-info; do
    if [ -d "$info" ] && [ ! -e "$info/RECORD" ]; then rm -rf "$info"; fi
  done
  rm -rf "$venv"/lib/python*/site-packages/~*
}

# torch goes first: it is by far the largest, and alone it picks up a CPU build that pip may know of.
# Python compiles a module when it is first imported; pip would compile all of them, which takes longer than
# the rest of the installation.
install_python_packages() {
  local pip=("$venv/bin/python" -m pip --disable-pip-version-check install --no-compile --constraint constraints.txt)
  if [ ! -t 1 ]; then pip+=(--quiet); fi
  remove_half_installed
  say "installing torch"
  "${pip[@]}" torch
  say "installing ikp ($kind)"
  "${pip[@]}" --editable "$target"
}

check_rendering() {
  local check=("$venv/bin/python" scripts/check_rendering.py)
  if "${check[@]}" >/dev/null 2>&1; then return; fi
  if [ "${MUJOCO_GL:-egl}" = egl ]; then
    install_packages "MuJoCo cannot render off-screen with EGL" libegl1 libgl1-mesa-dri libopengl0
  fi
  "${check[@]}" || fail "MuJoCo cannot render off-screen with MUJOCO_GL=${MUJOCO_GL:-egl} (egl, osmesa and glfw exist)"
}

wanted() { cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum; }
is_done() { [ "$(cat "$stamps/$1" 2>/dev/null)" = "$(wanted)" ]; }
# Each kind holds those before it.
has_packages() {
  case $kind in
    base) is_done base || is_done dev || is_done bench ;;
    dev) is_done dev || is_done bench ;;
    bench) is_done bench ;;
  esac
}

exec 9<"$root" # two set-ups started at once in one checkout take turns
if command -v flock >/dev/null; then flock 9; fi

rendering=rendering-${MUJOCO_GL:-egl}
if is_this_checkout && has_packages && is_done "$rendering"; then exit 0; fi

make_venv
if ! has_packages; then
  install_python_packages
  wanted >"$stamps/$kind"
fi
if ! is_done "$rendering"; then
  check_rendering
  wanted >"$stamps/$rendering"
fi
say "done"
