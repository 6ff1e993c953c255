# An ingress gateway beside the routed service, a fixed port and a volume that
# only one allocation may write.
job "edge" {
  group "gateway" {
    network {
      mode = "bridge"
      port "in" {
        static = 8080
        to     = 8080
      }
    }

    service {
      name = "edge-gateway"
      port = "8080"

      connect {
        gateway {
          ingress {
            listener {
              port     = 8080
              protocol = "http"
              service {
                name  = "edge"
                hosts = ["*"]
              }
            }
          }
        }
      }
    }
  }

  group "app" {
    network {
      mode = "bridge"
    }

    service {
      name = "edge"
      port = "9000"

      connect {
        sidecar_service {}
      }
    }

    task "server" {
      driver = "docker"

      config {
        image = "edge/app:1"
      }
    }
  }
}
