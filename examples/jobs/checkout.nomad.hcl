# An ordinary jobspec: it says nothing of colours, and runs without Teal too:
#   nomad job run -var app=/path/to/app examples/jobs/checkout.nomad.hcl

variable "version" {
  type    = string
  default = "1.0.0"
}

variable "count" {
  type    = number
  default = 2
}

variable "app" {
  type        = string
  description = "Path to the binary built from examples/app."
}

variable "fault" {
  type        = string
  description = "Misbehaviour to show a rollback with, such as errors:0.3; see examples/app/fault.go."
  default     = ""
}

variable "fault_after" {
  type        = number
  description = "Requests to answer well before the fault begins."
  default     = 0
}

job "checkout" {
  type = "service"

  update {
    min_healthy_time  = "1s"
    healthy_deadline  = "1m"
    progress_deadline = "2m"
  }

  group "checkout" {
    count = var.count

    # Leave Consul first, and stop once requests in flight are done.
    shutdown_delay = "2s"

    network {
      mode = "host"
      port "http" {}
    }

    service {
      name = "checkout"
      port = "http"

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

    restart {
      attempts = 2
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    task "checkout" {
      driver = "raw_exec"

      config {
        command = var.app
      }

      env {
        APP_VERSION          = var.version
        FAULT                = var.fault
        FAULT_AFTER_REQUESTS = var.fault_after
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
