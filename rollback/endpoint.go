package rollback

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// notInNames are characters that neither metrics nor labels have in their names.
const notInNames = " \t\r\n{}()[]\"',="

// metaKey is what Consul takes as a key of a service's meta.
var metaKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// validateWindow refuses a window that is no use.
func validateWindow(d *hclbody.Decoder, window time.Duration) {
	if window < time.Second || window > 24*time.Hour {
		d.Errorf("window", "Wrong value for window", "The window of %s is out of range; it must be between 1s and 24h.", window)
	}
}

// validateEndpoint refuses what cannot be where an instance tells its metrics.
func validateEndpoint(d *hclbody.Decoder, path, port string) {
	switch u, err := url.Parse("http://host" + path); {
	case !strings.HasPrefix(path, "/"):
		d.Errorf("path", "Invalid path", "path is %q; it must begin with a slash.", path)
	case err != nil || u.Fragment != "":
		d.Errorf("path", "Invalid path", "%q is not a path and query of a URL.", path)
	}
	if n, err := strconv.Atoi(port); err == nil && (n < 1 || n > 65535) {
		d.Errorf("port", "Invalid port", "There is no port %s; it must be between 1 and 65535.", port)
	} else if err != nil && port != "" && !metaKey.MatchString(port) {
		d.Errorf("port", "Invalid port", "%q is neither a number nor a key of a service's meta.", port)
	}
}
