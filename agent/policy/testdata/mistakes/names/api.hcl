service "api" {
  job       = "../api.nomad.hcl"
  variables = { "two words" = 1, empty = null }
}
service "api" "two" {}
service {}
