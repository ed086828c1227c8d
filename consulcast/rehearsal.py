"""What a daemon with a file would do, without one: from one answer of Consul's and one look at the kernel."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

from msgspec import Struct, field

from consulcast import tags
from consulcast.config import Config, consul_settings
from consulcast.consul import location
from consulcast.consul.client import Client
from consulcast.consul.errors import Garbage
from consulcast.consul.join import PATIENCE, Join
from consulcast.consul.view import wrong_node
from consulcast.executor.kernel import Kernel
from consulcast.executor.network import look
from consulcast.model import App, IPAddress, MonitorSpec, Refused, Source, Verdict, VerdictKey
from consulcast.outlook import Outlook, Scene, steps
from consulcast.planner import plan
from consulcast.policy import Policy
from consulcast.registry import Registry
from consulcast.values import replace

_CONSUL = MonitorSpec("consul")
_NOT_RUN = "monitors other than consul are not run: what they would say is not known"
_NO_HTTP = "apps over HTTP and drains, which a daemon keeps, are not looked for"


class _Said(Struct, frozen=True):
    """What Consul says of the node, once."""

    apps: tuple[App, ...] = ()
    refused: tuple[Refused, ...] = ()
    verdicts: Mapping[VerdictKey, Verdict] = field(default_factory=dict)


def rehearse(config: Config, environ: Mapping[str, str], kernel: Kernel | None = None) -> Outlook:
    """Tell what would be announced. Raises ``ConsulError``, ``BadSetting``, ``KernelError``."""
    network = look(config.peers, config.router_id, kernel or Kernel(), config.agent.vip_device)
    unknown = [*network.gaps, _NO_HTTP]
    node = environ.get("CONSUL_NODE") or config.consul.node
    said = _Said()
    of_consul: frozenset[IPAddress] = frozenset()
    if node:
        of_consul = location.addresses(consul_settings(config.consul, environ)) or frozenset()
        said = _ask(config, environ, node)
    else:
        unknown.append("no CONSUL_NODE in the environment and no consul.node in the file: Consul is not asked")
    nat = frozenset(address.version for address in network.nat_to)
    registry = Registry(Policy(network.reserved | of_consul, bool(node), nat, config.rules))
    registry.set(Source.CONFIG, config.apps)
    registered = registry.set(Source.CONSUL, said.apps, said.refused)
    if any(monitor != _CONSUL for app in registered.apps for monitor in app.monitors):
        unknown.append(_NOT_RUN)
    defaults = replace(config.defaults, nat_to=network.nat_to)
    planned = plan(registered.apps, said.verdicts, defaults, time.monotonic())
    return Outlook(steps(Scene(), Scene(registered, planned, network.peers)), tuple(unknown))


def _ask(config: Config, environ: Mapping[str, str], node: str) -> _Said:
    client = Client(consul_settings(config.consul, environ))
    try:
        catalog, health = client.catalog_node(node), client.health_node(node)
    finally:
        client.close()
    against = wrong_node(catalog.data, node)
    if against or catalog.data is None:
        raise Garbage(against)
    join = Join(partial(tags.parse, prefix=config.agent.tag_prefix), config.consul.warning)
    by_name = [app for app in config.apps if _CONSUL in app.monitors]
    join.names = frozenset(app.name for app in by_name)
    services, checks = catalog.data.services or {}, {check.id: check for check in health.data or ()}
    now = time.monotonic()
    join(services, checks, now - PATIENCE)  # what has no check by now is not waited for
    apps, refused, verdicts = join(services, checks, now)
    named = {VerdictKey(app.key, _CONSUL): join.by_name[app.name] for app in by_name}
    return _Said(apps, refused, {**verdicts, **named})
