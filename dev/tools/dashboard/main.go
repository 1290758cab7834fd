// Command dashboard reads a dashboard from its input and says what Grafana would not take of it: fields that it does not know,
// values of a wrong type, bounds. What is a dashboard is said by Grafana's own library of types.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if err := check(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(input io.Reader) error {
	text, err := io.ReadAll(input)
	if err != nil {
		return err
	}
	plugins.RegisterDefaultPlugins() // the panels that come with Grafana
	var board dashboard.Dashboard
	if err := some(board.UnmarshalJSONStrict(text)); err != nil {
		return err
	}
	return some(board.Validate())
}

// some is err, unless it is a list of none.
func some(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}
