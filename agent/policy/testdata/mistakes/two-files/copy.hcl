service "api" {
  job = "../api.nomad.hcl"
}
