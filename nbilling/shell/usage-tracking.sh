#!/usr/bin/env bash
# usage-tracking.sh - usage metering
#
# Written by `nbilling shell install`. Source it; it works under `set -euo pipefail` and without, in bash 3.2 and later.
# NBILLING_DB names the ledger. Every value is handed on as data, and every function returns the exit code of its
# command: 0 done or allowed, 1 refused, 2 bad input, 3 not found, 4 conflict, 5 ledger or disk, 6 Stripe or mail.
# Inside `if` or before `||` bash does not stop at errors: each function is one command, so its code is the answer.

_nbilling() {
  # The nbilling that installed this file, unless NBILLING_BIN names another; PATH is asked last.
  local bin="${NBILLING_BIN:-@NBILLING@}"
  if [ ! -x "$bin" ]; then
    bin=$(command -v nbilling) || {
      echo "Error: nbilling is not there; set NBILLING_BIN or install it again" >&2
      return 5
    }
  fi
  "$bin" "$@"
}

# usage_tracking_init
usage_tracking_init() {
  _nbilling usage init -- "$@"
}

# usage_track_api_request CUSTOMER ENDPOINT METHOD STATUS SECONDS
usage_track_api_request() {
  _nbilling usage track-api-request -- "$@"
}

# usage_track_storage CUSTOMER BYTES
usage_track_storage() {
  _nbilling usage track-storage -- "$@"
}

# usage_track_bandwidth CUSTOMER BYTES egress|ingress
usage_track_bandwidth() {
  _nbilling usage track-bandwidth -- "$@"
}

# usage_track_compute CUSTOMER RESOURCE_TYPE SECONDS
usage_track_compute() {
  _nbilling usage track-compute -- "$@"
}

# usage_get_current CUSTOMER: JSON
usage_get_current() {
  _nbilling usage get-current -- "$@"
}

# usage_aggregate CUSTOMER hour|day|month
usage_aggregate() {
  _nbilling usage aggregate --quiet -- "$@"
}

# usage_export CUSTOMER csv|json PATH
usage_export() {
  _nbilling usage export -- "$@"
}

# usage_alert_set CUSTOMER METRIC THRESHOLD email|webhook|log
usage_alert_set() {
  _nbilling usage alert-set -- "$@"
}

# usage_alert_check CUSTOMER
usage_alert_check() {
  _nbilling usage alert-check -- "$@" >/dev/null
}

# usage_get_history CUSTOMER DAYS: JSON
usage_get_history() {
  _nbilling usage get-history -- "$@"
}

# usage_reset CUSTOMER monthly|daily
usage_reset() {
  _nbilling usage reset -- "$@"
}
