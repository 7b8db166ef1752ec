package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// farFuture is the latest expiry that a token may have: a number of seconds beyond it would overflow.
var farFuture = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// jwtExpiry returns the claim exp of a token that is a signed JWT (RFC 7519), and zero for any other token. Nothing is
// verified: that is for the broker.
func jwtExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires *float64 `json:"exp"`
	}
	if json.Unmarshal(raw, &claims) != nil || claims.Expires == nil {
		return time.Time{}
	}
	seconds := min(max(*claims.Expires, 0), float64(farFuture.Unix()))
	return time.Unix(int64(seconds), 0)
}

// checkToken refuses what would not be one token in the first message of OAUTHBEARER (RFC 7628): that ends at the first
// control character.
func checkToken(token string) error {
	if token == "" {
		return errors.New("the token is empty")
	}
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c > '~' {
			return errors.New("the token has characters that none can have: only visible ASCII can be sent to a broker (RFC 6750)")
		}
	}
	return nil
}
