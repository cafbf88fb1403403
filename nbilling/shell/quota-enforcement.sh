#!/usr/bin/env bash
# quota-enforcement.sh - limits, checked and enforced
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

# quota_init
quota_init() {
  _nbilling quota init -- "$@"
}

# quota_set_limit CUSTOMER RESOURCE LIMIT per_month|per_day|absolute
quota_set_limit() {
  _nbilling quota set-limit -- "$@"
}

# quota_check CUSTOMER RESOURCE AMOUNT: 0 within, 1 would exceed; anything else is no approval
quota_check() {
  _nbilling quota check -- "$@"
}

# quota_enforce CUSTOMER RESOURCE AMOUNT: 0 recorded, 1 refused and nothing recorded
quota_enforce() {
  _nbilling quota enforce -- "$@"
}

# quota_soft_limit_check CUSTOMER RESOURCE: JSON
quota_soft_limit_check() {
  _nbilling quota soft-limit-check -- "$@"
}

# quota_hard_limit_check CUSTOMER RESOURCE AMOUNT: 0 under or at the limit, 1 over
quota_hard_limit_check() {
  _nbilling quota hard-limit-check -- "$@"
}

# quota_calculate_overage CUSTOMER RESOURCE: JSON
quota_calculate_overage() {
  _nbilling quota calculate-overage -- "$@"
}

# quota_get_usage_percentage CUSTOMER RESOURCE: a whole number
quota_get_usage_percentage() {
  _nbilling quota get-usage-percentage -- "$@"
}

# quota_reset CUSTOMER monthly|daily
quota_reset() {
  _nbilling quota reset -- "$@"
}
