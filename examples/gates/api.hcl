# Gates of every kind, and an approval, on the example service. A policy that is used
# takes what it needs of them. Every setting is described in docs/policy.md.

service "api" {
  job = "../jobs/api.nomad.hcl"
  variables = {
    version = "1.0.0"
    app     = env("TEAL_EXAMPLE_APP", "/usr/local/bin/teal-example-app")
  }

  # Cheap ones first, side by side.
  parallel {
    gate "http" "version" {
      path = "/version"
      json = { version = "{version}" }
    }

    gate "http" "health" {
      path = "/health"
    }
  }

  # The way that callers take: through an entry point, with the header that asks for
  # the candidate. What is expected has to tell that it was the candidate who answered.
  gate "http" "through-the-edge" {
    every = "preview"
    url   = "http://edge.service.consul:8080"
    path  = "/version"
    json  = { version = "{version}" }
  }

  # What a user does, on each instance: log in, and with that session and its
  # token see the account. Neither shows in any record or log.
  gate "http" "account" {
    step "login" {
      path    = "/login"
      headers = { Content-Type = "application/x-www-form-urlencoded" }
      body    = "user=smoke&password=${urlencode(env("TEAL_EXAMPLE_PASSWORD", "teapot"))}"
      save "token" { json = "token" }
    }

    step "account" {
      path    = "/account"
      headers = { Authorization = "Bearer {saved.token}" }
      json    = { user = "smoke" }
    }
  }

  # An admin port of its own, that wants to see a certificate of whoever asks.
  gate "http" "admin" {
    scheme = "https"
    port   = 8443
    path   = "/ready"

    tls {
      ca_file     = "/etc/teal/tls/ca.pem"
      cert_file   = "/etc/teal/tls/teal.pem"
      key_file    = "/etc/teal/tls/teal-key.pem"
      server_name = "api.service.consul"
    }
  }

  # The standard health check of gRPC, of one service of the server's.
  gate "grpc" "orders" {
    port    = 9090
    service = "shop.v1.Orders"
  }

  # A suite of one's own, as a batch job in Nomad.
  gate "nomad-job" "integration" {
    jobspec   = file("../jobs/api-e2e.nomad.hcl")
    variables = { script = "curl --fail --silent http://$address/health" }
    timeout   = "15m"
  }

  # The same as a parameterized job that is registered already, which takes
  # teal_addresses as meta.
  gate "nomad-job" "browser" {
    dispatch = "api-browser-suite"
    timeout  = "15m"
  }

  # What the candidate counts of itself: it has answered its own checks, and failed none.
  gate "metrics" "no-errors-at-start" {
    metric = "http_requests_total"
    labels = { code = "500" }
    above  = 0
    empty  = "pass"
  }

  # What Prometheus saw of it in all of the last minute.
  gate "prometheus" "memory" {
    url   = "http://prometheus.service.consul:9090"
    query = "max(process_resident_memory_bytes{service=\"{service}\",colour=\"{colour}\"})"
    range = "1m"
    above = 200e6
  }

  # Any other service that answers in JSON.
  gate "http-json" "shop-is-calm" {
    url          = "http://shop.service.consul:8080/figures"
    path         = "orders.waiting"
    above        = 100
    header_files = { Authorization = "/secrets/shop-token" }
  }

  # A command on the agent's machine; its config has to allow it.
  gate "exec" "script" {
    command = ["/bin/sh", "-ec", "curl --fail --silent http://$TEAL_ADDRESS/health"]
    env     = { TRIES = "3" }
  }

  # What it bears: ten minutes of traffic in one.
  gate "load" "rush-hour" {
    rate     = 400
    ramp     = "10s"
    duration = "1m"
    paths    = ["/", "/version"]
    errors   = 0.001
    p99      = "250ms"
  }

  # What this version calls, at a version that has what it needs, and at rest.
  gate "depends" "checkout" {
    service = "checkout"
    version = ">= 1.2, < 2"
  }

  # Another system has the last word, about exactly this version and policy.
  gate "kv" "audit" {
    key = "verdicts/{service}/{hash}"
  }

  # Only while people are there to look.
  gate "window" "office-hours" {
    allow    = ["* 9-16 * * MON-THU", "* 9-11 * * FRI"]
    freeze   = { "the year's end" = "2026-12-20/2027-01-06" }
    timezone = "Europe/Berlin"
  }

  # And two of three people, by keys that are theirs alone.
  approval {
    required  = true
    approvers = ["alice", "bob", "carol"]
    quorum    = 2
    deadline  = "24h"
  }
}
