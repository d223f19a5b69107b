package email

import (
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/cleanup"
)

// plainAddress is an address that stands in a command of SMTP as it is: no quoted local part, which net/mail returns
// without its quotes, and no characters beyond ASCII, which need an extension that not every server has.
var plainAddress = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")

// parseAddress parses one address, with or without a name.
func parseAddress(text string) (*mail.Address, error) {
	address, err := mail.ParseAddress(text)
	if err != nil {
		return nil, errors.New("must be one address, such as nodes@example.com or Nodes <nodes@example.com>")
	}
	if !plainAddress.MatchString(address.Address) {
		return nil, errors.New("must be an address of ASCII characters without quotes")
	}
	return address, nil
}

// recipientProblem returns the fault of an element of the option to, or "".
func recipientProblem(template cleanup.Template) string {
	if problem := template.Problem(); problem != "" {
		return problem
	}
	sample, domain := "", true
	template.Each(func(literal string) {
		sample += literal
		domain = domain || strings.Contains(literal, "@")
	}, func(cleanup.Reference) { sample, domain = sample+"x", false })
	if !domain {
		// The kubelet of a Node can write most labels and annotations: they must not choose to whom the server of the
		// organization sends mails.
		return "must have a domain without references"
	}
	if _, err := parseAddress(sample); err != nil {
		return err.Error()
	}
	return ""
}

// partOfAddress is a value that can be part of the local part of an address. It has none of the characters with which
// it could name another recipient.
var partOfAddress = regexp.MustCompile(`^[A-Za-z0-9._+=-]*$`)

// recipients returns the recipients of one mail.
func (o *options) recipients(expand func(cleanup.Template, func(string) string) (string, error)) ([]*mail.Address, error) {
	var all []*mail.Address
	seen := map[string]bool{}
	for i, template := range o.To {
		wrong := false
		text, err := expand(template, func(value string) string {
			wrong = wrong || !partOfAddress.MatchString(value)
			return value
		})
		if err != nil {
			return nil, fmt.Errorf("expanding to[%d]: %w", i, err)
		}
		address, err := parseAddress(text)
		if wrong || err != nil {
			return nil, cleanup.Permanent(fmt.Errorf("expanding to[%d], %s: %q is not an address", i, template, text))
		}
		if !seen[address.Address] {
			seen[address.Address] = true
			all = append(all, address)
		}
	}
	return all, nil
}
