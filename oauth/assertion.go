package oauth

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	defaultAssertionLifetime  = 5 * time.Minute
	defaultAssertionNotBefore = time.Minute
)

// Assertion is a signed statement (a JWT) that takes the place of a client secret: either read from a file, or made for
// each request and signed with a private key. It is for [JWTBearer] (KIP-1139) and [ClientCredentials] (KIP-1258).
type Assertion struct {
	// File has an assertion that something else keeps up to date. It is read for each request. The other fields must be
	// empty then. Java: sasl.oauthbearer.assertion.file.
	File string

	// KeyFile has the private key, as PEM (PKCS#8, or PKCS#1 and SEC 1), not encrypted. It is read for each request.
	// Java: sasl.oauthbearer.assertion.private.key.file.
	KeyFile string
	// Algorithm is "RS256" (the default) or "ES256". Java: sasl.oauthbearer.assertion.algorithm.
	Algorithm string
	// KeyID is the header kid, by which a provider finds the public key. Java: in sasl.oauthbearer.assertion.template.file.
	KeyID string
	// Issuer is the claim iss. The default for [ClientCredentials] is the ClientID; [JWTBearer] needs it.
	// Java: sasl.oauthbearer.assertion.claim.iss.
	Issuer string
	// Subject is the claim sub. The default is the Issuer. Java: sasl.oauthbearer.assertion.claim.sub.
	Subject string
	// Audience is the claim aud. The default is the URL of the token endpoint. Java: sasl.oauthbearer.assertion.claim.aud.
	Audience string
	// Lifetime is the time from now to the claim exp. The default is 5 minutes.
	// Java: sasl.oauthbearer.assertion.claim.exp.seconds.
	Lifetime time.Duration
	// NotBefore is the time from the claim nbf to now, for clocks that differ. The default is a minute.
	// Java: sasl.oauthbearer.assertion.claim.nbf.seconds.
	NotBefore time.Duration
	// Claims are further claims. They come before those above, iat and jti, of which there is one in each assertion.
	// Java: in sasl.oauthbearer.assertion.template.file.
	Claims map[string]any
}

// checked returns a copy with its defaults, or an error that names the field. issuer is the default for Issuer, "" for none.
func (a Assertion) checked(issuer string) (*Assertion, error) {
	bad := func(format string, args ...any) (*Assertion, error) {
		return nil, fmt.Errorf("oauth: Assertion."+format, args...)
	}
	if a.File != "" {
		if a.KeyFile != "" || a.Algorithm != "" || a.KeyID != "" || a.Issuer != "" || a.Subject != "" || a.Audience != "" ||
			a.Lifetime != 0 || a.NotBefore != 0 || a.Claims != nil {
			return bad("File is set, and a field for making an assertion too")
		}
		if _, err := readFile("File", a.File); err != nil {
			return bad("%w", err)
		}
		return &a, nil
	}
	switch {
	case a.KeyFile == "":
		return bad("File and Assertion.KeyFile are both empty")
	case a.Algorithm == "":
		a.Algorithm = jwt.SigningMethodRS256.Alg()
	case a.Algorithm != jwt.SigningMethodRS256.Alg() && a.Algorithm != jwt.SigningMethodES256.Alg():
		return bad("Algorithm is %q, not RS256 or ES256", a.Algorithm)
	}
	if a.Lifetime < 0 {
		return bad("Lifetime is negative: %v", a.Lifetime)
	}
	if a.NotBefore < 0 {
		return bad("NotBefore is negative: %v", a.NotBefore)
	}
	if a.Issuer == "" {
		a.Issuer = issuer
	}
	if a.Issuer == "" {
		return bad("Issuer is empty")
	}
	if a.Subject == "" {
		a.Subject = a.Issuer
	}
	if a.Lifetime == 0 {
		a.Lifetime = defaultAssertionLifetime
	}
	if a.NotBefore == 0 {
		a.NotBefore = defaultAssertionNotBefore
	}
	a.Claims = maps.Clone(a.Claims)
	if _, err := a.make("https://example.com"); err != nil { // The key is read, and the claims can be encoded.
		return nil, fmt.Errorf("oauth: %w", err)
	}
	return &a, nil
}

// make returns an assertion for one request.
func (a *Assertion) make(tokenURL string) (string, error) {
	if a.File != "" {
		text, err := readFile("Assertion.File", a.File)
		if err == nil && checkToken(text) != nil {
			err = fmt.Errorf("Assertion.File: %s has no single assertion", a.File)
		}
		return text, err
	}
	pem, err := readFile("Assertion.KeyFile", a.KeyFile)
	if err != nil {
		return "", err
	}
	method, key, err := parseKey(a.Algorithm, []byte(pem))
	if err != nil {
		return "", fmt.Errorf("Assertion.KeyFile: %s: %w", a.KeyFile, err)
	}
	token := jwt.NewWithClaims(method, a.claims(tokenURL, time.Now()))
	if a.KeyID != "" {
		token.Header["kid"] = a.KeyID
	}
	signed, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("signing the assertion: %w", err)
	}
	return signed, nil
}

func (a *Assertion) claims(tokenURL string, now time.Time) jwt.MapClaims {
	claims := jwt.MapClaims{}
	maps.Copy(claims, a.Claims)
	claims["iss"], claims["sub"], claims["aud"] = a.Issuer, a.Subject, tokenURL
	if a.Audience != "" {
		claims["aud"] = a.Audience
	}
	claims["iat"] = now.Unix()
	claims["nbf"] = now.Add(-a.NotBefore).Unix()
	claims["exp"] = now.Add(a.Lifetime).Unix()
	claims["jti"] = rand.Text()
	return claims
}

func parseKey(algorithm string, pem []byte) (jwt.SigningMethod, crypto.PrivateKey, error) {
	if algorithm == jwt.SigningMethodES256.Alg() {
		key, err := jwt.ParseECPrivateKeyFromPEM(pem)
		if err != nil {
			return nil, nil, fmt.Errorf("not an EC private key as PEM, without a passphrase: %w", err)
		}
		if key.Curve.Params().BitSize != jwt.SigningMethodES256.CurveBits {
			return nil, nil, errors.New("the key for ES256 must be on the curve P-256")
		}
		return jwt.SigningMethodES256, key, nil
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	if err != nil {
		return nil, nil, fmt.Errorf("not an RSA private key as PEM, without a passphrase: %w", err)
	}
	return jwt.SigningMethodRS256, key, nil
}
