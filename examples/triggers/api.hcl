# Ways to judge a version that serves, beside those of policies/checkout.hcl. A policy
# that is used takes what it needs of them. Every setting is described in
# docs/policy.md; how often those that compare are wrong, in docs/judgement.md.

locals {
  prometheus = "http://prometheus.service.consul:9090"
  shop       = "http://shop.service.consul:8080"
}

service "api" {
  job = "../jobs/api.nomad.hcl"
  variables = {
    version = "1.0.0"
    app     = env("TEAL_EXAMPLE_APP", "/usr/local/bin/teal-example-app")
  }

  watch {
    for = "30m"

    # Only some requests: here those that change something.
    trigger "errors" "writes" {
      where = { method = "POST" }
    }

    # What fails between callers and this service, they alone see: their Envoys.
    trigger "errors" "seen-by-callers" {
      metric  = "envoy_cluster_upstream_rq"
      label   = "envoy_response_code"
      callers = ["web", "edge"]
      port    = 9102
      where = {
        consul_destination_service        = "{service}"
        consul_destination_service_subset = "{colour}"
      }
    }

    # How long callers wait, connecting and all.
    trigger "latency" "as-callers-wait" {
      metric  = "envoy_cluster_upstream_rq_time"
      unit    = "ms"
      callers = ["web", "edge"]
      port    = 9102
      where = {
        consul_destination_service        = "{service}"
        consul_destination_service_subset = "{colour}"
      }
    }

    # A multiple of what the previous version had at the moment of cutover.
    trigger "prometheus" "queries" {
      url   = local.prometheus
      query = "sum(rate(db_queries_total{colour=\"{colour}\"}[1m]))"
      ratio = 3
    }

    # At no time of the last two minutes, not only now.
    trigger "prometheus" "queue" {
      url   = local.prometheus
      query = "max(queue_length{colour=\"{colour}\"})"
      range = "2m"
      above = 1000
    }

    # In sequence: is it worse than it used to be in the hour before the cutover?
    trigger "prometheus" "memory" {
      url   = local.prometheus
      query = "avg(process_resident_memory_bytes{colour=\"{colour}\"})"
      worse = "higher"
    }

    # The same of who cannot be asked about the past: it is asked while the version is
    # launched, at its gates and waits for approval.
    trigger "http-json" "orders" {
      url      = "${local.shop}/figures?of={colour}"
      path     = "orders.per_minute"
      worse    = "lower"
      interval = "1s"
    }
  }
}
