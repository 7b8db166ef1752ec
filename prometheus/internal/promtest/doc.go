// Package promtest has the tests of ../../dashboard.json and ../../alerts.yml: each query is one, and names what the collector tells.
// It is a module of its own, since a parser of PromQL brings in more than the collector's users need.
package promtest
