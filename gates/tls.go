package gates

import (
	"fmt"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/measure"
)

// advised is the text of an error with the setting that mends it, where it is
// about TLS, which secure says was to be spoken. Who is whom the request went to,
// as a sentence begins with it.
func advised(err error, who string, secure bool, t *measure.TLS) string {
	if secure {
		if advice := ask.Advice(err, who, t); advice != "" {
			return fmt.Sprintf("%s (%s)", err, advice)
		}
	}
	return err.Error()
}
