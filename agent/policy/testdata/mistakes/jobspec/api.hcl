service "missing" {
  job = "../nowhere.nomad.hcl"
}
service "directory" {
  job = ".."
}
service "empty" {
  job = "empty.nomad.hcl"
}
service "none" {}
service "binary" {
  job = "binary.nomad.hcl"
}
