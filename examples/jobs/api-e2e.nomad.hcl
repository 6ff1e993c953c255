# A test for a gate "nomad-job": an ordinary batch job that asks each instance of
# the candidate something. Teal registers it under an ID of its own, with
# TEAL_ADDRESSES, TEAL_VERSION and others in its environment.

variable "script" {
  type        = string
  description = "What is run for each address; a line of shell."
  default     = "curl --fail --silent --show-error --max-time 5 http://$address/version"
}

job "api-e2e" {
  type = "batch"

  group "suite" {
    # A test that failed has failed: how often it is run is the gate's to say.
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "suite" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-ec", "for address in $(echo $TEAL_ADDRESSES | tr , ' '); do ${var.script}; done"]
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
