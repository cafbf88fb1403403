#!/usr/bin/env bash
# stripe-integration.sh - Stripe in step
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

# stripe_init KEY: the key is handed on by environment, never on a command line
stripe_init() {
  STRIPE_SECRET_KEY="${1-}" _nbilling stripe init
}

# stripe_customer_create EMAIL NAME: the id
stripe_customer_create() {
  _nbilling stripe customer-create -- "$@"
}

# stripe_customer_get CUSTOMER: JSON
stripe_customer_get() {
  _nbilling stripe customer-get -- "$@"
}

# stripe_customer_update CUSTOMER FIELD VALUE
stripe_customer_update() {
  _nbilling stripe customer-update -- "$@"
}

# stripe_payment_method_attach CUSTOMER PAYMENT_METHOD: the id
stripe_payment_method_attach() {
  _nbilling stripe payment-method-attach -- "$@"
}

# stripe_payment_methods_list CUSTOMER: JSON
stripe_payment_methods_list() {
  _nbilling stripe payment-methods-list -- "$@"
}

# stripe_subscription_create CUSTOMER PRICE: the id
stripe_subscription_create() {
  _nbilling stripe subscription-create -- "$@"
}

# stripe_subscription_get SUBSCRIPTION: JSON
stripe_subscription_get() {
  _nbilling stripe subscription-get -- "$@"
}

# stripe_subscription_update SUBSCRIPTION PRICE
stripe_subscription_update() {
  _nbilling stripe subscription-update -- "$@"
}

# stripe_subscription_cancel SUBSCRIPTION now|at_period_end
stripe_subscription_cancel() {
  _nbilling stripe subscription-cancel -- "$@"
}

# stripe_invoice_create CUSTOMER: the id
stripe_invoice_create() {
  _nbilling stripe invoice-create -- "$@"
}

# stripe_invoice_item_add CUSTOMER CENTS TEXT
stripe_invoice_item_add() {
  _nbilling stripe invoice-item-add -- "$@"
}

# stripe_invoice_finalize INVOICE
stripe_invoice_finalize() {
  _nbilling stripe invoice-finalize -- "$@"
}

# stripe_payment_process INVOICE: JSON
stripe_payment_process() {
  _nbilling stripe payment-process -- "$@"
}

# stripe_webhook_handle PAYLOAD [SIGNATURE]: the payload travels on stdin; - reads it from there
stripe_webhook_handle() {
  if [ "${1-}" = "-" ]; then
    STRIPE_SIGNATURE="${2-${STRIPE_SIGNATURE-}}" _nbilling stripe webhook-handle -
  else
    # Byte for byte: the signature is over the body as it came.
    printf '%s' "${1-}" | STRIPE_SIGNATURE="${2-${STRIPE_SIGNATURE-}}" _nbilling stripe webhook-handle -
  fi
}

# stripe_customer_delete CUSTOMER
stripe_customer_delete() {
  _nbilling stripe customer-delete -- "$@"
}
