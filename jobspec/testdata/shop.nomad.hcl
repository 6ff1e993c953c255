# Several groups and services: sidecars with upstreams, a task service, a plain
# service, a worker without a service, scaling, volumes, templates and Vault.
job "shop" {
  namespace   = "default"
  region      = "global"
  datacenters = ["dc1", "dc2"]
  node_pool   = "all"
  priority    = 70

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  spread {
    attribute = "${node.datacenter}"
  }

  group "front" {
    count = 4

    scaling {
      enabled = true
      min     = 2
      max     = 10

      policy {
        cooldown = "1m"
      }
    }

    update {
      canary       = 4
      auto_promote = true
      auto_revert  = true
    }

    network {
      mode = "bridge"
      port "metrics" {
        to = 9100
      }
    }

    service {
      name = "${JOB}-front"
      port = "8080"

      connect {
        sidecar_service {
          meta {
            owner = "shop"
          }

          proxy {
            upstreams {
              destination_name = "${NOMAD_JOB_ID}-stock"
              local_bind_port  = 9001
            }
            config {
              protocol = "http"
            }
          }
        }
      }

      canary_meta {
        canary = "yes"
      }
    }

    service {
      name = "${NOMAD_JOB_ID}-metrics"
      port = "metrics"
      tags = ["metrics"]
    }

    volume "assets" {
      type      = "host"
      source    = "assets"
      read_only = true
    }

    task "server" {
      driver = "docker"

      config {
        image = "shop/front:2.1"
        ports = ["metrics"]
      }

      volume_mount {
        volume      = "assets"
        destination = "/assets"
      }

      service {
        name = "${BASE}-admin"
        port = "metrics"

        check {
          type     = "tcp"
          port     = "metrics"
          interval = "10s"
          timeout  = "2s"
        }
      }

      template {
        data        = <<EOF
{{ with nomadVar "nomad/jobs/shop" }}KEY={{ .key }}{{ end }}
EOF
        destination = "secrets/env"
        env         = true
      }

      vault {
        role = "shop"
      }
    }

    task "log-shipper" {
      driver = "docker"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        image = "shop/logs:1"
      }
    }
  }

  group "stock" {
    count = 2

    network {
      mode = "bridge"
    }

    service {
      name = "${NOMAD_JOB_ID}-stock"
      port = "9000"

      connect {
        sidecar_service {}
      }
    }

    disconnect {
      lost_after = "6h"
    }

    task "server" {
      driver = "docker"

      config {
        image = "shop/stock:2.1"
      }
    }
  }

  group "worker" {
    count = 1

    task "mailer" {
      driver = "docker"

      config {
        image = "shop/mailer:2.1"
      }

      env {
        ENVIRONMENT_NAME = "production"
      }
    }
  }
}
