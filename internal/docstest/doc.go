// Package docstest has the tests of what is written for readers: each exported function has an Example that runs, each
// link between pages leads somewhere, and the Go programs in the pages compile.
package docstest
