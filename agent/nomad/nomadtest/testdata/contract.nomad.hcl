# The job the contract registers: two groups that need nothing but raw_exec.
variable "command" {
  type    = string
  default = "/bin/sleep"
}

variable "memory" {
  type    = number
  default = 16
}

job "contract" {
  update {
    health_check     = "task_states"
    min_healthy_time = "200ms"
  }

  group "web" {
    count = 2

    scaling {
      enabled = true
      min     = 1
      max     = 4
    }

    restart {
      attempts = 0
      mode     = "fail"
    }

    task "server" {
      driver       = "raw_exec"
      kill_timeout = "100ms"

      config {
        command = var.command
        args    = ["1000"]
      }

      resources {
        cpu    = 10
        memory = var.memory
      }
    }
  }

  group "worker" {
    count = 1

    task "mailer" {
      driver       = "raw_exec"
      kill_timeout = "100ms"

      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }

      resources {
        cpu    = 10
        memory = 16
      }
    }
  }
}
