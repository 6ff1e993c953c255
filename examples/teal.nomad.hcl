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
# it. Where Nomad's ACLs are on, give the agents a token; where Consul's are, a
# binding rule. Both are in docs/acl.md:
#
#   nomad var put nomad/jobs/teal token=$TOKEN
#   nomad job run -var acl=true -var folder=examples examples/teal.nomad.hcl

variable "teal" {
  type        = string
  description = "Path of the teal binary on the nodes."
  default     = "/usr/local/bin/teal"
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

variable "acl" {
  type        = bool
  description = "Nomad's ACLs are on: the agents' token is in the variable nomad/jobs/teal."
  default     = false
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
      driver       = "raw_exec" # docs/operations.md has why
      kill_timeout = "20s"

      config {
        command = var.teal
        args    = ["agent", "-config", "local/config.hcl"]
      }

      # The workload's own token, for Nomad's socket, which wants one even where
      # ACLs are off, and for the variable below.
      identity {
        file = true
      }

      # Where Consul's ACLs are on, a token for this workload, in
      # CONSUL_HTTP_TOKEN. Where they are off, nothing.
      consul {}

      # Where Nomad's ACLs are on, an identity is not enough: Nomad plans for ACL
      # tokens only. The agent reads the file again when it changes.
      dynamic "template" {
        for_each = var.acl ? ["token"] : []
        content {
          destination = "secrets/acl_token"
          change_mode = "noop"
          data        = "{{ with nomadVar \"nomad/jobs/teal\" }}{{ .token }}{{ end }}"
        }
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
            address = "${var.consul}"
          }

          nomad {
            address    = "unix://{{ env "NOMAD_SECRETS_DIR" }}/api.sock"
            token_file = "{{ env "NOMAD_SECRETS_DIR" }}/${var.acl ? "acl_token" : "nomad_token"}"
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
