"""consulcast announces the VIPs of healthy Consul services over BGP, and withdraws them when they fail."""

__version__ = "0.1.0"
