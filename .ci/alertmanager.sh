#!/usr/bin/env bash
# Installs Alertmanager into the folder $1, or with Go or apt-get into theirs. Called by `make tools` when there is none.
set -euo pipefail
folder=$1
VERSION=v0.31.1

if [ -n "${INFERWATCH_ALERTMANAGER_URL:-}" ]; then
  echo "Fetching Alertmanager from INFERWATCH_ALERTMANAGER_URL ..." >&2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  curl --fail --silent --show-error --location "$INFERWATCH_ALERTMANAGER_URL" --output "$work/alertmanager"
  mkdir "$work/archive"
  binary=$work/alertmanager # or a release archive with it inside
  if tar -xf "$work/alertmanager" -C "$work/archive" 2>/dev/null; then
    binary=$(find "$work/archive" -type f -name alertmanager | head -n 1)
  fi
  mkdir -p "$folder"
  install -m 755 "$binary" "$folder/alertmanager"
  exit
fi
if command -v go >/dev/null; then
  echo "Building Alertmanager $VERSION with Go, once (2 to 4 min) ..." >&2
  if go install "github.com/prometheus/alertmanager/cmd/alertmanager@$VERSION"; then exit; fi
fi
if command -v apt-get >/dev/null; then
  echo "Installing Debian's prometheus-alertmanager ..." >&2
  as_root=
  [ "$(id -u)" = 0 ] || as_root=sudo
  $as_root apt-get update -qq
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends prometheus-alertmanager
  exit
fi
echo "Alertmanager was not installed: there is neither Go nor apt-get. Set INFERWATCH_ALERTMANAGER_URL to a release archive," >&2
echo "or INFERWATCH_ALERTMANAGER to the path of a binary." >&2
exit 1
