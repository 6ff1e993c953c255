package policy

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/kv"
)

// approvalSection is the block that says who has to consent, and until when.
func approvalSection(a *Approval) section {
	then, quorum := ApprovalThens[0], 1
	return section{
		name: "approval",
		declare: func(d *hclbody.Decoder) {
			d.Bool("required", &a.Required)
			d.Duration("deadline", &a.Deadline, hclbody.ZeroAllowed)
			d.String("then", &then, hclbody.OneOf(ApprovalThens...))
			d.Strings("approvers", &a.Approvers)
			d.Int("quorum", &quorum, hclbody.AtLeast(1))
		},
		check: func(d *hclbody.Decoder, _ *hcl.EvalContext) {
			a.Hold = then == "hold"
			if a.Hold && a.Deadline == 0 {
				d.Errorf("then", "Deadline never passes", "Without a deadline the release waits for ever, and nothing holds it. Set a deadline, such as \"24h\", or leave this out.")
			}
			if a.Deadline > 0 && !d.Has("required") {
				d.Errorf("deadline", "Approval is never asked for", "A deadline is set, but no approval is required. Set required = true.")
			}
			a.named(d, quorum)
		},
	}
}

// named puts the approvers in order and holds them against the quorum.
func (a *Approval) named(d *hclbody.Decoder, quorum int) {
	for i, name := range a.Approvers {
		if err := kv.ApproverName(name); err != nil {
			d.Errorf("approvers", "Wrong name of an approver", "%s.", upperFirst(err.Error()))
		}
		if slices.ContainsFunc(a.Approvers[:i], func(other string) bool { return strings.EqualFold(other, name) }) {
			d.Errorf("approvers", "Second approver of one name", "%q is named twice, but can consent only once.", name)
		}
	}
	switch n := len(a.Approvers); {
	case n > MaxApprovers:
		d.Errorf("approvers", "Too many approvers", "%d are named; at most %d can be.", n, MaxApprovers)
	case n == 0 && d.Has("approvers"):
		d.Errorf("approvers", "No approver", "Nobody is named, so nobody could consent. Name somebody, or leave this out: then everybody may who may give the command.")
	case n == 0 && quorum > 1:
		d.Errorf("quorum", "Nobody can be told apart",
			"The command says of itself who gives it, which proves nothing: one person could be %d. Name the approvers, such as approvers = [\"alice\", \"bob\"]: each has a key of their own, and Consul's ACLs prove who wrote it.", quorum)
	case n > 0 && quorum > n:
		d.Errorf("quorum", "Quorum can never be met", "%d have to consent, and only %d are named as approvers.", quorum, n)
	case n > 0 && !a.Required:
		d.Errorf("approvers", "Approvers are never asked", "Approvers are named, but no approval is required. Set required = true.")
	}
	if len(a.Approvers) == 0 {
		a.Approvers = nil
		return
	}
	slices.Sort(a.Approvers) // which stands first means nothing
	a.Quorum = quorum
}
