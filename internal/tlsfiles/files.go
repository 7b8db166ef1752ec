// Package tlsfiles makes TLS configurations of files that are read again when they change.
package tlsfiles

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const (
	// LookEvery is how long to go by what was read, without looking at the files.
	LookEvery = 10 * time.Second
	// patience is how long a disk may hold anybody up.
	patience = time.Second
	// maxFile bounds what is read of a file, in bytes. All of Mozilla's authorities have 0.2 MiB.
	maxFile = 4 << 20
)

// Paths says where the files are. sluice.TLSFiles has the meaning of each.
type Paths struct {
	CA, CAPassword     string
	Cert, CertPassword string
	Key                string
	ServerName         string
}

// Files is what the files hold. It may be used concurrently. It reads them when it is asked and LookEvery is over, on a
// goroutine that ends with it: a disk may hang.
//
// What the files hold is compared, not when they were written: they are small, and two writes may have the same time stamp. So it
// does not matter whether a file is written in place, renamed, or behind a link, as Kubernetes has it.
type Files struct {
	paths Paths
	read  func() (raw, digest, error) // paths.read, but in tests

	mu      sync.Mutex    // Guards what follows
	current *contents     // Never nil
	seen    digest        // Of what was read last, good or bad
	bad     error         // Why that was not taken; nil: it was
	began   time.Time     // When they were last read
	reading chan struct{} // Closed when they are read; nil: nobody reads
}

// contents are the files as they were at one time. They do not change.
type contents struct {
	digest digest
	roots  *x509.CertPool   // nil: the system's
	pair   *tls.Certificate // nil: none
}

type digest [sha256.Size]byte

// Read reads the files for the first time.
func Read(paths Paths) (*Files, error) {
	switch {
	case paths.Cert == "" && paths.Key != "":
		return nil, errors.New("KeyFile without a CertFile")
	case paths.CA == "" && paths.CAPassword != "":
		return nil, errors.New("CAPassword without a CAFile")
	case paths.Cert == "" && paths.CertPassword != "":
		return nil, errors.New("CertPassword without a CertFile")
	}
	f := &Files{paths: paths, read: paths.read, began: time.Now()}
	raw, sum, err := f.read()
	if err != nil {
		return nil, err
	}
	if f.current, err = paths.parse(raw); err != nil {
		return nil, err
	}
	f.current.digest, f.seen = sum, sum
	return f, nil
}

// look returns what the files hold, as of LookEvery ago or later, unless the disk hangs.
func (f *Files) look() *contents {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reading == nil && time.Since(f.began) >= LookEvery {
		f.began, f.reading = time.Now(), make(chan struct{})
		go f.readAgain(f.reading)
	}
	if left := patience - time.Since(f.began); f.reading != nil && left > 0 {
		reading := f.reading
		f.mu.Unlock()
		select {
		case <-reading:
		case <-time.After(left):
		}
		f.mu.Lock()
	}
	return f.current
}

// readAgain takes what the files hold, if it is new and good. What is bad is logged once.
func (f *Files) readAgain(done chan struct{}) {
	raw, sum, err := f.read()
	f.mu.Lock()
	seen, old, bad := f.seen, f.current, f.bad
	f.mu.Unlock()
	if sum == old.digest {
		bad = nil
	}
	var read *contents
	if sum != seen && sum != old.digest {
		if err == nil {
			read, err = f.paths.parse(raw)
		}
		if bad = err; err != nil {
			sarama.Logger.Printf("sluice: TLSFiles have changed and are not taken, those from before stay in use: %v\n", err)
		} else {
			read.digest = sum
			sarama.Logger.Printf("sluice: TLSFiles have changed, new connections use them\n")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen, f.bad = sum, bad; read != nil && err == nil {
		f.current = read
	}
	f.reading = nil
	close(done)
}

// raw is what the files hold. The key is the certificate's file where it has none of its own.
type raw struct{ ca, cert, key []byte }

// read reads the files. The digest tells whether they, or the reason why they can't be read, are as before.
func (p Paths) read() (r raw, sum digest, err error) {
	hash := sha256.New()
	for _, file := range []struct {
		field, path string
		data        *[]byte
	}{{"CAFile", p.CA, &r.ca}, {"CertFile", p.Cert, &r.cert}, {"KeyFile", p.Key, &r.key}} {
		if file.path == "" {
			continue
		}
		if *file.data, err = readFile(file.path); err != nil {
			err = fmt.Errorf("%s: %w", file.field, err) // the cause has the path
			return r, sha256.Sum256([]byte(err.Error())), err
		}
		fmt.Fprintf(hash, "%s %d\n", file.field, len(*file.data))
		hash.Write(*file.data)
	}
	if p.Key == "" {
		r.key = r.cert
	}
	return r, digest(hash.Sum(nil)), nil
}

func (p Paths) parse(r raw) (*contents, error) {
	c := &contents{}
	var err error
	if p.CA != "" {
		if c.roots, err = Roots(r.ca, p.CAPassword); err != nil {
			return nil, fmt.Errorf("CAFile %s: %w", p.CA, err)
		}
	}
	if p.Cert == "" {
		return c, nil
	}
	where := "CertFile " + p.Cert
	switch {
	case IsPEM(r.cert):
		if p.Key != "" {
			where += " with KeyFile " + p.Key
		}
		c.pair, err = Pair(r.cert, r.key)
	case p.Key != "" && mayBePKCS12(r.cert) == nil:
		err = errors.New("it is not PEM; a PKCS12 keystore has the key in it, and goes without a KeyFile")
	default:
		c.pair, err = Keystore(r.cert, p.CertPassword)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return c, nil
}

// readFile is os.ReadFile for small regular files: a pipe would wait for a writer, and have nothing the second time.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return ReadSmall(path)
}

// ReadSmall is os.ReadFile for files of a few MiB at most.
func ReadSmall(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d MiB", path, maxFile>>20)
	}
	return data, err
}
