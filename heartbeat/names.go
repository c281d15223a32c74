package heartbeat

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxNameBytes = 128

// ValidateName reports why name can't be that of a service or an instance, or nil. A name is 1 to 128 bytes of
// printable UTF-8 without spaces, colons (they separate the parts of a channel), braces (they mark placeholders
// and cluster hash tags) and the characters that are special in Redis patterns: * ? [ ] \.
// It does not block and is safe for concurrent use.
func ValidateName(name string) error {
	if err := printable(name, maxNameBytes); err != nil {
		return err
	}
	if i := strings.IndexAny(name, `:{}*?[]\ `); i >= 0 {
		return fmt.Errorf("%q contains %q: want none of : { } * ? [ ] \\ and no spaces", name, name[i:i+1])
	}
	return nil
}

// printable refuses what could not be shown or logged as it is.
func printable(s string, maxBytes int) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case len(s) > maxBytes:
		return fmt.Errorf("it has %d bytes: want at most %d", len(s), maxBytes)
	case !utf8.ValidString(s):
		return fmt.Errorf("%q is not valid UTF-8", s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%q contains the unprintable character %U", s, r)
		}
	}
	return nil
}

// oneLine makes text fit for a log line or a terminal: its first line, unprintable characters replaced, at most
// maxBytes long.
func oneLine(text string, maxBytes int) string {
	text, _, _ = strings.Cut(text, "\n")
	text = text[:min(len(text), maxBytes)]
	text = strings.ToValidUTF8(text, "") // the cut may have gone through a character
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

func (p *problems) name(what, name string) {
	if err := ValidateName(name); err != nil {
		p.addf("%s can't be used: %w", what, err)
	}
}

// perInstance records a template by which instances would overwrite each other.
func (p *problems) perInstance(what, template string) {
	for _, placeholder := range []string{"{service}", "{instance}"} {
		if !strings.Contains(template, placeholder) {
			p.addf("%s is %q: want it to name %s", what, template, placeholder)
		}
	}
}

// expand puts the names into a template. Any other placeholder is refused: it is a typo more often than not.
func (p *problems) expand(what, template, service, instance string) string {
	rest := strings.NewReplacer("{service}", "", "{instance}", "").Replace(template)
	if strings.ContainsAny(rest, "{}") {
		p.addf("%s has %q: want no placeholders but {service} and {instance}", what, template)
	}
	if err := printable(template, 2*maxNameBytes); err != nil {
		p.addf("%s can't be used: %w", what, err)
	}
	return strings.NewReplacer("{service}", service, "{instance}", instance).Replace(template)
}

// newUUID returns a random (version 4) UUID.
func newUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // documented to never fail
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
