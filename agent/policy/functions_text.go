package policy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// The functions of texts that HCL's own library does not have, by the names
// that Nomad's jobspecs and Terraform give them.
var (
	base64EncodeFunc = ofText(func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil })
	base64DecodeFunc = ofText(base64Decode)
	basenameFunc     = ofText(func(s string) (string, error) { return path.Base(s), nil })
	dirnameFunc      = ofText(func(s string) (string, error) { return path.Dir(s), nil })
	urlEncodeFunc    = ofText(func(s string) (string, error) { return url.QueryEscape(s), nil })
	sha256Func       = ofText(func(s string) (string, error) {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:]), nil
	})
	startsWithFunc = ofTexts("prefix", strings.HasPrefix)
	endsWithFunc   = ofTexts("suffix", strings.HasSuffix)
)

func base64Decode(s string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(s)
	if err == nil && !utf8.Valid(text) {
		err = errors.New("what it encodes is not UTF-8 text")
	}
	return string(text), err
}

// ofText makes a function of a text that gives a text.
func ofText(make func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := make(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			return cty.StringVal(text), nil
		},
	})
}

// ofTexts makes a function that says something of a text and a part of it.
func ofTexts(part string, says func(text, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: part, Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(says(args[0].AsString(), args[1].AsString())), nil
		},
	})
}
