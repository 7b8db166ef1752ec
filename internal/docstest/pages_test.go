package docstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// block is a fenced block of a page.
type block struct {
	page, language string
	mark           string // what follows the language, after a space
	line           int    // of its first line
	text           string
	output         string // what it must print, if it is a program whose page says so
}

// pages are all pages of the project, by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			text, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				return err
			}
			all[filepath.ToSlash(path)] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all["README.md"]) == 0 {
		t.Fatal("there is no README.md")
	}
	return all
}

// blocks are the fenced blocks of a page.
func blocks(t *testing.T, page, text string) (all []block) {
	t.Helper()
	var open *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			language, mark, _ := strings.Cut(fence, " ")
			open = &block{page: page, language: language, mark: mark, line: i + 2}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		t.Errorf("%s:%d: the block does not end", page, open.line)
	}
	return all
}

// sorted are a map's keys, in order.
func sorted(pages map[string]string) []string {
	var names []string
	for name := range pages {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var (
	fenced   = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inline   = regexp.MustCompile("`[^`\n]*`")
	linkForm = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headline = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// TestLinksLeadSomewhere follows every link between files of the project, and to headlines of its pages.
func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for _, page := range sorted(all) {
		text := fenced.ReplaceAllString(all[page], "")
		for _, match := range linkForm.FindAllStringSubmatch(inline.ReplaceAllString(text, "x"), -1) {
			link := match[1]
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(link, "#")
			target := page
			if path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), path))
				if _, err := os.Stat(filepath.Join(root, target)); err != nil || strings.HasPrefix(target, "..") {
					t.Errorf("%s: the link %q leads nowhere", page, link)
					continue
				}
			}
			if anchor != "" && !slices.Contains(anchors(all[target]), anchor) {
				t.Errorf("%s: the link %q leads to no headline", page, link)
			}
		}
	}
}

// anchors are the headlines of a page as GitHub names them.
func anchors(text string) (names []string) {
	seen := map[string]bool{}
	for _, match := range headline.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(match[1]))
		if seen[name] {
			continue // GitHub numbers them; link to the first one
		}
		seen[name] = true
		names = append(names, name)
	}
	return names
}
