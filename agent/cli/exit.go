package cli

// Exit codes, for CI. They are part of the contract with scripts.
const (
	exitOK          = 0
	exitError       = 1
	exitRefused     = 2
	exitFailed      = 3
	exitUnreachable = 4
	exitUnknown     = 5
)

const exitCodes = `Exit codes:
    0  done as asked
    1  wrong usage, or an error on this side
    2  refused: by the agent, or by Consul's ACLs
    3  the release failed, or was rolled back, aborted or superseded; an audit
       file was changed
    4  Consul could not be reached, or no agent leads
    5  the outcome is not known yet: timed out or interrupted while waiting;
       what an agent has taken goes on
`
