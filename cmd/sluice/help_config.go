package main

import (
	"io"

	"github.com/sluice-kafka/sluice/internal/properties"
)

// helpConfig prints Kafka's settings: their names, defaults, and where they go.
func helpConfig(stdout, stderr io.Writer) int {
	return exit(stderr, "sluice help config", properties.WriteText(stdout))
}
