// Package wire is one produce connection to a broker: dial, TLS, ApiVersions, SASL, produce frames written with one
// writev, a window of open requests, and a reader that matches answers. It promises no compatibility.
package wire
