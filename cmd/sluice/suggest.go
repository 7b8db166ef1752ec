package main

import "github.com/sluice-kafka/sluice/internal/suggest"

func nearest(given string, names []string) []string { return suggest.Nearest(given, names) }
