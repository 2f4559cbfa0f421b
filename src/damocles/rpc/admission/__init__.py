"""Who may do what: scopes, tokens, leases, and the audit of what was done."""
