#!/usr/bin/env bash
# The sixty calls of nself's billing check, in their order, through the five bash modules, on a real ledger.
#
# usage: sixty.sh DIRECTORY [NUMBER]
#
# DIRECTORY holds the five modules of `nbilling shell install`. NUMBER makes the ids (default: the second of the day).
# NBILLING_DB names the ledger; a second run on the same one needs another NUMBER. Besides exit codes and output it looks
# at effects: what another command reads back. Prints `60 passed, 0 failed`, and exits 1 where anything failed.

modules="$1"
number="${2:-$(($(date +%s) % 86400))}"
here="$PWD"

for module in usage-tracking stripe-integration quota-enforcement invoice-generation plan-management; do
  # shellcheck source=/dev/null
  . "$modules/$module.sh"
done

C="cus_test_$number" S="sub_test_$number" I="inv_test_$number"
passed=0 failed=0 step=0 out="" ok=1
work=$(mktemp -d "$here/sixty.XXXXXX")
trap 'rm -rf "$work"' EXIT

# call CODE > | - FUNCTION WORDS…: one of the sixty; `>` must print something
call() {
  local want="$1" prints="$2" got=0
  shift 2
  finish
  step=$((step + 1)) ok=1 name="$1"
  out=$("$@" 2>"$work/errors") || got=$?
  if [ "$got" -ne "$want" ]; then
    wrong "exit code $got, not $want: $(head -c 300 "$work/errors")"
  elif [ "$prints" = ">" ] && [ -z "$out" ]; then
    wrong "printed nothing"
  fi
  if [ "$want" -eq 0 ] && grep -qE 'Error|Traceback' "$work/errors"; then
    wrong "complained: $(head -c 300 "$work/errors")"
  fi
}

wrong() {
  ok=0
  echo "FAILED $step $name: $1" >&2
}

finish() {
  if [ "$step" -gt 0 ]; then
    if [ "$ok" -eq 1 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  fi
}

# has TEXT: the output holds it
has() {
  case "$out" in
    *"$1"*) ;;
    *) wrong "'$1' is not in: $(printf '%.400s' "$out")" ;;
  esac
}

# is REGEX: the output is it, whole
is() {
  if ! printf '%s\n' "$out" | grep -qxE -- "$1"; then
    wrong "is not $1: $(printf '%.200s' "$out")"
  fi
}

# then_has TEXT FUNCTION WORDS…: the effect, as another command reads it
then_has() {
  local text="$1" seen
  shift
  seen=$("$@" 2>&1) || true
  case "$seen" in
    *"$text"*) ;;
    *) wrong "afterwards '$text' is not in $*: $(printf '%.400s' "$seen")" ;;
  esac
}

# then_check COMMAND…: the effect, as a command that succeeds
then_check() {
  "$@" >/dev/null 2>&1 || wrong "afterwards this fails: $*"
}

# --- usage
call 0 - usage_tracking_init
then_check test -s "${NBILLING_DB:-nbilling.db}"
call 0 - usage_track_api_request "$C" /graphql POST 200 0.125
then_has '"api_requests": 1,' usage_get_current "$C"
call 0 - usage_track_storage "$C" 1073741824
then_has '"storage_bytes": 1073741824' usage_get_current "$C"
call 0 - usage_track_bandwidth "$C" 524288000 egress
then_has '"bandwidth_bytes": 524288000' usage_get_current "$C"
call 0 - usage_track_compute "$C" function_execution 3600
then_has '"compute_seconds": 3600' usage_get_current "$C"
call 0 '>' usage_get_current "$C"
has "\"customer_id\": \"$C\""
has '"storage_gb": 1'
call 0 - usage_aggregate "$C" hour
then_has '"resource_type": "compute"' _nbilling usage aggregate -- "$C" hour
call 0 - usage_aggregate "$C" day
then_has '"resource_type": "compute"' _nbilling usage aggregate -- "$C" day
call 0 - usage_aggregate "$C" month
then_has '"resource_type": "compute"' _nbilling usage aggregate -- "$C" month
call 0 - usage_export "$C" csv "$work/usage.csv"
then_check grep -q '^id,customer_id,resource_type,amount,metadata,created_at' "$work/usage.csv"
then_check grep -q "$C,api_requests,1," "$work/usage.csv"
call 0 - usage_export "$C" json "$work/usage.json"
then_check grep -q '"resource_type": *"compute"' "$work/usage.json"
call 0 - usage_alert_set "$C" api_requests 10000 email
then_has '"threshold": 10000' _nbilling usage alert-list --format json -- "$C"
call 0 - usage_alert_check "$C"
call 0 '>' usage_get_history "$C" 30
has '"api_requests": 1'
call 0 - usage_reset "$C" monthly
then_has '"api_requests": 0,' usage_get_current "$C"
then_has '"storage_bytes": 1073741824' usage_get_current "$C"

# --- Stripe
call 0 - stripe_init sk_test_PLACEHOLDER
then_has "mode fixtures" stripe_init sk_test_another
call 0 '>' stripe_customer_create test@example.com "Test User"
is 'cus_[A-Za-z0-9_]+'
then_has '"name": "Test User"' stripe_customer_get "$out"
call 0 '>' stripe_customer_get "$C"
has "\"id\": \"$C\""
call 0 - stripe_customer_update "$C" name "Updated Name"
then_has '"name": "Updated Name"' stripe_customer_get "$C"
call 0 '>' stripe_payment_method_attach "$C" pm_card_visa
is 'pm_[A-Za-z0-9_]+'
method="$out"
then_has "\"default_payment_method\": \"$method\"" stripe_customer_get "$C"
call 0 '>' stripe_payment_methods_list "$C"
has "\"id\": \"$method\""
call 0 '>' stripe_subscription_create "$C" price_pro_monthly
is 'sub_[A-Za-z0-9_]+'
subscription="$out"
then_has '"status": "active"' stripe_subscription_get "$subscription"
then_has '"id": "pro"' plan_get_current "$C"
call 0 '>' stripe_subscription_get "$S"
has "\"id\": \"$S\""
has '"status": "active"'
call 0 - stripe_subscription_update "$S" price_enterprise_monthly
then_has '"price_enterprise_monthly"' stripe_subscription_get "$S"
then_has '"id": "pro"' plan_get_current "$C"
call 0 - stripe_subscription_cancel "$S" at_period_end
then_has '"cancel_at_period_end": true' stripe_subscription_get "$S"
then_has '"pending_plan": null' plan_get_current "$C"
call 0 '>' stripe_invoice_create "$C"
is 'in_[A-Za-z0-9_]+'
draft="$out"
call 0 - stripe_invoice_item_add "$C" 1000 "Overage charges"
then_has '"total": 1000' stripe_invoice_finalize "$draft"
call 0 - stripe_invoice_finalize "$I"
then_has '"status": "open"' stripe_invoice_finalize "$I"
call 0 '>' stripe_payment_process "$I"
has '"status": "paid"'
has '"amount_paid": 1000'
paid="$out"
then_has "$paid" stripe_payment_process "$I"
call 0 - stripe_webhook_handle '{"type":"invoice.payment_succeeded","data":{"object":{"id":"in_test","amount_paid":1000}}}'
then_has '"duplicate": true' stripe_webhook_handle \
  '{"type":"invoice.payment_succeeded","data":{"object":{"id":"in_test","amount_paid":1000}}}'

# --- quotas
call 0 - quota_init
call 0 - quota_set_limit "$C" api_requests 10000 per_month
then_has '"limit": 10000' quota_soft_limit_check "$C" api_requests
call 0 - quota_set_limit "$C" storage 10737418240 absolute
then_has '"limit": 10737418240' quota_soft_limit_check "$C" storage
call 0 - quota_set_limit "$C" bandwidth 107374182400 per_month
then_has '"limit": 107374182400' quota_soft_limit_check "$C" bandwidth
call 0 - quota_check "$C" api_requests 1
then_has '"usage": 0' quota_soft_limit_check "$C" api_requests
call 0 - quota_enforce "$C" api_requests 1
then_has '"usage": 1' quota_soft_limit_check "$C" api_requests
call 0 - quota_enforce "$C" storage 1048576
then_has '"storage_bytes": 1074790400' usage_get_current "$C"
call 0 '>' quota_soft_limit_check "$C" api_requests
has '"warning": false'
call 1 - quota_hard_limit_check "$C" api_requests 999999
call 0 '>' quota_calculate_overage "$C" api_requests
has '"overage": 0'
call 0 '>' quota_get_usage_percentage "$C" storage
is 10
call 0 - quota_reset "$C" monthly
then_has '"usage": 0' quota_soft_limit_check "$C" api_requests

# --- invoices
call 0 - invoice_init
call 0 '>' invoice_generate "$C" monthly
is '[A-Za-z]+_[A-Za-z0-9_]+'
then_has "$out" invoice_generate "$C" monthly
call 0 '>' invoice_calculate_charges "$C"
has '"breakdown"'
call 0 - invoice_apply_discount "$I" SAVE20
then_has '"total": "8.00"' invoice_get_history "$C" 12
call 0 - invoice_apply_discount_percentage "$I" 15
then_has '"total": "6.80"' invoice_get_history "$C" 12
call 0 '>' invoice_calculate_tax "$C" 125.50
has '"taxable_amount": "125.50"'
has '"tax_amount": "0.00"'
has '"reason"'
call 0 - invoice_generate_pdf "$I" "$work/invoice.pdf"
then_has '%PDF-' head -c 5 "$work/invoice.pdf"
call 0 - invoice_email_send "$I" "$C"
then_check grep -rqi "to: $C@example.com" "${NBILLING_DB:-nbilling.db}-mail"
call 0 '>' invoice_get_history "$C" 12
has "\"id\": \"$I\""
call 0 - invoice_mark_paid "$I" stripe
then_has "\"id\": \"$I\"" invoice_get_history "$C" 12
then_has '"status": "paid"' invoice_get_history "$C" 12

# --- plans
call 0 - plan_init
call 0 '>' plan_list
has '"id": "enterprise"'
call 0 '>' plan_get_details pro
has '"price": "29.00"'
call 0 - plan_upgrade "$C" pro
then_has '"id": "pro"' plan_get_current "$C"
call 0 - plan_downgrade "$C" free at_period_end
then_has '"pending_plan": "free"' plan_get_current "$C"
then_has '"cancel_at_period_end": true' stripe_subscription_get "$subscription"
call 0 '>' plan_create_custom "$C" enterprise_custom 299 '{"api_requests":100000}'
then_has '"api_requests": 100000' plan_get_details "$out"
call 0 '>' plan_compare free pro
has '"rows"'
call 0 '>' plan_get_current "$C"
has '"id": "pro"'
has '"current_period_end"'
finish

# --- and away with the customer
stripe_customer_delete "$C" || { echo "FAILED stripe_customer_delete" >&2 && failed=$((failed + 1)); }
step=0

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -eq 60 ]
