"""Real Consul, real routers, the real kernel. Needs root."""
