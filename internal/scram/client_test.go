package scram

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

// exchange is what a broker and a client say to each other. It is correct, and each test spoils it in one point.
type exchange struct {
	mechanism                sarama.SASLMechanism
	user, password, authzID  string
	nonce                    string
	first                    string // client-first-message
	serverFirst, clientFinal string
	serverFinal              string
}

// rfc7677 is the example of RFC 7677, section 3.
var rfc7677 = exchange{
	mechanism: sarama.SASLTypeSCRAMSHA256, user: "user", password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO",
	first:       "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
	serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
	clientFinal: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
	serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
}

// compute does the sums of RFC 5802, section 3, by the standard library alone. gs2 is its base64 in client-final-message.
func compute(e exchange, h func() hash.Hash, bare, gs2 string) exchange {
	const salt = "0123456789abcdef"
	nonce := e.nonce + "broker"
	e.serverFirst = "r=" + nonce + ",s=" + base64.StdEncoding.EncodeToString([]byte(salt)) + ",i=4096"
	withoutProof := "c=" + gs2 + ",r=" + nonce
	sum := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	salted, err := pbkdf2.Key(h, e.password, []byte(salt), 4096, h().Size())
	if err != nil {
		panic(err)
	}
	proof := sum(salted, "Client Key")
	stored := h()
	stored.Write(proof)
	said := bare + "," + e.serverFirst + "," + withoutProof
	for i, b := range sum(stored.Sum(nil), said) {
		proof[i] ^= b
	}
	e.clientFinal = withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof)
	e.serverFinal = "v=" + base64.StdEncoding.EncodeToString(sum(sum(salted, "Server Key"), said))
	return e
}

func begin(t *testing.T, e exchange) *Client {
	t.Helper()
	c := NewClient(e.mechanism)
	c.nonce = func() string { return e.nonce }
	if err := c.Begin(e.user, e.password, e.authzID); err != nil {
		t.Fatal(err)
	}
	return c
}

func step(t *testing.T, c *Client, challenge, want string) {
	t.Helper()
	if c.Done() {
		t.Fatal("done too early")
	}
	if answer, err := c.Step(challenge); err != nil || answer != want {
		t.Fatalf("answer to %q is %q, %v, want %q", challenge, answer, err, want)
	}
}

func TestExchange(t *testing.T) {
	for name, e := range map[string]exchange{
		"RFC 7677": rfc7677,
		"SHA-512": compute(exchange{mechanism: sarama.SASLTypeSCRAMSHA512, user: "user", password: "pencil", nonce: "mine",
			first: "n,,n=user,r=mine"}, sha512.New, "n=user,r=mine", "biws"),
		"authorization id, and a name with comma and equals sign (RFC 5802, 5.1)": compute(exchange{
			mechanism: sarama.SASLTypeSCRAMSHA256, user: "a,b=c", password: "pencil", authzID: "a,b=c", nonce: "mine",
			first: "n,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=mine"}, sha256.New, "n=a=2Cb=3Dc,r=mine",
			base64.StdEncoding.EncodeToString([]byte("n,a=a=2Cb=3Dc,"))),
		// Kafka hashes these bytes. SASLprep would make an "a" and a space of them.
		"a password that SASLprep would change": compute(exchange{mechanism: sarama.SASLTypeSCRAMSHA256, user: "user",
			password: "\u00aa\u00a0", nonce: "mine", first: "n,,n=user,r=mine"}, sha256.New, "n=user,r=mine", "biws"),
	} {
		t.Run(name, func(t *testing.T) {
			c := begin(t, e)
			for range 2 { // A client may begin again.
				step(t, c, "", e.first)
				step(t, c, e.serverFirst, e.clientFinal)
				step(t, c, e.serverFinal, "")
				if !c.Done() {
					t.Fatal("not done")
				}
				if _, err := c.Step(""); err == nil {
					t.Fatal("a fourth step")
				}
				if err := c.Begin(e.user, e.password, e.authzID); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestHostileFirst: what a broker may say in place of its first message.
func TestHostileFirst(t *testing.T) {
	const nonce = "r=rOprNGfwEbeRWgbNEkqOx"
	for _, test := range []struct{ message, want string }{
		{nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2147483647", "asks for 2147483647 SCRAM iterations, more than 100000"},
		{nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100001", "asks for 100001"},
		{nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", "too few iterations (4095)"},
		{nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0", "not a positive number"},
		{nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==", "no iteration count"},
		{"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "did not extend client nonce"},
		{nonce + ",s=***,i=4096", "failed decoding field 's'"},
		{"", "no iteration count"},
		{"e=unknown-user", "refused the SCRAM login: unknown-user"},
	} {
		c := begin(t, rfc7677)
		step(t, c, "", rfc7677.first)
		answer, err := c.Step(test.message)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "SCRAM-SHA-256: ") || answer != "" {
			t.Errorf("%q: %q, %v, want %q", test.message, answer, err, test.want)
		}
		if _, err := c.Step(rfc7677.serverFirst); err == nil || c.Done() {
			t.Errorf("%q: the exchange goes on", test.message)
		}
	}
}

// TestHostileFinal: a broker that does not know the password cannot sign.
func TestHostileFinal(t *testing.T) {
	for _, test := range []struct{ message, want string }{
		{"v=" + base64.StdEncoding.EncodeToString(make([]byte, sha256.Size)), "server validation failed"},
		{"v=", "server validation failed"},
		{"v=***", "error parsing"},
		{"", "error parsing"},
		{"e=invalid-proof", "server error: invalid-proof"},
		{"e=\x1b[2J" + strings.Repeat("x", 1000), `\x1b[2J`},
		{strings.Repeat(",", 1<<20), "1048576 bytes, more than 16384"},
		{rfc7677.serverFirst, "error parsing"},
	} {
		c := begin(t, rfc7677)
		step(t, c, "", rfc7677.first)
		step(t, c, rfc7677.serverFirst, rfc7677.clientFinal)
		_, err := c.Step(test.message)
		if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 400 {
			t.Errorf("%.60q: %v, want %q", test.message, err, test.want)
		}
		if _, err := c.Step(rfc7677.serverFinal); err == nil || c.Done() {
			t.Errorf("%.60q: the exchange goes on", test.message)
		}
	}
}

func TestBeginRefusesOtherMechanisms(t *testing.T) {
	for _, mechanism := range []sarama.SASLMechanism{"", "SCRAM-SHA-1", sarama.SASLTypePlaintext} {
		c := NewClient(mechanism)
		err := c.Begin("user", "pencil", "")
		if _, ok := errors.AsType[sarama.ConfigurationError](err); !ok || !strings.Contains(err.Error(), `"`+string(mechanism)+`"`) {
			t.Errorf("%q: %v", mechanism, err)
		}
		if _, err := c.Step(""); err == nil || c.Done() {
			t.Errorf("%q: a step without Begin", mechanism)
		}
	}
}
