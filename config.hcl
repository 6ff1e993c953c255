# The agent's settings, every one at its default. null means: as the
# environment says, and what the consul and nomad commands take without it.
# A flag goes before this file, this file before the environment.

name     = null                              # of this agent; null: the host's name
policies = env("TEAL_POLICIES", "policies")  # policy file or directory, relative to this file
prefix   = "teal/"                           # of all keys in Consul KV

log {
  level = "info"  # trace, debug, info, warn, error
  json  = false   # one JSON object a line, instead of text
}

http {
  address = "127.0.0.1:4680"  # serves /v1/health, /v1/metrics and status; read-only
}

consul {
  address         = null  # CONSUL_HTTP_ADDR, or localhost:8500; unix:///path works too
  token           = null  # CONSUL_HTTP_TOKEN; better: token_file
  token_file      = null  # CONSUL_HTTP_TOKEN_FILE
  auth_method     = null  # of type jwt: log in there for a token, instead of having one; docs/acl.md
  jwt_file        = null  # with what, such as a workload's identity; read at each login
  datacenter      = null  # the agent's own
  namespace       = null  # CONSUL_NAMESPACE (enterprise)
  partition       = null  # CONSUL_PARTITION (enterprise)
  ca_file         = null  # CONSUL_CACERT
  ca_path         = null  # CONSUL_CAPATH
  cert_file       = null  # CONSUL_CLIENT_CERT
  key_file        = null  # CONSUL_CLIENT_KEY
  tls_server_name = null  # CONSUL_TLS_SERVER_NAME
  tls_skip_verify = null  # true trusts any certificate; CONSUL_HTTP_SSL_VERIFY=false does, too
}

nomad {
  address         = null  # NOMAD_ADDR, or http://127.0.0.1:4646; unix:///secrets/api.sock for the Task API
  region          = null  # NOMAD_REGION, or the server's own
  namespace       = null  # NOMAD_NAMESPACE, or default; a jobspec's own goes first
  token           = null  # NOMAD_TOKEN; better: token_file
  token_file      = null  # a file with the token and nothing else
  auth_method     = null  # of type JWT: log in there for a token, instead of having one; docs/acl.md
  jwt_file        = null  # with what, such as a workload's identity; read at each login
  ca_file         = null  # NOMAD_CACERT
  ca_path         = null  # NOMAD_CAPATH
  cert_file       = null  # NOMAD_CLIENT_CERT
  key_file        = null  # NOMAD_CLIENT_KEY
  tls_server_name = null  # NOMAD_TLS_SERVER_NAME
  tls_skip_verify = null  # true trusts any certificate; NOMAD_SKIP_VERIFY=true does, too
}

lease {
  ttl = "15s"  # a leader that Consul has not heard from for so long has lost its office; 10s or more
}

service {
  name     = "teal"  # under which the agent registers itself in Consul
  register = true    # with the check that makes a dead leader's lease end within seconds
}

history {
  keep = 20  # finished deployments remembered for each service
}

audit {
  path       = null  # a file that each decision is appended to, hash-chained; relative to this file; null: none
  rotate_mib = 64    # a file of this size is moved aside; none is ever removed
}

gates {
  exec = false  # true lets policies run commands on this machine as the agent's user, in gates "exec"
}

# Who is told of releases; any number of blocks, see docs/notify.md:
#
#   notify "shoutrrr" "team" {
#     url_file = "slack-url"
#     severity = "warning"
#   }
