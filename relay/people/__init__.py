"""Several people on one relay: tenants and their settings, members, what is shared with strangers, and what is forgotten."""
