package oidctest

import (
	"io"
	"net/http"
)

// Hang never answers. It returns when the client has left.
func Hang() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	})
}

// Answer answers with this.
func Answer(status int, contentType, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // The client has left
	})
}

// Cut closes the connection instead of an answer.
func Cut() http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// Sequence has the n-th request answered by the n-th handler, and by the last one from then on. nil is the server itself.
func (s *Server) Sequence(handlers ...http.Handler) http.Handler {
	next := make(chan http.Handler, len(handlers))
	for _, h := range handlers[:len(handlers)-1] {
		next <- h
	}
	last := handlers[len(handlers)-1]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := last
		select {
		case h = <-next:
		default:
		}
		switch {
		case h != nil:
			h.ServeHTTP(w, r)
		case r.URL.Path == discoveryPath:
			s.discovery(w, r)
		default:
			s.token(w, r)
		}
	})
}
