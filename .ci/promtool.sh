#!/usr/bin/env bash
# Puts promtool, which checks and tries Prometheus' rules, into the folder $1. Called by `make tools` when there is none.
# Go cannot install it (its module has replacements), and Debian's package would start a server: so only the file is taken out of it.
set -euo pipefail
folder=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
if [ -n "${INFERWATCH_PROMTOOL_URL:-}" ]; then
  echo "Fetching promtool from INFERWATCH_PROMTOOL_URL ..." >&2
  curl --fail --silent --show-error --location "$INFERWATCH_PROMTOOL_URL" | tar -xz -C "$work"
elif command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  echo "Taking promtool out of Debian's prometheus ..." >&2
  cd "$work"
  apt-get download -qq prometheus 2>/dev/null || {
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -qq
    apt-get download -qq prometheus 2>/dev/null
  }
  dpkg-deb -x prometheus_*.deb "$work"
else
  echo "promtool was not installed: there is no apt-get. Set INFERWATCH_PROMTOOL_URL to a release archive of Prometheus," >&2
  echo "or put promtool on PATH." >&2
  exit 1
fi
mkdir -p "$folder"
install -m 755 "$(find "$work" -type f -name promtool | head -n 1)" "$folder/promtool"
