# A service with one Connect-native group and nothing else out of the ordinary.
variable "version" {
  type    = string
  default = "1.0.0"
}

job "api" {
  datacenters = ["dc1"]

  meta {
    team = "shop"
  }

  update {
    max_parallel     = 2
    min_healthy_time = "1s"
  }

  group "web" {
    count = 3

    network {
      mode = "host"
      port "http" {}
    }

    service {
      name = "api"
      port = "http"
      tags = ["v${var.version}"]

      meta {
        version = var.version
      }

      connect {
        native = true
      }

      check {
        type     = "http"
        path     = "/health"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "/usr/local/bin/api"
        args    = ["-listen", "127.0.0.1:${NOMAD_PORT_http}"]
      }

      env {
        LOG_LEVEL = "info"
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
