package scrape

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tealdeploy/teal/rollback"
)

// maxLine bounds one line of an answer, comments apart.
const maxLine = 64 << 10

// parse reads a whole answer and returns the wanted families of it.
func parse(body io.Reader, families []string, maxSeries int) (map[string]rollback.Family, error) {
	wanted := make(map[string]bool, len(families))
	for _, name := range families {
		wanted[name] = true
	}
	lines, err := sift(body, wanted, maxSeries)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(bytes.NewReader(lines))
	if err != nil {
		// The line's number is that among the wanted ones; say only what is wrong.
		if p := (expfmt.ParseError{}); errors.As(err, &p) {
			err = errors.New(p.Msg)
		}
		return nil, fmt.Errorf("not the Prometheus text format: %w", err)
	}
	out := make(map[string]rollback.Family, len(parsed))
	for name, family := range parsed {
		if !wanted[name] {
			return nil, fmt.Errorf("not the Prometheus text format: a line of %q looks like another one's", name)
		}
		for _, m := range family.GetMetric() {
			labels := make(map[string]string, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			// Without its TYPE line every series is an untyped one of its own name.
			out[name] = append(out[name], rollback.Series{Labels: labels, Value: m.GetUntyped().GetValue()})
		}
	}
	return out, nil
}

// sift reads an answer to its end and keeps the lines of the wanted series.
// The form of all lines is checked: an error page with status 200 is no metrics
// endpoint without metrics, and an answer that ends within a line is half a one.
func sift(body io.Reader, wanted map[string]bool, maxSeries int) ([]byte, error) {
	in := bufio.NewReaderSize(body, maxLine)
	var kept bytes.Buffer
	series := 0
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) {
			for errors.Is(err, bufio.ErrBufferFull) { // help texts may be of any length
				_, err = in.ReadSlice('\n')
			}
			line = []byte("#\n")
		}
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return kept.Bytes(), nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("the answer ends within line %d: its last line has to end with a line feed", number)
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("line %d is longer than %d bytes", number, maxLine)
		case err != nil:
			return nil, err
		case comment(line):
			continue
		}
		name, err := seriesName(line[:len(line)-1])
		if err != nil {
			return nil, fmt.Errorf("not the Prometheus text format: line %d: %w", number, err)
		}
		if !wanted[string(name)] {
			continue
		}
		if series++; series > maxSeries {
			return nil, fmt.Errorf("more than %d series of the wanted metrics", maxSeries)
		}
		kept.Write(line)
	}
}

// comment says whether a whole line holds no sample.
func comment(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	return line[0] == '#' || line[0] == '\n'
}
