# Teal itself as a Nomad system job: one agent on every node, of which one
# leads. It talks to Nomad through the Task API's socket, registers itself in
# Consul, and holds no token: it shows its workload identity.
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
# it. Where Consul's or Nomad's ACLs are on, the agents log in at an auth method
# of each by an identity that Nomad renews; docs/acl.md has how to make them:
#
#   nomad job run -var consul_auth=teal -var nomad_auth=teal -var folder=examples examples/teal.nomad.hcl

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

variable "consul_auth" {
  type        = string
  description = "Consul's ACLs are on: the auth method at which the agents log in."
  default     = ""
}

variable "nomad_auth" {
  type        = string
  description = "Nomad's ACLs are on: the auth method at which the agents log in."
  default     = ""
}

variable "identity_ttl" {
  type        = string
  description = "How long an identity to log in by is good. Nomad renews it after half of that."
  default     = "1h"
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
      # ACLs are off.
      identity {
        file = true
      }

      # Where ACLs are on, what the agent logs in by, one each, so that neither
      # server can be shown what is meant for the other. Nomad writes it anew into
      # secrets/nomad_<name>.jwt before it ends, and the agent reads it at each login.
      dynamic "identity" {
        for_each = var.consul_auth == "" ? [] : ["consul.io"]
        content {
          name        = "teal_consul"
          aud         = [identity.value]
          ttl         = var.identity_ttl
          file        = true
          change_mode = "noop"
        }
      }

      dynamic "identity" {
        for_each = var.nomad_auth == "" ? [] : ["nomadproject.io"]
        content {
          name        = "teal_nomad"
          aud         = [identity.value]
          ttl         = var.identity_ttl
          file        = true
          change_mode = "noop"
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
            address     = "${var.consul}"
            auth_method = "${var.consul_auth}"
            jwt_file    = "${var.consul_auth == "" ? "" : "secrets/nomad_teal_consul.jwt"}"
          }

          nomad {
            address     = "unix://{{ env "NOMAD_SECRETS_DIR" }}/api.sock"
            token_file  = "${var.nomad_auth == "" ? "secrets/nomad_token" : ""}"
            auth_method = "${var.nomad_auth}"
            jwt_file    = "${var.nomad_auth == "" ? "" : "secrets/nomad_teal_nomad.jwt"}"
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
