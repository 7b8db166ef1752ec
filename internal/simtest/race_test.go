//go:build race

package simtest

// raceDetector: it reports every send that runs beside the close of its channel.
const raceDetector = true
