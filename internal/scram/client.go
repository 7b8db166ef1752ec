package scram

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// Client is a sarama.SCRAMClient: one exchange with one broker. It is used by one goroutine.
//
// Names and passwords are sent and hashed as they are, since that is what Kafka does. SASLprep, which RFC 5802 asks for, would
// change some that are not ASCII, and the login would fail.
type Client struct {
	mechanism sarama.SASLMechanism
	exchange  *scram.ClientConversation
	nonce     func() string // nil: random
	steps     int
}

// NewClient returns a client for SCRAM-SHA-256 or SCRAM-SHA-512. With any other mechanism Begin fails.
func NewClient(mechanism sarama.SASLMechanism) *Client { return &Client{mechanism: mechanism} }

// Begin starts an exchange, in place of the one before. It fails with a sarama.ConfigurationError.
func (c *Client) Begin(user, password, authzID string) error {
	var hash scram.HashGeneratorFcn
	switch c.mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		hash = scram.SHA256
	case sarama.SASLTypeSCRAMSHA512:
		hash = scram.SHA512
	default:
		return sarama.ConfigurationError(fmt.Sprintf("SCRAMClient: mechanism %q is neither %s nor %s",
			string(c.mechanism), sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512))
	}
	client, err := hash.NewClientUnprepped(user, password, authzID)
	if err != nil {
		return sarama.ConfigurationError(fmt.Sprintf("%s: %v", c.mechanism, err))
	}
	if c.nonce != nil {
		client.WithNonceGenerator(c.nonce)
	}
	c.exchange, c.steps = client.NewConversation(), 0
	return nil
}

// Step takes the broker's message, "" at first, and returns the answer to it. After an error the exchange is over.
//
// The third step checks the broker's signature: one that does not know the password is refused.
func (c *Client) Step(challenge string) (string, error) {
	if c.exchange == nil {
		return "", errors.New("SCRAM: no exchange is open, Begin comes first")
	}
	answer, err := c.step(challenge)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.mechanism, err)
	}
	return answer, nil
}

func (c *Client) step(challenge string) (string, error) {
	c.steps++
	if c.steps == 2 {
		if err := CheckIterations([]byte(challenge)); err != nil {
			c.exchange = nil
			return "", err
		}
	}
	if len(challenge) > maxMessage {
		c.exchange = nil
		return "", fmt.Errorf("the broker's SCRAM message has %d bytes, more than %d", len(challenge), maxMessage)
	}
	answer, err := c.exchange.Step(challenge)
	if err != nil {
		c.exchange = nil
		return "", errors.New(printable(err.Error())) // It may quote the broker. It wraps nothing.
	}
	return answer, nil
}

// Done tells whether the login has succeeded, with the broker's signature checked.
func (c *Client) Done() bool { return c.exchange != nil && c.exchange.Valid() }
