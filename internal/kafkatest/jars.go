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
	fetchTimeout = 10 * time.Minute
	copyPlugin   = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
)

// pom names Kafka's server of a version, and the binding of log4j 2 for slf4j 1.7, which all versions were built with.
// Kafka 3 itself ships an older log4j, but needs that only to change log levels at run time.
func pom(version string) string {
	return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>kafkatest</groupId>
  <artifactId>kafkatest</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + version + `</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
`
}

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

var installations sync.Map // by version, a func() (install, error)

// installation finds java and the jars of a version. Its outcome holds for the whole test binary, so that a machine
// without network asks for the jars once and not once a test.
func installation(version string) (install, error) {
	find, _ := installations.LoadOrStore(version, sync.OnceValues(func() (install, error) { return findInstallation(version) }))
	return find.(func() (install, error))()
}

func findInstallation(version string) (install, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return install{}, &unavailableError{err}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return install{}, &unavailableError{fmt.Errorf("folder for the jars: %w", err)}
	}
	home := filepath.Join(cache, "sluice", "kafka-"+version)
	if err := fetch(home, version); err != nil {
		return install{}, &unavailableError{fmt.Errorf("fetch the jars of Kafka %s: %w", version, err)}
	}
	return install{java: java, jars: filepath.Join(home, "lib")}, nil
}

// fetch makes the folder home with the jars of a version in home/lib, unless it exists. It appears with a rename, so a
// folder that exists is complete, and under a lock, so that test binaries that run side by side fetch once.
func fetch(home, version string) (err error) {
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
	if err := os.WriteFile(filepath.Join(temp, "pom.xml"), []byte(pom(version)), 0o644); err != nil {
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
