package main

import (
	"context"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/sluice-kafka/sluice/oauth"
)

// newTokens makes a provider of tokens for the MSK clusters of a region, from the credentials that AWS's libraries find:
// environment, shared files, web identity, container, instance. The configuration is loaded once, so that credentials are
// cached between tokens. Tokens are signed on this machine, but where credentials come from the network, it must answer in
// time.
func newTokens(ctx context.Context, region string) (*oauth.TokenProvider, error) {
	conf, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return nil, err
	}
	return oauth.Func{
		Name: "MSK IAM in " + region,
		Fetch: func(ctx context.Context) (string, time.Time, error) {
			return sign(ctx, region, conf.Credentials)
		},
	}.Provider()
}

// sign makes a token, which lives for 15 minutes. It is of no use once the credentials that signed it have expired.
func sign(ctx context.Context, region string, credentials aws.CredentialsProvider) (string, time.Time, error) {
	found, err := credentials.Retrieve(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	token, milliseconds, err := signer.GenerateAuthTokenFromCredentialsProvider(ctx, region,
		aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return found, nil }))
	if err != nil {
		return "", time.Time{}, err
	}
	expires := time.UnixMilli(milliseconds)
	if found.CanExpire && found.Expires.Before(expires) {
		expires = found.Expires
	}
	return token, expires, nil
}
