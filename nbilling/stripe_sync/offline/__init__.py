"""An offline Stripe: an HTTP transport below the official library, with Stripe's rules, its state in the ledger."""
