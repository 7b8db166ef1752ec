//go:build unix

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"

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
	var err error
	if allow {
		err = c.createACLs(ctx, acls)
	} else {
		err = c.deleteACLs(ctx, acls)
	}
	if err != nil {
		return err
	}
	for _, acl := range acls {
		err := pollAll(ctx, c, acl.describe(), func(resp *kmsg.DescribeACLsResponse) bool {
			return resp.ErrorCode == 0 && (len(resp.Resources) > 0) == allow
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) createACLs(ctx context.Context, acls []ACL) error {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, acl := range acls {
		creation := kmsg.NewCreateACLsRequestCreation()
		creation.ResourceType, creation.ResourceName = kmsg.ACLResourceTypeTopic, acl.Topic
		creation.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
		creation.Principal, creation.Host = "User:"+acl.User, "*"
		creation.Operation, creation.PermissionType = acl.Operation, kmsg.ACLPermissionTypeAllow
		req.Creations = append(req.Creations, creation)
	}
	resp, err := c.ask(ctx, req)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range resp.(*kmsg.CreateACLsResponse).Results {
		errs = append(errs, withMessage(r.ErrorCode, r.ErrorMessage))
	}
	return errors.Join(errs...)
}

func (c *Cluster) deleteACLs(ctx context.Context, acls []ACL) error {
	req := kmsg.NewPtrDeleteACLsRequest()
	for _, acl := range acls {
		filter := kmsg.NewDeleteACLsRequestFilter()
		filter.ResourceType, filter.ResourceName = kmsg.ACLResourceTypeTopic, kmsg.StringPtr(acl.Topic)
		filter.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
		filter.Principal = kmsg.StringPtr("User:" + acl.User)
		filter.Operation, filter.PermissionType = acl.Operation, kmsg.ACLPermissionTypeAllow
		req.Filters = append(req.Filters, filter)
	}
	resp, err := c.ask(ctx, req)
	if err != nil {
		return err
	}
	var errs []error
	for i, r := range resp.(*kmsg.DeleteACLsResponse).Results {
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
