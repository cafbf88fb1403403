"""Stripe: keys, the gateway on the official library, and an offline Stripe below that library."""
