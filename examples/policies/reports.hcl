# A service with background jobs, released only when somebody asks for it and
# one of two people agrees, whom Consul's ACLs know by their keys
# (docs/acl.md, "Named approver"): teal approve -as alice reports

service "reports" {
  job = "../jobs/reports.nomad.hcl"
  variables = {
    version = "1.0.0"
    app     = env("TEAL_EXAMPLE_APP", "/usr/local/bin/teal-example-app")
  }
  auto = false

  gate "http" "health" {
    path  = "/health"
    every = "instance"
  }

  approval {
    required  = true
    approvers = ["alice", "bob"]
    quorum    = 1
    deadline  = "4h"
    then      = "hold"
  }

  cutover {
    protocol = "http"
  }

  # The old colour's workers may finish the job at hand.
  jobs {
    handover_deadline = "2m"
  }

  watch {
    for = "30m"

    trigger "consul-health" "instances" {}
  }

  soak {
    for   = "8h"
    then  = "scale"
    newer = "queue"
  }
}
