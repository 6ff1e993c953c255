package trust

import (
	"fmt"
	"regexp"
	"strings"
)

// userinfo is what stands between a URL's scheme and its host.
var userinfo = regexp.MustCompile(`://[^/?#\s"'@]*@`)

// Hide takes the credentials out of the URLs in a text.
func Hide(text string) string { return userinfo.ReplaceAllString(text, "://…@") }

// CheckAddress refuses an address that holds credentials: it is shown in logs
// and messages. with says where they belong.
func CheckAddress(address, with string) error {
	authority := address
	if _, rest, ok := strings.Cut(address, "://"); ok {
		authority = rest
	}
	authority, _, _ = strings.Cut(authority, "/")
	_, host, found := strings.Cut(authority, "@")
	if !found || strings.HasPrefix(address, "unix://") {
		return nil
	}
	return fmt.Errorf("the address …@%s holds credentials; give them as %s, and a token as a token", host, with)
}
