"""What leaves the machine: mail by SMTP, signed webhooks, and lines of a log. Values in, outcomes out."""
