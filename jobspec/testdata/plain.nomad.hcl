# Services outside the mesh: nothing here can be routed.
job "plain" {
  group "web" {
    network {
      port "http" {}
    }

    service {
      name = "plain-web"
      port = "http"
    }

    service {
      name     = "plain-nomad"
      provider = "nomad"
      port     = "http"
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "/bin/true"
      }
    }
  }
}
