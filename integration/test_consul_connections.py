"""Every way to reach the real Consul: TCP, a unix socket, TLS with certificates on both sides."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from integration.consul_watcher import Watcher
from integration.lab import ConsulAgent, Host, Lab
from integration.lab.consul import ttl_check

TAGS = ["enable_gocast", "gocast_vip=203.0.113.10/32", "gocast_monitor=consul"]
PROXIES = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "all_proxy": "http://127.0.0.1:1"}


def registering_and_leaving_are_seen(consul: ConsulAgent, watcher: Watcher) -> None:
    watcher.synced()
    consul.register("dns", TAGS, check=ttl_check())
    watcher.until(lambda state: state.health == {"dns": "passing"})
    consul.deregister("dns")
    watcher.synced()


def test_neither_proxies_nor_another_address_in_the_environment_lead_astray(host: Host) -> None:
    consul = ConsulAgent(host)
    environ = {**PROXIES, "CONSUL_HTTP_ADDR": "192.0.2.1:1", "CONSUL_HTTP_SSL": "true"}
    watcher = Watcher(consul, settings={"address": f"http://{consul.address}"}, env=environ)
    registering_and_leaving_are_seen(consul, watcher)


def test_the_address_of_the_environment_is_used_where_the_file_has_none(host: Host) -> None:
    consul = ConsulAgent(host, port=8600)
    watcher = Watcher(consul, settings={"address": ""}, env={"CONSUL_HTTP_ADDR": "127.0.0.1:8600"})
    registering_and_leaving_are_seen(consul, watcher)


def test_a_unix_socket(lab: Lab, host: Host) -> None:
    path = lab.dir / "consul.sock"
    consul = ConsulAgent(host, config={"addresses": {"http": f"127.0.0.1 unix://{path}"}})
    registering_and_leaving_are_seen(consul, Watcher(consul, settings={"address": f"unix://{path}"}))


@pytest.fixture
def certificates(lab: Lab) -> Path:
    """A CA of its own, a certificate of the server and one of the client, made by Consul itself."""
    for command in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-cli"]):
        subprocess.run(["consul", "tls", *command], cwd=lab.dir, check=True, capture_output=True, timeout=30)
    return lab.dir


def test_tls_with_certificates_on_both_sides(host: Host, certificates: Path) -> None:
    files = {
        "ca_file": f"{certificates}/consul-agent-ca.pem",
        "cert_file": f"{certificates}/dc1-server-consul-0.pem",
        "key_file": f"{certificates}/dc1-server-consul-0-key.pem",
    }
    consul = ConsulAgent(host, config={"ports": {"http": 8500, "https": 8501}, "verify_incoming_https": True, **files})
    ours = {
        "address": "https://127.0.0.1:8501",
        "ca_file": files["ca_file"],
        "cert_file": f"{certificates}/dc1-cli-consul-0.pem",
        "key_file": f"{certificates}/dc1-cli-consul-0-key.pem",
    }
    registering_and_leaving_are_seen(consul, Watcher(consul, settings=ours))

    untrusting = Watcher(consul, settings={**ours, "ca_file": ""})
    untrusting.until(lambda state: "check the CA" in state.stale and not state.synced)
    unknown = Watcher(consul, settings={**ours, "cert_file": "", "key_file": ""})
    unknown.until(lambda state: "check the CA and our certificate" in state.stale and not state.synced)
    missing = Watcher(consul, settings={**ours, "ca_file": "/nowhere/ca.pem"})
    missing.until(lambda state: "/nowhere/ca.pem" in state.stale and not state.synced)
    registering_and_leaving_are_seen(consul, Watcher(consul, settings={**ours, "ca_file": "", "verify": False}))
