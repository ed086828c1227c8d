"""What acts on the host and on its routers; knows nothing of Consul or of health."""
