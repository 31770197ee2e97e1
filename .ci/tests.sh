#!/usr/bin/env bash
# Runs the tests with $1 (pytest) and the arguments behind it: most on all cores, then, one by one, those whose promise is a time.
# Fails when either pass fails, or when there was nothing to run in both.
set -uo pipefail
pytest=$1
shift

# Each worker starts engines of its own (Kafka, ClickHouse), about 1 GB. They wait a third of the time, so there is one more than cores.
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
workers=$((cores < 2 ? 0 : cores > 3 ? 4 : cores + 1))

nothing=5 # pytest's exit code when no test was selected
"$pytest" -n "$workers" --dist loadfile --no-loadscope-reorder "$@" --alone without
first=$?
case $first in 0 | 1 | "$nothing") ;; *) exit "$first" ;; esac
"$pytest" "$@" --alone only -n 0
second=$?
[ "$first" = "$nothing" ] && exit "$second"
[ "$second" = "$nothing" ] && exit "$first"
exit $((first ? first : second))
