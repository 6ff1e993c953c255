# A service with every kind of judgement that goes by figures. Each is described in
# docs/policy.md; how often those that compare are wrong, in docs/judgement.md.

locals {
  prometheus = env("TEAL_EXAMPLE_PROMETHEUS", "http://prometheus.service.consul:9090")
  shop       = env("TEAL_EXAMPLE_SHOP", "http://shop.service.consul:8080")
}

service "checkout" {
  job = "../jobs/checkout.nomad.hcl"
  variables = {
    version = "1.0.0"
    app     = env("TEAL_EXAMPLE_APP", "/usr/local/bin/teal-example-app")
  }

  # Before the cutover. Each instance's own counters: nothing has failed so far.
  gate "metrics" "no-errors-at-start" {
    metric = "http_requests_total"
    labels = { code = "500" }
    above  = 0
  }

  # Prometheus has found both instances, or there would be nothing to judge by.
  gate "prometheus" "scraped" {
    url      = local.prometheus
    query    = "sum(up{service=\"{service}\",colour=\"{colour}\"})"
    below    = 2
    attempts = 60
  }

  # Not while the shop has its hands full.
  gate "http-json" "shop-is-calm" {
    url   = "${local.shop}/figures"
    path  = "orders.waiting"
    above = 100
  }

  cutover {
    protocol = "http"
  }

  watch {
    for = "30m"

    # The instances' own metrics, against the previous version's: three tests made
    # for looking all the time, and limits beside them where a limit is known.
    trigger "errors" "http-5xx" {}

    trigger "errors" "too-many-errors" {
      above = 0.05
    }

    trigger "latency" "p99" {}

    trigger "latency" "p50" {
      quantile = 0.5
      ratio    = 1.5
    }

    trigger "volume" "traffic" {
      below_ratio = 0.1
    }

    # What others say.
    trigger "consul-health" "instances" {}

    trigger "nomad" "allocations" {
      restarts = 1
    }

    trigger "prometheus" "refused-payments" {
      url   = local.prometheus
      query = "sum(rate(payments_refused_total{colour=\"{colour}\"}[1m])) or vector(0)"
      above = 1
      for   = "30s"
    }

    trigger "http-json" "orders" {
      url          = "${local.shop}/figures?of={version}"
      path         = "orders.per_minute"
      below        = 20
      header_files = { Authorization = "/secrets/shop-token" }
    }

    # And no fewer than half of what the version before took, right before the cutover.
    trigger "http-json" "orders-halved" {
      url          = "${local.shop}/figures?of={version}"
      path         = "orders.per_minute"
      below_ratio  = 0.5
      for          = "1m"
      header_files = { Authorization = "/secrets/shop-token" }
    }

    # An analyst, or a machine: consul kv put verdicts/checkout/1.0.0 "no: …"
    trigger "kv" "sales" {
      key    = "verdicts/{service}/{version}"
      absent = "fine"
    }

    # Enough, if nothing was wrong for so long and over so many requests.
    early {
      after    = "10m"
      requests = 50000
    }

    # Whoever cannot tell for so long is looked after by a person.
    unknown {
      for  = "10m"
      then = "hold"
    }
  }

  soak {
    for  = "24h"
    then = "keep"
  }
}
