# A Connect-native service that writes to volumes.
job "stateful" {
  group "db" {
    network {
      mode = "host"
      port "sql" {
        static = 5432
      }
    }

    service {
      name = "stateful"
      port = "sql"

      connect {
        native = true
      }
    }

    volume "data" {
      type            = "csi"
      source          = "pgdata"
      access_mode     = "single-node-writer"
      attachment_mode = "file-system"
    }

    volume "scratch" {
      type   = "host"
      source = "scratch"
    }

    task "server" {
      driver = "raw_exec"

      config {
        command = "/bin/true"
      }
    }
  }
}
