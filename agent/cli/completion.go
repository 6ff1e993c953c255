package cli

import (
	"context"
	"flag"
	"regexp"
	"slices"
	"time"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
)

// flagSet keeps the commands short.
type flagSet = flag.FlagSet

// completeWithin bounds what a shell waits for Consul when Tab is pressed.
const completeWithin = 400 * time.Millisecond

// predictServices completes the names of services that have keys in KV.
func (m *meta) predictServices() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		ctx, cancel := context.WithTimeout(m.ctx, completeWithin)
		defer cancel()
		s, err := m.consul.open() // the environment's settings: flags are not parsed here
		if err != nil {
			return nil
		}
		names, _, err := s.services(ctx, 0)
		if err != nil {
			return nil
		}
		return typeable(names)
	})
}

// predictServiceThenColour completes a service, and after it a colour.
func (m *meta) predictServiceThenColour() complete.Predictor {
	return complete.PredictFunc(func(a complete.Args) []string {
		if len(positional(a.Completed)) > 0 {
			return []string{string(deployment.Blue), string(deployment.Green)}
		}
		return m.predictServices().Predict(a)
	})
}

// predictServiceThenRelease completes a service, and after it the IDs of its
// releases.
func (m *meta) predictServiceThenRelease() complete.Predictor {
	return complete.PredictFunc(func(a complete.Args) []string {
		words := positional(a.Completed)
		if len(words) == 0 {
			return m.predictServices().Predict(a)
		}
		ctx, cancel := context.WithTimeout(m.ctx, completeWithin)
		defer cancel()
		s, err := m.consul.open()
		if err != nil {
			return nil
		}
		svc := words[len(words)-1]
		pair, _, err := s.get(ctx, s.keys.State(svc), 0)
		if err != nil {
			return nil
		}
		if pair == nil { // the value of an option, or a slip of the pen
			return m.predictServices().Predict(a)
		}
		rec, err := deployment.Decode(svc, pair.Value)
		if err != nil {
			return nil
		}
		return typeable(releases(rec))
	})
}

// predictApprovers completes the names of those whose consent is waited for.
func (m *meta) predictApprovers() complete.Predictor {
	return complete.PredictFunc(func(complete.Args) []string {
		ctx, cancel := context.WithTimeout(m.ctx, completeWithin)
		defer cancel()
		s, err := m.consul.open()
		if err != nil {
			return nil
		}
		names, _, err := s.services(ctx, 0)
		if err != nil {
			return nil
		}
		keys := make([]string, len(names))
		for i, name := range names {
			keys[i] = s.keys.State(name)
		}
		values, err := s.values(ctx, keys)
		if err != nil {
			return nil
		}
		asked := map[string]bool{}
		for i, name := range names {
			rec, err := deployment.Decode(name, values[keys[i]])
			if err != nil || !rec.InFlight() || rec.Deployment.Ask == nil {
				continue
			}
			for _, who := range rec.Deployment.Ask.Approvers {
				asked[who] = true
			}
		}
		return typeable(sortedKeys(asked))
	})
}

// word is what names of services, releases and approvers are made of.
var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`)

// typeable leaves out what is no such name: whoever may write keys of Teal's may call
// them what they like, and a shell puts what it is offered on the screen, and into the
// command line, as it is.
func typeable(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !word.MatchString(name) })
}

// positional leaves the options out of what was typed so far.
func positional(words []string) []string {
	var out []string
	for _, w := range words {
		if w != "" && w[0] != '-' {
			out = append(out, w)
		}
	}
	return out
}

// predict completes the flags' names; -…file and -config complete paths.
func (o *options) predict() complete.Flags {
	out := complete.Flags{}
	o.all.VisitAll(func(f *flag.Flag) {
		kind, _ := flag.UnquoteUsage(f)
		switch kind {
		case "":
			out["-"+f.Name] = complete.PredictNothing
		case "file":
			out["-"+f.Name] = complete.PredictFiles("*")
		case "directory":
			out["-"+f.Name] = complete.PredictDirs("*")
		case "form":
			out["-"+f.Name] = complete.PredictSet(forms...)
		case "colour":
			out["-"+f.Name] = complete.PredictSet("blue", "green")
		default:
			out["-"+f.Name] = complete.PredictAnything
		}
	})
	return out
}
