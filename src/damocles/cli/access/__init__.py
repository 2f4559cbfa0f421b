"""Commands about tokens, certificates and the audit, of both programs."""
