# A service that answers requests and also processes background jobs. Its
# worker asks Consul which colour may process them.

variable "version" {
  type    = string
  default = "1.0.0"
}

variable "app" {
  type        = string
  description = "Path to the binary built from examples/app."
}

job "reports" {
  type = "service"

  update {
    min_healthy_time  = "1s"
    healthy_deadline  = "1m"
    progress_deadline = "2m"
  }

  group "reports" {
    shutdown_delay = "2s"

    network {
      mode = "host"
      port "http" {}
    }

    service {
      name = "reports"
      port = "http"
      task = "web" # of several tasks, the one that speaks Connect

      connect {
        native = true
      }

      check {
        type     = "http"
        path     = "/health"
        interval = "1s"
        timeout  = "1s"
      }
    }

    task "web" {
      driver = "raw_exec"

      config {
        command = var.app
      }

      env {
        APP_VERSION = var.version
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }

    task "worker" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["${NOMAD_TASK_DIR}/worker.sh"]
      }

      template {
        destination = "local/worker.sh"
        data        = <<-EOF
          while true; do
            if [ "$(consul kv get teal/services/reports/job-processor-leader)" = "$ENVIRONMENT_NAME" ]; then
              echo "$ENVIRONMENT_NAME processes one job"
            fi
            sleep 1
          done
        EOF
      }

      resources {
        cpu    = 20
        memory = 32
      }
    }
  }
}
