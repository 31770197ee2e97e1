#!/usr/bin/env bash
# Makes the virtual environment $1 with all that the lock file names: brings uv when there is none. Called by the Makefile.
# PYTHON names an interpreter; otherwise the first that fits is taken.
set -euo pipefail
venv=$1
UV_VERSION=0.13.9

fits='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
  # Run, not only found: a version manager's shim may be there for a version that is not.
  if command -v "$candidate" >/dev/null && "$candidate" -c "$fits" 2>/dev/null; then
    python=$("$candidate" -c 'import sys; print(sys.executable)')
    break
  fi
done
if [ -z "$python" ]; then
  echo "inferwatch needs Python 3.11, 3.12 or 3.13; ${PYTHON:-python3} is: $("${PYTHON:-python3}" --version 2>&1 | tail -1 || true)" >&2
  echo "Install one of them, or name it: make PYTHON=/path/to/python3.12 ..." >&2
  exit 1
fi

uv=
for candidate in uv .uv/bin/uv; do
  version=$("$candidate" --version 2>/dev/null || true)
  case $version in
    "" | "uv 0."[0-7].*) ;; # absent, or too old for the lock file
    *)
      uv=$candidate
      break
      ;;
  esac
done
if [ -z "$uv" ]; then
  echo "Fetching uv $UV_VERSION into .uv, once ..." >&2
  if ! { "$python" -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"; } >&2; then
    rm -rf .uv
    echo "No virtual environment with pip could be made. On Debian: apt-get install python3-venv. Or install uv yourself." >&2
    exit 1
  fi
  uv=.uv/bin/uv
fi

[ -d "$venv" ] || echo "Installing the dependencies into $venv, once ..." >&2
export UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=$venv
"$uv" sync --frozen --all-packages --all-extras --python "$python" --quiet
