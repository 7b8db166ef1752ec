package mocks

// ExpectInputWithMessageCheckerFunctionAndSucceed expects a message that cf looks at; it succeeds if cf returns nil,
// else it fails with cf's error. A nil cf accepts every message. Like all expectations it returns the mock, to chain.
func (mp *AsyncProducer) ExpectInputWithMessageCheckerFunctionAndSucceed(cf MessageChecker) *AsyncProducer {
	return mp.ExpectInputWithMessageCheckerFunctionAndFail(cf, nil)
}

// ExpectInputWithMessageCheckerFunctionAndFail expects a message that cf looks at; it fails with cf's error, or with err
// if cf returns nil. With a nil err it succeeds.
func (mp *AsyncProducer) ExpectInputWithMessageCheckerFunctionAndFail(cf MessageChecker, err error) *AsyncProducer {
	mp.l.Lock()
	defer mp.l.Unlock()
	mp.expectations = append(mp.expectations, expectation{check: cf, result: err})
	return mp
}

// ExpectInputWithCheckerFunctionAndSucceed expects a message whose encoded value cf looks at; it succeeds if cf returns
// nil, else it fails with cf's error.
func (mp *AsyncProducer) ExpectInputWithCheckerFunctionAndSucceed(cf ValueChecker) *AsyncProducer {
	return mp.ExpectInputWithMessageCheckerFunctionAndFail(valueChecker(cf), nil)
}

// ExpectInputWithCheckerFunctionAndFail expects a message whose encoded value cf looks at; it fails with cf's error, or
// with err if cf returns nil.
func (mp *AsyncProducer) ExpectInputWithCheckerFunctionAndFail(cf ValueChecker, err error) *AsyncProducer {
	return mp.ExpectInputWithMessageCheckerFunctionAndFail(valueChecker(cf), err)
}

// ExpectInputAndSucceed expects a message, and lets it succeed.
func (mp *AsyncProducer) ExpectInputAndSucceed() *AsyncProducer {
	return mp.ExpectInputWithMessageCheckerFunctionAndFail(nil, nil)
}

// ExpectInputAndFail expects a message, and lets it fail with err.
func (mp *AsyncProducer) ExpectInputAndFail(err error) *AsyncProducer {
	return mp.ExpectInputWithMessageCheckerFunctionAndFail(nil, err)
}
