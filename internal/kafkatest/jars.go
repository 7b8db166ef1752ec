//go:build unix

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

const (
	kafkaVersion = "4.1.0"
	fetchTimeout = 10 * time.Minute
	copyPlugin   = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
)

// pom names Kafka's server and a log4j binding that fits its slf4j.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>kafkatest</groupId>
  <artifactId>kafkatest</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + kafkaVersion + `</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
`

// unavailableError: this machine can't run Kafka.
type unavailableError struct{ cause error }

func (e *unavailableError) Error() string {
	return "kafkatest: no Kafka on this machine: " + e.cause.Error()
}
func (e *unavailableError) Unwrap() error { return e.cause }

func isUnavailable(err error) bool {
	_, ok := errors.AsType[*unavailableError](err)
	return ok
}

// install is where Kafka is on this machine.
type install struct {
	java string // the program
	jars string // the folder with Kafka and all that it needs
}

// installation finds java and Kafka's jars, once for the whole test binary: without a network the attempt to fetch them
// takes long.
var installation = sync.OnceValues(func() (install, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return install{}, &unavailableError{err}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return install{}, &unavailableError{fmt.Errorf("folder for the jars: %w", err)}
	}
	home := filepath.Join(cache, "sluice", "kafka-"+kafkaVersion)
	if err := fetch(home); err != nil {
		return install{}, &unavailableError{fmt.Errorf("fetch the jars of Kafka %s: %w", kafkaVersion, err)}
	}
	return install{java: java, jars: filepath.Join(home, "lib")}, nil
})

// fetch makes the folder home with Kafka's jars in home/lib, unless it exists. It is renamed into place, so an existing
// folder is complete. A lock lets test binaries that run at the same time fetch once.
func fetch(home string) (err error) {
	if exists(home) {
		return nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return err
	}
	lock, err := waitLock(home + ".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if exists(home) {
		return nil
	}
	temp, err := os.MkdirTemp(filepath.Dir(home), "fetch-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := os.WriteFile(filepath.Join(temp, "pom.xml"), []byte(pom), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", filepath.Join(temp, "pom.xml"), copyPlugin,
		"-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(temp, "lib"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn: %w\n%s", errors.Join(err, ctx.Err()), tail(out, 20))
	}
	return os.Rename(temp, home)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
