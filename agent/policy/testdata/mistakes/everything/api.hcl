# Each line below is wrong in its own way; all are to be told at once.
service "api" {
  job              = "../api.nomad.hcl"
  variables        = ["1.3.0"]
  version_variable = "not a name"
  auto             = "perhaps"
  namespace        = "a b"
  partition        = "a/b"
  retries          = 3

  launch {
    deadline    = "10"
    healthy_for = "-1s"
  }
  launch {}
  gate "http" "smoke" {
    path = "/health"
  }
  gate "http" "smoke" {
    path = "/ready"
  }
  gate "htpp" "spelling" {}
  approval {
    required = true
    until    = "5m"
  }
  cutover {
    router   = "service-splitter"
    protocol = "udp"
    on_edit  = "overwrite"
    timeout  = "0s"
    probe {
      url     = "edge:8080/version"
      headers = { "bad name" = "x" }
    }
  }
  jobs {
    handover_deadline = soon
  }
  watch {
    for      = "1s"
    interval = "1m"
    trigger "erors" "spelling" {}
    unknown { then = "rollback" }
    trigger "http-json" "seldom" {
      url   = "http://shop/orders"
      path  = "n"
      below = 1
    }
    trigger "consul-health" "health" {}
    trigger "consul-health" "health" {}
  }
  soak {
    for   = "1 day"
    then  = "drop"
    newer = "later"
  }
  alert {}
}

service "-web" {
  watch {
    for = "0s"
    trigger "consul-health" "health" {}
  }
  cutover {
    protocol = "tcp"
    probe {}
  }
  launch {
    deadline = "5s"
  }
}

servce "api" {}
