package document

import (
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// files is where GitHub shows the files of the repository.
const files = "https://github.com/breakwater-go/breakwater/blob/main/"

// A Set has the pages of a repository by their paths.
type Set map[string]*Document

// ParseAll reads all pages of a repository but those in hidden folders other
// than .github.
func ParseAll(repository fs.FS) (Set, error) {
	pages := make(Set)
	err := fs.WalkDir(repository, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(name, ".") && name != "." && name != ".github", entry.Name() == "testdata":
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".md" && path.Ext(name) != ".yml":
			return nil
		}
		text, err := fs.ReadFile(repository, name)
		pages[name] = Parse(name, string(text))
		return err
	})
	return pages, err
}

// Paths returns the paths of the pages, in order.
func (s Set) Paths() []string {
	var paths []string
	for name := range s {
		paths = append(paths, name)
	}
	slices.Sort(paths)
	return paths
}

// BrokenLinks returns the links of a page that lead nowhere: to a file that
// does not exist, to an anchor that the page has not, or to an address that is
// none. No link is followed beyond the repository.
func (s Set) BrokenLinks(d *Document, repository fs.FS) (broken []string) {
	for _, link := range d.Links {
		if reason := s.broken(d, link, repository); reason != "" {
			broken = append(broken, fmt.Sprintf("%s:%d: %s: %s", d.Path, link.Line, link.Target, reason))
		}
	}
	return broken
}

func (s Set) broken(d *Document, link Link, repository fs.FS) string {
	target, err := url.Parse(link.Target)
	to := d.pathOf(link)
	switch {
	case err != nil:
		return err.Error()
	case link.Target == "":
		return "empty"
	case strings.HasPrefix(link.Target, "/"):
		return "begins with a slash, which leads elsewhere on pkg.go.dev"
	case to == "" && target.Scheme != "mailto" && (target.Scheme != "https" || target.Host == ""):
		return "no https address"
	case to == "":
		return ""
	}
	if _, err := fs.Stat(repository, to); err != nil { // also for what is above the repository
		return "no such file in the repository"
	}
	page := s[to]
	if target.Fragment == "" || page == nil && lineNumbers.MatchString(target.Fragment) {
		return ""
	}
	if page == nil {
		return "an anchor in what is no page"
	}
	for _, h := range page.Headings {
		if h.Anchor == target.Fragment {
			return ""
		}
	}
	return "no such heading in " + to
}

// pathOf returns the path to which a link of a page leads, or "" if it leads
// out of the repository.
func (d *Document) pathOf(link Link) string {
	within, ours := strings.CutPrefix(link.Target, files)
	target, err := url.Parse(within)
	switch {
	case err != nil || target.Scheme != "":
		return ""
	case ours:
		return path.Clean(target.Path)
	case target.Path == "":
		return d.Path
	}
	return path.Join(path.Dir(d.Path), target.Path)
}

// LeadsTo reports whether a page has a link to a path.
func (d *Document) LeadsTo(name string) bool {
	return slices.ContainsFunc(d.Links, func(link Link) bool { return d.pathOf(link) == name })
}

// lineNumbers are GitHub's anchors in files of code.
var lineNumbers = regexp.MustCompile(`^L\d+(-L\d+)?$`)
