"""Health checks: each turns what it sees into verdicts, and knows nothing of BGP or of the host's addresses."""
