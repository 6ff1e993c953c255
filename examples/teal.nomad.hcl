# Teal itself as a Nomad system job: one agent on every node, of which one
# leads. It talks to Nomad through the Task API's socket with its workload
# identity, so it holds no token of its own, and registers itself in Consul.
#
#   nomad job run -var folder=examples examples/teal.nomad.hcl
#
# policies/ and jobs/ of that folder are delivered with the job, and what
# changes in them by running the job again. Where something else keeps a
# directory on the nodes up to date, name that instead; it is followed:
#
#   nomad job run -var policies=/etc/teal/policies examples/teal.nomad.hcl
#
# The binary is expected on the nodes; an artifact block in the task may fetch
# it. With ACLs the job needs one policy in Nomad and one in Consul: docs/acl.md.

variable "teal" {
  type        = string
  description = "Path of the teal binary on the nodes."
  default     = "/usr/local/bin/teal"
}

variable "driver" {
  type        = string
  description = "exec, or raw_exec where a directory of the node is to be read."
  default     = "raw_exec"
}

variable "folder" {
  type        = string
  description = "Folder whose policies/ and jobs/ are delivered; relative to where nomad is run."
  default     = "."
}

variable "policies" {
  type        = string
  description = "Directory of policies on the nodes, read and followed instead of what is delivered."
  default     = ""
}

variable "consul" {
  type        = string
  description = "Address of the node's own Consul agent."
  default     = "127.0.0.1:8500"
}

variable "prefix" {
  type        = string
  description = "Prefix of Teal's keys in Consul KV."
  default     = "teal/"
}

variable "port" {
  type        = number
  description = "Port of /v1/health, /v1/metrics and /v1/status."
  default     = 4680
}

variable "env" {
  type        = map(string)
  description = "What the policies' env(...) is to find."
  default     = {}
}

job "teal" {
  type     = "system"
  priority = 80 # gives way to little, and makes room for itself

  # One agent at a time: a leader that is stopped hands over at once.
  update {
    max_parallel      = 1
    min_healthy_time  = "5s"
    healthy_deadline  = "1m"
    progress_deadline = "10m"
  }

  group "teal" {
    network {
      mode = "host"
      port "http" {
        static = var.port
      }
    }

    # Never give up: whatever is missing now may be there later.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "5s"
      mode     = "delay"
    }

    task "teal" {
      driver       = var.driver
      kill_timeout = "20s"

      config {
        command = var.teal
        args    = ["agent", "-config", "local/config.hcl"]
      }

      # The workload's own token as a file, secrets/nomad_token, which the agent
      # reads again when it changes. The socket wants it even where ACLs are off.
      identity {
        file = true
      }

      template {
        destination = "local/config.hcl"
        change_mode = "noop" # the agent follows its files
        data        = <<-EOF
          name     = "{{ env "node.unique.name" }}"
          policies = "${var.policies == "" ? "policies" : var.policies}"
          prefix   = "${var.prefix}"

          http {
            address = "{{ env "NOMAD_ADDR_http" }}"
          }

          consul {
            address = "${var.consul}" # and CONSUL_HTTP_TOKEN
          }

          nomad {
            address    = "unix://{{ env "NOMAD_SECRETS_DIR" }}/api.sock"
            token_file = "{{ env "NOMAD_SECRETS_DIR" }}/nomad_token"
          }
        EOF
      }

      # Jobspecs have templates of their own, which are not this job's to
      # render: hence other delimiters.
      dynamic "template" {
        for_each = var.policies == "" ? fileset(var.folder, "{policies,jobs}/*.hcl") : []
        content {
          destination     = "local/${template.value}"
          data            = file("${var.folder}/${template.value}")
          left_delimiter  = "[[[teal"
          right_delimiter = "teal]]]"
          change_mode     = "noop"
        }
      }

      env = var.env

      resources {
        cpu    = 100
        memory = 256
      }
    }
  }
}
