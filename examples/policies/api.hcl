# How the example service is released. Every setting is described in
# docs/policy.md; what is left out here has a default.

locals {
  version = "1.0.0"
}

service "api" {
  job = "../jobs/api.nomad.hcl"
  variables = {
    version = local.version
    app     = env("TEAL_EXAMPLE_APP", "/usr/local/bin/teal-example-app")
  }

  launch {
    deadline    = "1m"
    healthy_for = "3s"
  }

  gate "http" "smoke" {
    path = "/version"
    json = { version = "{version}" }
  }

  cutover {
    protocol = "http" # written to service-defaults if the service has none
  }

  watch {
    for = "15m"

    trigger "consul-health" "instances" {}

    # Judged against the previous version, by a test made for looking all the
    # time: see docs/judgement.md.
    trigger "errors" "http-5xx" {}

    # What is plainly broken needs no comparison, and is seen sooner.
    trigger "errors" "broken" {
      above = 0.1
    }
  }

  soak {
    for  = "24h"
    then = "keep"
  }
}
