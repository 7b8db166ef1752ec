// Package txn gives a producer its identity: its id and epoch, by which brokers recognise duplicates and gaps (KIP-98), and its
// transactions. It promises no compatibility.
//
//	identity.go       the identity, and sequence numbers
//	manager.go        the identity of a producer without transactions: any broker gives one; answers.go has its error codes
//	transactions.go   the calls of a transactional producer: the user's, which take turns, and the stages', which never wait
//	state.go          its state, without goroutines, locks, requests or time; meaning.go has the coordinators' error codes
//	end.go            the steps of CommitTxn and AbortTxn
//	ask.go            a request that is repeated until there is a definite answer
//	additions.go      the partitions of a transaction of version 1
//	offsets.go        the offsets of a transaction
//	coordinators.go   finding coordinators, and the connections to them
//
// Transactions.mu may be held while a stage is woken; Coordinators.turn and the lock of additions are never held while another of
// these is taken.
package txn
