package properties

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/sluice-kafka/sluice/internal/certtest"
)

// TestDamagedJKS shows that lengths and numbers that a keystore does not have are an error, wherever they are.
func TestDamagedJKS(t *testing.T) {
	ca := certtest.NewCA(t, "test CA")
	for name, data := range map[string][]byte{
		"authority": jks(t, ca, nil, "changeit", ""),
		"pair":      jks(t, nil, ca.Client(t, "orders"), "changeit", "changeit"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkJKS(data); err != nil {
				t.Fatal(err)
			}
			refused := 0
			for at := 4; at+4 <= len(data); at++ {
				damaged := append([]byte{}, data...)
				binary.BigEndian.PutUint32(damaged[at:], 0xffffffff)
				if checkJKS(damaged) != nil {
					refused++
				}
				pool(damaged, "")
				storePair(damaged, "", "changeit")
			}
			for length := range data {
				pool(data[:length], "")
			}
			if refused < 20 {
				t.Errorf("only %d places matter", refused)
			}
			if _, err := pool(data[:20], "changeit"); err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Error(err)
			}
		})
	}
}

func FuzzJKS(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01a12345678\x00\x00\x00\x00\xff\xff\xff\xff"), "changeit")
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		data = append(append([]byte{}, 0xfe, 0xed, 0xfe, 0xed), data...)
		for _, password := range []string{"", password} {
			_, _ = pool(data, password)
			_, _ = storePair(data, password, "")
		}
	})
}
