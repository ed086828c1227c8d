# consulcast on every client of a Nomad cluster: `nomad job run deploy/consulcast.nomad.hcl`. docs/container.md
#
# The clients' configuration has to allow the capability, which Docker would not give unasked:
#   plugin "docker" { config { allow_caps = ["net_admin"] } }
job "consulcast" {
  datacenters = ["dc1"]
  type        = "system"

  # one host at a time, and the next one when this one is well
  update {
    max_parallel     = 1
    min_healthy_time = "30s"
  }

  group "consulcast" {
    network {
      mode = "host"
    }

    # it is started again for ever: an announcer that has given up is of no use to anybody
    restart {
      attempts = 10
      interval = "5m"
      delay    = "5s"
      mode     = "delay"
    }

    task "consulcast" {
      driver = "docker"

      config {
        image           = "consulcast:latest"
        network_mode    = "host"
        cap_drop        = ["all"]
        cap_add         = ["net_admin"]
        security_opt    = ["no-new-privileges"]
        readonly_rootfs = true
        args            = ["run", "--config", "/local/consulcast.yaml"]

        mount {
          type   = "tmpfs"
          target = "/run"
        }

        mount {
          type   = "tmpfs"
          target = "/tmp"
        }

        mount {
          type   = "bind"
          source = "/var/lib/consulcast"
          target = "/var/lib/consulcast"
        }
      }

      # The host's agent registers Nomad's client under this name, unless it was told another one.
      env {
        CONSUL_NODE = "${node.unique.name}"
      }

      template {
        destination   = "local/consulcast.yaml"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<EOF
bgp:
  local_as: 64512
  peer_as: 64513
EOF
      }

      # it withdraws, waits for drain_time, and removes what it put on the host
      kill_signal  = "SIGTERM"
      kill_timeout = "60s"

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
