#!/bin/sh
# Writes each secret of the environment to a file only Alertmanager reads, leaves out the ways that have none, and starts it.
set -eu
umask 077
source=${ALERTMANAGER_SOURCE:-/etc/inferwatch/alertmanager.yml}
run=${ALERTMANAGER_RUN:-/run/inferwatch}
config=$run/alertmanager.yml
: >"$run/absent.sed"

way() { # name, secret
  if [ -n "$2" ]; then
    printf '%s' "$2" >"$run/$1"
  else
    echo "/# begin $1\$/,/# end $1\$/d" >>"$run/absent.sed"
  fi
}
way pagerduty "${PAGERDUTY_KEY:-}"
way slack "${SLACK_URL:-}"
way webhook "${WEBHOOK_URL:-}"
way security "${SECURITY_WEBHOOK_URL:-}"
way datascience "${DATASCIENCE_WEBHOOK_URL:-}"
unset PAGERDUTY_KEY SLACK_URL WEBHOOK_URL SECURITY_WEBHOOK_URL DATASCIENCE_WEBHOOK_URL
sed -f "$run/absent.sed" -e "s#/run/inferwatch/#$run/#" "$source" >"$config"

exec "${ALERTMANAGER:-/bin/alertmanager}" --config.file="$config" --storage.path="${ALERTMANAGER_DATA:-/alertmanager}" \
  --cluster.listen-address= "$@"
