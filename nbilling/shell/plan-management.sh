#!/usr/bin/env bash
# plan-management.sh - plans and subscriptions
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

# plan_init
plan_init() {
  _nbilling plan init -- "$@"
}

# plan_list: JSON
plan_list() {
  _nbilling plan list -- "$@"
}

# plan_get_details PLAN: JSON
plan_get_details() {
  _nbilling plan get-details -- "$@"
}

# plan_upgrade CUSTOMER PLAN
plan_upgrade() {
  _nbilling plan upgrade -- "$@"
}

# plan_downgrade CUSTOMER PLAN now|at_period_end
plan_downgrade() {
  _nbilling plan downgrade -- "$@"
}

# plan_create_custom CUSTOMER NAME PRICE LIMITS_JSON: the id
plan_create_custom() {
  _nbilling plan create-custom -- "$@"
}

# plan_compare PLAN PLAN: JSON
plan_compare() {
  _nbilling plan compare -- "$@"
}

# plan_get_current CUSTOMER: JSON
plan_get_current() {
  _nbilling plan get-current -- "$@"
}
