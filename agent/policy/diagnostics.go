package policy

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/trust"
)

// WriteDiagnostics prints diagnostics for people, each with the offending line
// from files, wrapped at width columns (0: not wrapped). Credentials in URLs
// are left out.
func WriteDiagnostics(w io.Writer, diags hcl.Diagnostics, files map[string]*hcl.File, width uint, color bool) error {
	var text bytes.Buffer
	if err := hcl.NewDiagnosticTextWriter(&text, files, width, color).WriteDiagnostics(diags); err != nil {
		return err
	}
	_, err := io.WriteString(w, trust.Hide(text.String()))
	return err
}

// WriteDiagnosticsJSON prints diagnostics for programs, in the form that
// `terraform validate -json` made familiar.
func WriteDiagnosticsJSON(w io.Writer, diags hcl.Diagnostics, files map[string]*hcl.File) error {
	report := diagnosticsJSON{Valid: !diags.HasErrors(), Diagnostics: []diagnosticJSON{}}
	for _, diag := range diags {
		out := diagnosticJSON{Severity: "warning", Summary: diag.Summary, Detail: diag.Detail}
		report.WarningCount++
		if diag.Severity == hcl.DiagError {
			out.Severity = "error"
			report.WarningCount--
			report.ErrorCount++
		}
		if at := diag.Subject; at != nil {
			out.Range = &rangeJSON{at.Filename, position(at.Start), position(at.End)}
			if file := files[at.Filename]; file != nil {
				out.Snippet = trust.Hide(line(file.Bytes, at.Start.Byte))
			}
		}
		report.Diagnostics = append(report.Diagnostics, out)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

type diagnosticsJSON struct {
	Valid        bool             `json:"valid"`
	ErrorCount   int              `json:"error_count"`
	WarningCount int              `json:"warning_count"`
	Diagnostics  []diagnosticJSON `json:"diagnostics"`
}

type diagnosticJSON struct {
	Severity string     `json:"severity"`
	Summary  string     `json:"summary"`
	Detail   string     `json:"detail,omitempty"`
	Range    *rangeJSON `json:"range,omitempty"`
	Snippet  string     `json:"snippet,omitempty"` // the line that the range starts in
}

type rangeJSON struct {
	Filename string       `json:"filename"`
	Start    positionJSON `json:"start"`
	End      positionJSON `json:"end"`
}

type positionJSON struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

func position(p hcl.Pos) positionJSON { return positionJSON{p.Line, p.Column, p.Byte} }

// line is the line of src around a byte.
func line(src []byte, at int) string {
	if at < 0 || at > len(src) {
		return ""
	}
	text := string(src)
	start := strings.LastIndexByte(text[:at], '\n') + 1
	rest, _, _ := strings.Cut(text[start:], "\n")
	return rest
}
