//go:build unix

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ACL allows a user one operation on one topic, from anywhere. The cluster must have been started WithACLs.
type ACL struct {
	User      string
	Topic     string
	Operation kmsg.ACLOperation
}

// Allow adds ACLs, and waits until every node that is up and not paused knows them.
func (c *Cluster) Allow(tb testing.TB, acls ...ACL) {
	tb.Helper()
	if err := c.changeACLs(tb.Context(), true, acls); err != nil {
		tb.Fatalf("kafkatest: allow %+v: %v", acls, err)
	}
}

// Withdraw removes ACLs that Allow has added, and waits until every node that is up and not paused has forgotten them.
func (c *Cluster) Withdraw(tb testing.TB, acls ...ACL) {
	tb.Helper()
	if err := c.changeACLs(tb.Context(), false, acls); err != nil {
		tb.Fatalf("kafkatest: withdraw %+v: %v", acls, err)
	}
}

func (c *Cluster) changeACLs(ctx context.Context, allow bool, acls []ACL) error {
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		return err
	}
	defer cl.Close()
	if allow {
		err = createACLs(ctx, cl, acls)
	} else {
		err = deleteACLs(ctx, cl, acls)
	}
	if err != nil {
		return err
	}
	for i, n := range c.nodes {
		if !n.answers() {
			continue
		}
		for _, acl := range acls {
			err := poll(ctx, n, acl.describe(), func(resp *kmsg.DescribeACLsResponse) bool {
				return resp.ErrorCode == 0 && (len(resp.Resources) > 0) == allow
			})
			if err != nil {
				return fmt.Errorf("wait for node %d: %w", i, err)
			}
		}
	}
	return nil
}

func createACLs(ctx context.Context, cl *kgo.Client, acls []ACL) error {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, acl := range acls {
		creation := kmsg.NewCreateACLsRequestCreation()
		creation.ResourceType, creation.ResourceName = kmsg.ACLResourceTypeTopic, acl.Topic
		creation.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
		creation.Principal, creation.Host = "User:"+acl.User, "*"
		creation.Operation, creation.PermissionType = acl.Operation, kmsg.ACLPermissionTypeAllow
		req.Creations = append(req.Creations, creation)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range resp.Results {
		errs = append(errs, withMessage(r.ErrorCode, r.ErrorMessage))
	}
	return errors.Join(errs...)
}

func deleteACLs(ctx context.Context, cl *kgo.Client, acls []ACL) error {
	req := kmsg.NewPtrDeleteACLsRequest()
	for _, acl := range acls {
		filter := kmsg.NewDeleteACLsRequestFilter()
		filter.ResourceType, filter.ResourceName = kmsg.ACLResourceTypeTopic, kmsg.StringPtr(acl.Topic)
		filter.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
		filter.Principal = kmsg.StringPtr("User:" + acl.User)
		filter.Operation, filter.PermissionType = acl.Operation, kmsg.ACLPermissionTypeAllow
		req.Filters = append(req.Filters, filter)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	var errs []error
	for i, r := range resp.Results {
		errs = append(errs, withMessage(r.ErrorCode, r.ErrorMessage))
		if r.ErrorCode == 0 && len(r.MatchingACLs) != 1 {
			errs = append(errs, fmt.Errorf("%+v is not there", acls[i]))
		}
	}
	return errors.Join(errs...)
}

// describe asks whether a node knows the ACL.
func (acl ACL) describe() *kmsg.DescribeACLsRequest {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourceName = kmsg.ACLResourceTypeTopic, kmsg.StringPtr(acl.Topic)
	req.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
	req.Principal = kmsg.StringPtr("User:" + acl.User)
	req.Operation, req.PermissionType = acl.Operation, kmsg.ACLPermissionTypeAllow
	return req
}
