locals {
  chicken = local.egg
  egg     = local.chicken
  twice   = 1
  broken  = upper(1, 2)
}
locals {
  twice = 2
}
service "api" {
  job       = local.broken
  variables = { version = local.nowhere }
}
