package mocks

// ExpectSendMessageWithMessageCheckerFunctionAndSucceed expects a message that cf looks at; it succeeds if cf returns
// nil, else it fails with cf's error. A nil cf accepts every message. Like all expectations it returns the mock, to
// chain.
func (sp *SyncProducer) ExpectSendMessageWithMessageCheckerFunctionAndSucceed(cf MessageChecker) *SyncProducer {
	return sp.ExpectSendMessageWithMessageCheckerFunctionAndFail(cf, nil)
}

// ExpectSendMessageWithMessageCheckerFunctionAndFail expects a message that cf looks at; it fails with cf's error, or
// with err if cf returns nil. With a nil err it succeeds.
func (sp *SyncProducer) ExpectSendMessageWithMessageCheckerFunctionAndFail(cf MessageChecker, err error) *SyncProducer {
	sp.l.Lock()
	defer sp.l.Unlock()
	sp.expectations = append(sp.expectations, expectation{check: cf, result: err})
	return sp
}

// ExpectSendMessageWithCheckerFunctionAndSucceed expects a message whose encoded value cf looks at; it succeeds if cf
// returns nil, else it fails with cf's error.
func (sp *SyncProducer) ExpectSendMessageWithCheckerFunctionAndSucceed(cf ValueChecker) *SyncProducer {
	return sp.ExpectSendMessageWithMessageCheckerFunctionAndFail(valueChecker(cf), nil)
}

// ExpectSendMessageWithCheckerFunctionAndFail expects a message whose encoded value cf looks at; it fails with cf's
// error, or with err if cf returns nil.
func (sp *SyncProducer) ExpectSendMessageWithCheckerFunctionAndFail(cf ValueChecker, err error) *SyncProducer {
	return sp.ExpectSendMessageWithMessageCheckerFunctionAndFail(valueChecker(cf), err)
}

// ExpectSendMessageAndSucceed expects a message, and lets it succeed.
func (sp *SyncProducer) ExpectSendMessageAndSucceed() *SyncProducer {
	return sp.ExpectSendMessageWithMessageCheckerFunctionAndFail(nil, nil)
}

// ExpectSendMessageAndFail expects a message, and lets it fail with err.
func (sp *SyncProducer) ExpectSendMessageAndFail(err error) *SyncProducer {
	return sp.ExpectSendMessageWithMessageCheckerFunctionAndFail(nil, err)
}
