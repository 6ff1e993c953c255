package gates

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"unicode/utf8"
)

// minCookie is how long a cookie's value has to be to be called a secret: a
// shorter one hides nothing, and its letters stand everywhere.
const minCookie = 4

// maxCookies is how many are kept in one run, more than browsers keep for a site.
// What an instance sets beyond is left alone.
const maxCookies = 200

// cookies are those of one run of steps against one host. It is asked directly,
// and behind its usual entry point: so it may say in a cookie what holds there,
// that its domain is the one of the Host header, or that it is only for https.
//
// No list of public suffixes is needed: whatever domain a cookie names, there is
// one host that is asked, and redirects to others are not followed.
type cookies struct {
	jar  *cookiejar.Jar
	set  int                    // so far
	tell func(values ...string) // is told the values that are set
}

func newCookies(tell func(...string)) *cookies {
	jar, _ := cookiejar.New(nil) // never fails
	return &cookies{jar: jar, tell: tell}
}

// as is the URL as the entry point has it. Its host is the one of the Host header
// already: http.Client sees to that.
func as(u *url.URL) *url.URL {
	seen := *u
	seen.Scheme = "https"
	return &seen
}

// SetCookies implements http.CookieJar.
func (c *cookies) SetCookies(u *url.URL, list []*http.Cookie) {
	list = list[:min(len(list), maxCookies-c.set)]
	c.set += len(list)
	var values []string
	for _, cookie := range list {
		if utf8.RuneCountInString(cookie.Value) >= minCookie {
			values = append(values, cookie.Value)
		}
	}
	c.tell(values...)
	c.jar.SetCookies(as(u), list)
}

// Cookies implements http.CookieJar.
func (c *cookies) Cookies(u *url.URL) []*http.Cookie { return c.jar.Cookies(as(u)) }
