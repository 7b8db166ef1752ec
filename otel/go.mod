module github.com/sluice-kafka/sluice/otel

go 1.26.0

replace github.com/sluice-kafka/sluice => ..

require (
	github.com/IBM/sarama v1.61.1
	github.com/sluice-kafka/sluice v0.0.0-00010101000000-000000000000
	github.com/twmb/franz-go v1.22.2
	go.opentelemetry.io/otel v1.47.0
	go.opentelemetry.io/otel/metric v1.47.0
	go.opentelemetry.io/otel/trace v1.47.0
)
