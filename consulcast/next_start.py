"""What a running daemon cannot change: another value in the file counts from the next start."""

from __future__ import annotations

import logging

from consulcast.config import Config
from consulcast.values import replace

log = logging.getLogger(__name__)

_OF_AGENT = ("run_dir", "state_dir", "owner_mark", "vip_device", "drain_time")
_OF_BGP = ("lease", "graceful_restart")
_OF_API = "agent.listen_addr, api.listen, api.socket_group and api.limits.connections"
_EXTRA = {"reason": "next-start"}


def keep(former: Config, config: Config) -> Config:
    """Carry over what runs, and log what of the new file waits."""
    for key in _OF_AGENT:
        running = getattr(former.agent, key)
        if getattr(config.agent, key) != running:
            log.warning("reload: agent.%s counts from the next start; %s stays in force", key, running, extra=_EXTRA)
    for key in _OF_BGP:
        if getattr(config, key) != getattr(former, key):
            log.warning("reload: bgp.%s counts from the next start", key, extra=_EXTRA)
    if config.nat != former.nat:
        log.warning("reload: nat counts from the next start", extra=_EXTRA)
    if config.api.waits(former.api):
        log.warning("reload: %s count from the next start", _OF_API, extra=_EXTRA)
    return kept(former, config)


def kept(former: Config, config: Config) -> Config:
    """Carry over what runs."""
    for key in _OF_AGENT:
        setattr(config.agent, key, getattr(former.agent, key))
    return replace(config, api=config.api.keeping(former.api))


def waiting(former: Config, config: Config) -> list[str]:
    """The keys whose other values wait for the next start."""
    keys = [f"agent.{key}" for key in _OF_AGENT if getattr(config.agent, key) != getattr(former.agent, key)]
    keys += [f"bgp.{key}" for key in _OF_BGP if getattr(config, key) != getattr(former, key)]
    keys += ["nat"] if config.nat != former.nat else []
    return keys + (["where the endpoint listens"] if config.api.waits(former.api) else [])
