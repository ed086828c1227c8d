"""Greenlets need a patched standard library before anything else is imported."""

from gevent import monkey

monkey.patch_all()
