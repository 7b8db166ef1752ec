package oidctest

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	grantClientCredentials = "client_credentials"
	grantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	assertionJWTBearer     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// token answers at the token endpoint: RFC 6749 section 4.4 with a secret or a client assertion (RFC 7523 section 2.2),
// and the grant of RFC 7523 section 2.1.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	req := tokenRequest(r)
	var subject, code string
	var err error
	switch grant := req.Form.Get("grant_type"); grant {
	case grantClientCredentials:
		code = "invalid_client"
		subject, err = s.client(req)
	case grantJWTBearer:
		code = "invalid_grant"
		subject, err = s.assertion(req.Form.Get("assertion"))
	default:
		code = "unsupported_grant_type"
		err = fmt.Errorf("grant type %q", grant)
	}
	if err != nil {
		status := http.StatusBadRequest
		if req.Basic {
			status = http.StatusUnauthorized
		}
		reply(w, status, map[string]any{"error": code, "error_description": err.Error()})
		return
	}
	claims := map[string]any{"sub": subject}
	if scope := req.Form.Get("scope"); scope != "" {
		claims["scope"] = scope
	}
	if audience := req.Form.Get("audience"); audience != "" {
		claims["aud"] = audience
	}
	s.mu.Lock()
	lifetime := s.lifetime
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{
		"access_token": s.Sign(claims), "token_type": "Bearer", "expires_in": int64(lifetime / time.Second),
	})
}

// client returns the id of an authenticated client. One request may use one way to authenticate only.
func (s *Server) client(req TokenRequest) (string, error) {
	form := req.Form
	inParams, asserted := form.Has("client_secret"), form.Has("client_assertion")
	if req.Basic && (inParams || asserted) || inParams && asserted {
		return "", errors.New("more than one way to authenticate")
	}
	if asserted {
		if form.Get("client_assertion_type") != assertionJWTBearer {
			return "", fmt.Errorf("client assertion type %q", form.Get("client_assertion_type"))
		}
		id, err := s.assertion(form.Get("client_assertion"))
		if claimed := form.Get("client_id"); err == nil && claimed != "" && claimed != id {
			err = fmt.Errorf("the assertion is of client %q, not of %q", id, claimed)
		}
		return id, err
	}
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if req.Basic {
		id, secret = req.User, req.Secret
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if want, ok := s.secrets[id]; !ok || secret != want {
		return "", fmt.Errorf("client %q is not known, or its secret is wrong", id)
	}
	return id, nil
}

// assertion checks an assertion as RFC 7523 section 3 wants it, and returns its subject. Each can be used once.
func (s *Server) assertion(assertion string) (string, error) {
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(assertion, &claims, func(*jwt.Token) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if key, ok := s.keys[claims.Issuer]; ok {
			return key, nil
		}
		return nil, fmt.Errorf("no key of issuer %q", claims.Issuer)
	}, jwt.WithValidMethods([]string{"RS256", "ES256"}), jwt.WithAudience(s.TokenURL, s.Issuer), jwt.WithExpirationRequired())
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case claims.Subject == "":
		return "", errors.New("the assertion has no sub")
	case claims.ID == "" || claims.IssuedAt == nil || claims.NotBefore == nil:
		return "", errors.New("the assertion lacks jti, iat or nbf")
	case s.seen[claims.ID]:
		return "", errors.New("the assertion was used before")
	}
	s.seen[claims.ID] = true
	return claims.Subject, nil
}
