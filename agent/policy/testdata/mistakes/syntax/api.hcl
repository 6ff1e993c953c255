service "api" {
  job = "../api.nomad.hcl"
  launch { deadline = "10m" healthy_for = "10s" }
}
