"""The tables. Integers inside (microseconds, minor units, base units); the seed's names as views to read from anywhere.

Designed for 20 million events: customers, meters and dimensions are interned, every large index begins with the hour
of the event, so a new row always lands on pages that are already in memory.
"""

from __future__ import annotations

import sqlite3
import time

from nbilling.store import alerts, imports, outbox, stripe_events, stripe_links, stripe_offline
from nbilling.store.seed import insert_seed
from nbilling.store.views import VIEWS, guards

TABLES = (
    """CREATE TABLE ledger (
  -- facts about this file: its mode (unset, fixtures, test, live), a test clock, when it was made
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE customers (
  -- who uses and pays; customer_id is the host's own id
  id INTEGER PRIMARY KEY,
  customer_id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL DEFAULT '',
  company TEXT NOT NULL DEFAULT '',
  email TEXT NOT NULL DEFAULT '',
  phone TEXT NOT NULL DEFAULT '',
  address_line1 TEXT NOT NULL DEFAULT '',
  address_line2 TEXT NOT NULL DEFAULT '',
  postal_code TEXT NOT NULL DEFAULT '',
  city TEXT NOT NULL DEFAULT '',
  region TEXT NOT NULL DEFAULT '',
  country TEXT NOT NULL DEFAULT '', -- ISO 3166-1 alpha-2
  vat_number TEXT NOT NULL DEFAULT '',
  tax_exempt TEXT NOT NULL DEFAULT '', -- why no tax is charged; empty: it is
  buyer_reference TEXT NOT NULL DEFAULT '',
  currency TEXT NOT NULL DEFAULT '', -- ISO 4217; empty until the first invoice or paid plan fixes it
  locale TEXT NOT NULL DEFAULT 'en',
  zone TEXT NOT NULL DEFAULT 'UTC', -- IANA
  period INTEGER NOT NULL DEFAULT 0, -- the present billing period, a row of periods
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT""",
    """CREATE TABLE meters (
  -- what is measured; amounts are integers in units of 10^-scale
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind IN ('event', 'gauge', 'counter')),
  aggregation TEXT NOT NULL CHECK (aggregation IN ('sum', 'count', 'max', 'last', 'unique', 'time_weighted')),
  unit TEXT NOT NULL,
  scale INTEGER NOT NULL DEFAULT 0 CHECK (scale BETWEEN 0 AND 9),
  dimension TEXT NOT NULL DEFAULT '', -- what the dimension of its events means: direction, resource_type
  created_at INTEGER NOT NULL
) STRICT""",
    """CREATE TABLE dimensions (
  -- interned dimension values; 0 is none
  id INTEGER PRIMARY KEY,
  value TEXT NOT NULL UNIQUE
) STRICT""",
    """CREATE TABLE events (
  -- usage events, append-only; seq is the order of arrival
  seq INTEGER PRIMARY KEY,
  h INTEGER NOT NULL, -- hours since 1970 of at
  at INTEGER NOT NULL, -- microseconds UTC
  customer INTEGER NOT NULL REFERENCES customers (id),
  meter INTEGER NOT NULL REFERENCES meters (id),
  dimension INTEGER NOT NULL REFERENCES dimensions (id),
  amount INTEGER NOT NULL,
  op INTEGER NOT NULL, -- 0 adds, 1 sets the level of a gauge
  key BLOB NOT NULL, -- 16 bytes: the event's identity for its customer within its hour
  id TEXT, -- the id as sent, where key is only its hash
  metadata TEXT
) STRICT""",
    "CREATE UNIQUE INDEX events_identity ON events (h, key, customer)",
    "CREATE INDEX events_usage ON events (h, customer, meter)",
    """CREATE TABLE event_ids (
  -- ids that were sent without a time and hold none: where their event is
  key BLOB NOT NULL,
  customer INTEGER NOT NULL,
  h INTEGER NOT NULL,
  PRIMARY KEY (key, customer)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE rollups (
  -- usage summed as it comes in. grain 0: for ever; 1: UTC hour; 2: local day; 3: billing period; 4: counting window
  grain INTEGER NOT NULL,
  bucket INTEGER NOT NULL, -- 0; hours since 1970; day number; periods.id; windows.id
  customer INTEGER NOT NULL,
  meter INTEGER NOT NULL,
  dimension INTEGER NOT NULL,
  amount INTEGER NOT NULL, -- sum, count, maximum, last value or number of different values, as the meter aggregates
  events INTEGER NOT NULL,
  mark INTEGER NOT NULL DEFAULT 0, -- where the last value counts: the time of that event
  PRIMARY KEY (grain, bucket, customer, meter, dimension)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE unique_values (
  -- what a meter of different values has seen, by the buckets of its rollups
  grain INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  customer INTEGER NOT NULL,
  meter INTEGER NOT NULL,
  value BLOB NOT NULL, -- 16 bytes: hash of the value
  PRIMARY KEY (grain, bucket, customer, meter, value)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE counter_samples (
  -- running totals in the order of their own time, with what each adds to the one before
  customer INTEGER NOT NULL,
  meter INTEGER NOT NULL,
  dimension INTEGER NOT NULL,
  at INTEGER NOT NULL,
  total INTEGER NOT NULL,
  seq INTEGER NOT NULL, -- events.seq
  delta INTEGER NOT NULL,
  PRIMARY KEY (customer, meter, dimension, at, total, seq)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE gauge_levels (
  -- every sample of a gauge in the order of its own time, with the level that it left
  customer INTEGER NOT NULL,
  meter INTEGER NOT NULL,
  dimension INTEGER NOT NULL,
  at INTEGER NOT NULL,
  seq INTEGER NOT NULL, -- events.seq
  op INTEGER NOT NULL,
  amount INTEGER NOT NULL,
  level INTEGER NOT NULL,
  PRIMARY KEY (customer, meter, dimension, at, seq)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE plan_versions (
  -- a plan is never edited: a change is a new version, a subscription keeps the one it bought
  id INTEGER PRIMARY KEY,
  plan_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  name TEXT NOT NULL,
  currency TEXT NOT NULL,
  price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
  interval_unit TEXT NOT NULL,
  interval_count INTEGER NOT NULL CHECK (interval_count > 0),
  proration TEXT NOT NULL CHECK (proration IN ('day', 'second', 'none')),
  owner INTEGER NOT NULL DEFAULT 0, -- the one customer of a custom plan; 0: everybody
  features TEXT NOT NULL DEFAULT '{}', -- JSON: booleans, numbers, texts
  created_at INTEGER NOT NULL,
  anchor_day INTEGER NOT NULL DEFAULT 0 CHECK (anchor_day BETWEEN 0 AND 31), -- of the month; 0: day of signup
  trial_days INTEGER NOT NULL DEFAULT 0 CHECK (trial_days >= 0),
  fee_timing TEXT NOT NULL DEFAULT 'arrears' CHECK (fee_timing IN ('arrears', 'advance')),
  per_seat INTEGER NOT NULL DEFAULT 0 CHECK (per_seat IN (0, 1)), -- 1: price_minor is for each seat
  UNIQUE (plan_id, version)
) STRICT""",
    """CREATE TABLE plan_limits (
  -- amount NULL: unlimited
  plan INTEGER NOT NULL REFERENCES plan_versions (id),
  meter INTEGER NOT NULL REFERENCES meters (id),
  period TEXT NOT NULL,
  amount INTEGER CHECK (amount >= 0),
  mode TEXT NOT NULL DEFAULT 'hard' CHECK (mode IN ('hard', 'soft')), -- soft: warns and lets pass
  threshold INTEGER CHECK (threshold BETWEEN 1 AND 100), -- percent from which a warning is given; NULL: as configured
  per_seat INTEGER NOT NULL DEFAULT 0 CHECK (per_seat IN (0, 1)), -- 1: amount is for each seat
  PRIMARY KEY (plan, meter, period)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE plan_prices (
  -- what usage costs
  plan INTEGER NOT NULL REFERENCES plan_versions (id),
  meter INTEGER NOT NULL REFERENCES meters (id),
  model TEXT NOT NULL, -- JSON of a price model
  unit TEXT NOT NULL, -- the priced unit's name: GB, hour, request
  allowance TEXT NOT NULL CHECK (allowance IN ('limit', 'none')), -- limit: usage up to the limit is included
  PRIMARY KEY (plan, meter)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE subscription_records (
  -- one row a subscription; the free default of a customer is one too
  id INTEGER PRIMARY KEY,
  subscription_id TEXT NOT NULL UNIQUE,
  customer INTEGER NOT NULL REFERENCES customers (id),
  status TEXT NOT NULL CHECK (status IN ('trialing', 'active', 'past_due', 'paused', 'canceled')),
  is_default INTEGER NOT NULL CHECK (is_default IN (0, 1)), -- free, by calendar month
  plan INTEGER NOT NULL REFERENCES plan_versions (id), -- the plan in force now
  anchor_day INTEGER NOT NULL, -- periods are computed from it; 0 for calendar months
  start_day INTEGER NOT NULL,
  end_day INTEGER NOT NULL DEFAULT 9223372036854775807,
  pending_plan INTEGER NOT NULL DEFAULT 0, -- plan_versions.id that comes into force on pending_day
  pending_day INTEGER NOT NULL DEFAULT 0,
  stripe_subscription_id TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  quantity INTEGER NOT NULL DEFAULT 1 CHECK (quantity > 0), -- seats
  interval_unit TEXT NOT NULL DEFAULT 'month', -- of its periods, for as long as it lasts
  interval_count INTEGER NOT NULL DEFAULT 1 CHECK (interval_count > 0),
  trial_end_day INTEGER NOT NULL DEFAULT 0, -- the first day that is paid for; 0: there was no trial
  paused_plan INTEGER NOT NULL DEFAULT 0, -- plan_versions.id to go on with; 0: not paused
  fee_timing TEXT NOT NULL DEFAULT 'arrears' CHECK (fee_timing IN ('arrears', 'advance')) -- for as long as it lasts
) STRICT""",
    "CREATE INDEX subscription_records_customer ON subscription_records (customer, start_day)",
    """CREATE TABLE subscription_phases (
  -- which plan was in force from which local day on
  subscription INTEGER NOT NULL REFERENCES subscription_records (id),
  start_day INTEGER NOT NULL,
  seq INTEGER NOT NULL, -- several changes on one day keep their order; the last one rates the day
  plan INTEGER NOT NULL REFERENCES plan_versions (id),
  reason TEXT NOT NULL,
  changed_at INTEGER NOT NULL,
  quantity INTEGER NOT NULL DEFAULT 1, -- seats
  PRIMARY KEY (subscription, start_day, seq)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE periods (
  -- billing periods, half-open, local midnights; made when something falls into them
  id INTEGER PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customers (id),
  subscription INTEGER NOT NULL REFERENCES subscription_records (id),
  start_day INTEGER NOT NULL,
  end_day INTEGER NOT NULL CHECK (end_day > start_day),
  start_at INTEGER NOT NULL,
  end_at INTEGER NOT NULL CHECK (end_at > start_at),
  late INTEGER NOT NULL DEFAULT 0, -- 1: usage comes after its invoice: it was finalised, or bills the fee in advance
  UNIQUE (customer, start_day)
) STRICT""",
    "CREATE INDEX periods_subscription ON periods (subscription)",
    "CREATE INDEX periods_late ON periods (customer, start_day) WHERE late = 1",
    """CREATE TABLE windows (
  -- a reset starts a counting window; nothing is deleted. Events of its period or day from then on count in it too
  id INTEGER PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customers (id),
  scope TEXT NOT NULL CHECK (scope IN ('usage_month', 'quota_period', 'quota_month', 'quota_day')),
  opened_at INTEGER NOT NULL,
  opened_seq INTEGER NOT NULL -- events.seq of the newest event then: what was recorded before does not count
) STRICT""",
    "CREATE INDEX windows_customer ON windows (customer, scope, opened_at)",
    """CREATE TABLE customer_limits (
  -- a customer's own limits; they stand before its plan's. amount NULL: unlimited
  customer INTEGER NOT NULL REFERENCES customers (id),
  meter INTEGER NOT NULL REFERENCES meters (id),
  period TEXT NOT NULL CHECK (period IN ('per_minute', 'per_hour', 'per_day', 'per_month', 'per_period', 'absolute')),
  amount INTEGER CHECK (amount >= 0),
  updated_at INTEGER NOT NULL,
  mode TEXT NOT NULL DEFAULT 'hard' CHECK (mode IN ('hard', 'soft')),
  threshold INTEGER CHECK (threshold BETWEEN 1 AND 100),
  PRIMARY KEY (customer, meter, period)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE default_limits (
  -- what holds where neither the customer nor its plan says anything
  meter INTEGER NOT NULL REFERENCES meters (id),
  period TEXT NOT NULL,
  amount INTEGER CHECK (amount >= 0),
  PRIMARY KEY (meter, period)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE effective_limits (
  -- the limits in force, written down when a customer, its plan or its own limits change; a check only compares
  customer INTEGER NOT NULL REFERENCES customers (id),
  meter INTEGER NOT NULL REFERENCES meters (id),
  period TEXT NOT NULL,
  amount INTEGER CHECK (amount >= 0),
  source TEXT NOT NULL CHECK (source IN ('customer', 'plan', 'default')),
  mode TEXT NOT NULL DEFAULT 'hard' CHECK (mode IN ('hard', 'soft')),
  threshold INTEGER, -- percent; NULL: as configured
  own_months INTEGER NOT NULL DEFAULT 0 CHECK (own_months IN (0, 1)), -- 1: billed by another interval than the month
  PRIMARY KEY (customer, meter, period)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE invoice_records (
  -- invoices; once finalised a row is never edited but for its payment and its voiding
  id INTEGER PRIMARY KEY,
  invoice_id TEXT NOT NULL UNIQUE,
  customer INTEGER NOT NULL REFERENCES customers (id),
  subscription INTEGER NOT NULL REFERENCES subscription_records (id),
  period INTEGER NOT NULL REFERENCES periods (id),
  reason TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('draft', 'open', 'part_paid', 'paid', 'void', 'uncollectible')),
  number TEXT NOT NULL DEFAULT '',
  currency TEXT NOT NULL,
  subtotal_minor INTEGER NOT NULL,
  discount_minor INTEGER NOT NULL DEFAULT 0 CHECK (discount_minor >= 0),
  tax_minor INTEGER NOT NULL,
  total_minor INTEGER NOT NULL,
  paid_minor INTEGER NOT NULL DEFAULT 0,
  start_day INTEGER NOT NULL,
  end_day INTEGER NOT NULL,
  start_at INTEGER NOT NULL,
  end_at INTEGER NOT NULL,
  through_seq INTEGER NOT NULL, -- events of the period up to this one are on it
  through_at INTEGER NOT NULL, -- levels of gauges are counted up to this instant
  seller TEXT NOT NULL DEFAULT '{}', -- as printed, from finalising on
  buyer TEXT NOT NULL DEFAULT '{}',
  notes TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  finalized_at INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER NOT NULL DEFAULT 0,
  credited_minor INTEGER NOT NULL DEFAULT 0 CHECK (credited_minor >= 0), -- by credit notes, tax and all
  applied_minor INTEGER NOT NULL DEFAULT 0, -- from the customer's balance; below 0: to it, by a total below 0
  CHECK (total_minor = subtotal_minor - discount_minor + tax_minor),
  CHECK ((status = 'draft') = (number = '')),
  CHECK (credited_minor <= max(total_minor, 0))
) STRICT""",
    """CREATE UNIQUE INDEX invoice_records_once ON invoice_records (subscription, period, reason)
  WHERE status <> 'void'""",
    "CREATE UNIQUE INDEX invoice_records_number ON invoice_records (number) WHERE number <> ''",
    "CREATE INDEX invoice_records_customer ON invoice_records (customer, created_at)",
    """CREATE TABLE invoice_lines (
  invoice INTEGER NOT NULL REFERENCES invoice_records (id),
  position INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('fee', 'fee_change', 'usage', 'late_usage', 'manual')),
  description TEXT NOT NULL,
  detail TEXT NOT NULL DEFAULT '',
  meter INTEGER NOT NULL DEFAULT 0, -- meters.id of a usage line
  period INTEGER NOT NULL, -- periods.id of what is billed
  plan INTEGER NOT NULL REFERENCES plan_versions (id),
  start_day INTEGER NOT NULL,
  end_day INTEGER NOT NULL,
  usage TEXT NOT NULL DEFAULT '', -- exact quantity measured, base units, a fraction where it is one
  included TEXT NOT NULL DEFAULT '', -- exact allowance, base units
  quantity TEXT NOT NULL, -- what is charged, in price units
  unit TEXT NOT NULL DEFAULT '',
  unit_price TEXT NOT NULL,
  amount_minor INTEGER NOT NULL, -- rounded once, half away from zero
  discount_minor INTEGER NOT NULL DEFAULT 0, -- its share of the invoice's discounts
  seats INTEGER NOT NULL DEFAULT 0, -- of a plan that is sold by the seat
  PRIMARY KEY (invoice, position)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE manual_lines (
  -- lines that somebody wrote onto a draft
  id INTEGER PRIMARY KEY,
  invoice INTEGER NOT NULL REFERENCES invoice_records (id),
  description TEXT NOT NULL,
  quantity TEXT NOT NULL,
  unit_price TEXT NOT NULL,
  amount_minor INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT""",
    "CREATE INDEX manual_lines_invoice ON manual_lines (invoice)",
    """CREATE TABLE discount_codes (
  id INTEGER PRIMARY KEY,
  code TEXT NOT NULL UNIQUE, -- in capitals
  definition TEXT NOT NULL, -- JSON
  created_at INTEGER NOT NULL
) STRICT""",
    """CREATE TABLE redemptions (
  -- who has taken a code: it counts from then on for as many invoices as it says
  id INTEGER PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customers (id),
  discount INTEGER NOT NULL REFERENCES discount_codes (id),
  invoice INTEGER NOT NULL REFERENCES invoice_records (id), -- where it was taken
  created_at INTEGER NOT NULL,
  UNIQUE (discount, customer, invoice)
) STRICT""",
    "CREATE INDEX redemptions_customer ON redemptions (customer)",
    """CREATE TABLE invoice_discounts (
  -- in the order in which they count; definition as it was when it was applied
  invoice INTEGER NOT NULL REFERENCES invoice_records (id),
  position INTEGER NOT NULL,
  discount INTEGER NOT NULL DEFAULT 0, -- discount_codes.id; 0: a percentage given by hand
  label TEXT NOT NULL,
  definition TEXT NOT NULL,
  amount_minor INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (invoice, position)
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX invoice_lines_period ON invoice_lines (period)",
    """CREATE TABLE invoice_taxes (
  -- one row a rate: rounded on the sum of its lines
  invoice INTEGER NOT NULL REFERENCES invoice_records (id),
  position INTEGER NOT NULL,
  label TEXT NOT NULL,
  rate TEXT NOT NULL, -- percent
  category TEXT NOT NULL, -- UNCL 5305
  reason TEXT NOT NULL,
  taxable_minor INTEGER NOT NULL,
  tax_minor INTEGER NOT NULL,
  inclusive INTEGER NOT NULL DEFAULT 0 CHECK (inclusive IN (0, 1)), -- 1: the lines contain it
  note TEXT NOT NULL DEFAULT '', -- printed on the invoice
  PRIMARY KEY (invoice, position)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE tax_rates (
  -- rates by place and kind of product, or of one customer; where none applies BILLING_TAX_RATE does
  id INTEGER PRIMARY KEY,
  label TEXT NOT NULL,
  percent TEXT NOT NULL,
  category TEXT NOT NULL, -- UNCL 5305
  country TEXT NOT NULL, -- ISO 3166-1; empty: everywhere that has no rate of its own
  region TEXT NOT NULL,
  inclusive INTEGER NOT NULL CHECK (inclusive IN (0, 1)),
  replaces INTEGER NOT NULL CHECK (replaces IN (0, 1)), -- instead of the country's rates, not on top
  note TEXT NOT NULL,
  customer INTEGER NOT NULL DEFAULT 0, -- customers.id that it is for; 0: everybody
  created_at INTEGER NOT NULL,
  UNIQUE (label, country, region, customer)
) STRICT""",
    """CREATE TABLE number_series (
  -- the last number given in a series and year; advanced only in the commit that finalises
  series TEXT NOT NULL,
  year INTEGER NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (series, year)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE payments (
  id INTEGER PRIMARY KEY,
  invoice INTEGER NOT NULL REFERENCES invoice_records (id),
  amount_minor INTEGER NOT NULL,
  currency TEXT NOT NULL,
  method TEXT NOT NULL,
  paid_at INTEGER NOT NULL
) STRICT""",
    "CREATE INDEX payments_invoice ON payments (invoice)",
    """CREATE TABLE credit_notes (
  -- what is taken back of an issued invoice; never edited, never more than the invoice
  id INTEGER PRIMARY KEY,
  credit_note_id TEXT NOT NULL UNIQUE,
  invoice INTEGER NOT NULL REFERENCES invoice_records (id),
  number TEXT NOT NULL UNIQUE,
  reason TEXT NOT NULL,
  net_minor INTEGER NOT NULL CHECK (net_minor >= 0),
  tax_minor INTEGER NOT NULL CHECK (tax_minor >= 0),
  total_minor INTEGER NOT NULL CHECK (total_minor = net_minor + tax_minor),
  to_balance_minor INTEGER NOT NULL CHECK (to_balance_minor >= 0), -- had been paid: for the next invoice
  refund_minor INTEGER NOT NULL CHECK (refund_minor >= 0), -- had been paid: given back
  refund_method TEXT NOT NULL DEFAULT '',
  issued_at INTEGER NOT NULL
) STRICT""",
    "CREATE INDEX credit_notes_invoice ON credit_notes (invoice)",
    """CREATE TABLE credit_note_lines (
  credit_note INTEGER NOT NULL REFERENCES credit_notes (id),
  position INTEGER NOT NULL, -- of the invoice's line
  description TEXT NOT NULL,
  amount_minor INTEGER NOT NULL CHECK (amount_minor > 0), -- as the line has it: with tax where prices contain it
  PRIMARY KEY (credit_note, position)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE balance_movements (
  -- what a customer has to its credit, in movements; the sum a currency is never below zero
  id INTEGER PRIMARY KEY,
  customer INTEGER NOT NULL REFERENCES customers (id),
  currency TEXT NOT NULL,
  amount_minor INTEGER NOT NULL,
  reason TEXT NOT NULL,
  invoice INTEGER NOT NULL DEFAULT 0, -- invoice_records.id that it was applied to
  credit_note INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL
) STRICT""",
    "CREATE INDEX balance_movements_customer ON balance_movements (customer, currency)",
    """CREATE TABLE currencies (
  -- ISO 4217 exponents, for the views
  code TEXT PRIMARY KEY,
  exponent INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE audit (
  -- who changed limits, plans and money, and when; append-only
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT""",
    "CREATE INDEX audit_subject ON audit (subject, seq)",
)


def create(db: sqlite3.Connection) -> None:
    """Tables, views, and the seed's meters, default limits and plans."""
    for statement in (
        *TABLES,
        *imports.SCHEMA,
        *outbox.SCHEMA,
        *alerts.SCHEMA,
        *stripe_offline.SCHEMA,
        *stripe_events.SCHEMA,
        *stripe_links.SCHEMA,
        *VIEWS,
        *guards(),
    ):
        db.execute(statement)
    insert_seed(db, time.time_ns() // 1000)
