service "api" {
  job = "../api.nomad.hcl"
  variables = {
    a = env("TEAL_TEST_NOT_SET")
    b = file("nowhere.txt")
    c = uper("x")
    d = env("A", "b", "c")
  }
}
