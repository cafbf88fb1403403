#!/usr/bin/env bash
# invoice-generation.sh - invoices
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

# invoice_init
invoice_init() {
  _nbilling invoice init -- "$@"
}

# invoice_generate CUSTOMER weekly|monthly|quarterly|yearly: the id
invoice_generate() {
  _nbilling invoice generate -- "$@"
}

# invoice_calculate_charges CUSTOMER: JSON
invoice_calculate_charges() {
  _nbilling invoice calculate-charges -- "$@"
}

# invoice_apply_discount INVOICE CODE
invoice_apply_discount() {
  _nbilling invoice apply-discount -- "$@"
}

# invoice_apply_discount_percentage INVOICE PERCENT
invoice_apply_discount_percentage() {
  _nbilling invoice apply-discount-percentage -- "$@"
}

# invoice_calculate_tax CUSTOMER AMOUNT: JSON
invoice_calculate_tax() {
  _nbilling invoice calculate-tax -- "$@"
}

# invoice_generate_pdf INVOICE PATH
invoice_generate_pdf() {
  _nbilling invoice generate-pdf -- "$@"
}

# invoice_email_send INVOICE CUSTOMER
invoice_email_send() {
  _nbilling invoice email-send -- "$@"
}

# invoice_get_history CUSTOMER MONTHS: JSON
invoice_get_history() {
  _nbilling invoice get-history -- "$@"
}

# invoice_mark_paid INVOICE METHOD
invoice_mark_paid() {
  _nbilling invoice mark-paid -- "$@"
}
